"""Pictures of schedules: pages to zoom and point at (Bokeh), still ones for papers (matplotlib).

:mod:`view` checks a schedule and has its drawing data, :mod:`bars` its colours. :mod:`interactive`
and :mod:`still` draw them, with :mod:`gantt` and :mod:`tooltips`; :mod:`text` and :mod:`compare`
describe them, :mod:`html` writes the files;
:mod:`style` is their common style. Every still panel takes the ``ax`` it is drawn on. Both
libraries are imported where something is drawn, matplotlib through its object interface: no global
figure, no window, no state that stays.
"""
