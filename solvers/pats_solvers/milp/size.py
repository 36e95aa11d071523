"""How large a model will be, before it is built."""

from __future__ import annotations

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.model.problem import Problem
from pats_solvers.milp.family import Windows
from pats_solvers.milp.formulations import Formulation, chosen
from pats_solvers.milp.model import Sheet

#: Bytes a model takes per column, row and entry while it is built, handed over and solved: somewhat
#: above the peaks that benchmarks/milp_growth.py measures.
BYTES_PER_COLUMN = 2_000
BYTES_PER_ROW = 1_000
BYTES_PER_ENTRY = 500


class Size(Struct, frozen=True, kw_only=True):
    """The size of a model.

    Attributes:
        columns, rows, entries: Of its matrix; entries before repeated ones are summed.
        gib: GiB that building and solving it takes, about.
    """

    columns: int
    rows: int
    entries: int

    @property
    def gib(self) -> float:
        """GiB that building and solving it takes, about."""
        total = (
            self.columns * BYTES_PER_COLUMN
            + self.rows * BYTES_PER_ROW
            + self.entries * BYTES_PER_ENTRY
        )
        return total / 2**30


def size_of(
    problem: Problem, known_loss: float | None = None, formulation: Formulation = "auto"
) -> Size:
    """The size of the model of a problem, given the loss of a schedule to beat.

    The model is written to a sheet that keeps nothing, so this is exact and takes little memory.

    Raises:
        InputError: Its batch shapes alone are too many.
    """
    sheet = Sheet()
    written = chosen(problem, formulation)
    written.write(problem, Windows.of(problem, known_loss), sheet)
    return Size(columns=sheet.column_count, rows=sheet.row_count, entries=sheet.entry_count)


def refuse_too_large(size: Size, limit_gib: float) -> None:
    """Raise InputError where a model would not fit ``limit_gib``."""
    if size.gib > limit_gib:
        raise InputError(
            f"the MILP would have {size.columns:,} columns, {size.rows:,} rows and "
            f"{size.entries:,} non-zeros, about {size.gib:,.1f} GiB of the {limit_gib:g} allowed",
            hint="take a coarser tick_s, a shorter span, --solver cpsat, or raise memory_gib",
        )
