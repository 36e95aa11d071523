"""Parts that the report's figures share: the style of each solver, legends, axes, captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from pats_opt.runs.record import SolverInfo
from pats_opt.views import style
from pats_opt.wording import label

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

#: The palette without its yellow, which is too pale for lines and small marks on white.
COLOURS = style.BASE_COLOURS[:6]

MARKERS = "osD^vP*X"

DASHES = ("-", "--", "-.", ":")

#: Letters of a legend that an inch has room for, and what a handle and its space take of them.
LETTERS_PER_INCH, HANDLE_LETTERS = 14, 7

#: Height of a legend's row.
ROW_INCHES = 0.18


class SolverStyle(NamedTuple):
    """Colour, marker and dash of a solver; the first 24 all differ."""

    colour: str
    marker: str
    dash: str


#: Styles by the solver's spec.
SolverStyles = Mapping[str, SolverStyle]


class ReportFigure(Struct, frozen=True, kw_only=True):
    """A figure with its heading and the sentences below it.

    Attributes:
        title: Heading.
        caption: Content, instances, and how to read it.
    """

    title: str
    svg: str
    caption: str


def solver_styles(solvers: Sequence[SolverInfo]) -> SolverStyles:
    """A style for each solver, by its place."""
    return {
        solver.spec: SolverStyle(
            COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)]
        )
        for i, solver in enumerate(solvers)
    }


def nested_widths(count: int) -> list[float]:
    """Widths of lines that may overlap: the first is widest, so that all can be seen."""
    return [1.5 + 0.3 * min(5, count - 1 - i) for i in range(count)]


def legend_above(drawn: Figure, handles: Sequence[Any], specs: Sequence[str]) -> Legend:
    """Add a legend above all axes of a figure, which grows by its rows."""
    room = drawn.get_figwidth() * LETTERS_PER_INCH
    lengths = [len(label(spec)) + HANDLE_LETTERS for spec in specs]
    columns = max(n for n in range(1, len(specs) + 1) if n == 1 or _width(lengths, n) <= room)
    rows = -(-len(specs) // columns)
    drawn.set_figheight(drawn.get_figheight() + (rows - 1) * ROW_INCHES)
    return style.legend(drawn, handles, specs, loc="outside upper left", ncols=columns)


def _width(lengths: Sequence[int], columns: int) -> int:
    """Width of a legend in letters; its columns are filled in order, the first ones longer."""
    rows, longer = divmod(len(lengths), columns)
    sizes = [rows + (i < longer) for i in range(columns)]
    ends = list(accumulate(sizes))
    return sum(max(lengths[end - size : end]) for end, size in zip(ends, sizes, strict=True))


def log_axis(axis: Axis, low: float, high: float) -> None:
    """Ticks of a logarithmic axis: plain numbers at 1, 2 and 5, or at 1 where there are many."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    subs = (1.0, 2.0, 5.0) if high < 500 * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())
