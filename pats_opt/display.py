"""Rich output in notebooks, which :mod:`pats_opt.views.notebook` draws.

Results, verdicts, reports and instances inherit from these classes and import no drawing code.
"""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NOTEBOOK = "pats_opt.views.notebook"


class Displayable:
    """Base class of objects that a notebook shows as HTML."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        html: str = import_module(_NOTEBOOK).html(self)
        return html


class Plottable(Displayable):
    """Base class of objects with a schedule that can be drawn."""

    __slots__ = ()

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the Gantt chart of the schedule on matplotlib axes, or on those of a new figure."""
        axes: Axes = import_module(_NOTEBOOK).plot(self, ax)
        return axes


def show(result: object, path: str | PathLike[str]) -> None:
    """Write a picture of the schedule of a result to a file."""
    import_module(_NOTEBOOK).show(result, path)
