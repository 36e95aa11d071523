"""Pictures: of schedules (:mod:`schedule`), with the look they share (:mod:`style`).

Every drawing function takes the ``ax`` it draws on. matplotlib is imported where something is
drawn, through its object interface: no global figure, no window, no state that stays.
"""
