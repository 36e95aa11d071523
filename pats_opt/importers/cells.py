"""The cells of a log's window, by column, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pats_opt.errors import InputError
from pats_opt.importers.log import ROW, TIME

if TYPE_CHECKING:
    import polars as pl


class Cells:
    """The window's cells, read by column; an error names the row of the file."""

    def __init__(self, table: pl.DataFrame, file: str) -> None:
        self._table, self._file = table, file

    def times(self) -> list[float]:
        """Seconds, rising."""
        times: list[float] = self._table[TIME].to_list()
        return times

    def text(self, column: str | None) -> list[str]:
        """Texts, with nothing as an empty one."""
        if column is None:
            return [""] * self._table.height
        return ["" if cell is None else str(cell).strip() for cell in self._table[column].to_list()]

    def numbers(
        self, column: str | None, low: float, high: float, missing: Sequence[float]
    ) -> list[float]:
        """Numbers from ``low`` to ``high``; ``missing`` where the column or the cell is.

        Raises:
            InputError: another thing in a cell.
        """
        if column is None:
            return list(missing)
        values = []
        for i, cell in enumerate(self._table[column].to_list()):
            if cell is None or (isinstance(cell, str) and not cell.strip()):
                values.append(missing[i])
                continue
            try:
                value = float(cell)
            except (TypeError, ValueError):
                value = float("nan")
            if not low <= value <= high:
                raise InputError(
                    f"{cell!r} is no number from {low:g} to {high:g}",
                    file=self._file,
                    place=f"row {self._table[ROW][i]}, column {column!r}",
                    hint="correct it, or leave the cell empty",
                )
            values.append(value)
        return values

    def raw(self, column: str) -> list[object]:
        """Cells as they are."""
        values: list[object] = self._table[column].to_list()
        return values
