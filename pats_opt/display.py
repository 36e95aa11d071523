"""Rich output in notebooks. The drawing code lives in :mod:`pats_opt.views.notebook`.

Results, verdicts, reports and instances inherit from :class:`Displayed` and know no more than that.
"""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NOTEBOOK = "pats_opt.views.notebook"


class Displayed:
    """Shows itself in a notebook as HTML."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        html: str = import_module(_NOTEBOOK).html(self)
        return html


class Drawn(Displayed):
    """Holds a schedule, whose Gantt chart it draws."""

    __slots__ = ()

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the schedule's Gantt chart on a matplotlib axes, or on one of a new figure."""
        axes: Axes = import_module(_NOTEBOOK).plot(self, ax)
        return axes


def show(result: object, path: str | PathLike[str]) -> None:
    """Write the picture of a result's schedule into a file."""
    import_module(_NOTEBOOK).show(result, path)
