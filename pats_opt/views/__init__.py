"""Pictures of schedules: pages to zoom and point at (Bokeh), still ones for papers (matplotlib).

:mod:`columns` has the numbers that both draw, :mod:`interactive` and :mod:`schedule` draw them,
:mod:`pages` writes the files; :mod:`style` is the look they share. Every still panel takes the
``ax`` it is drawn on. Both libraries are imported where something is drawn, matplotlib through its
object interface: no global figure, no window, no state that stays.
"""
