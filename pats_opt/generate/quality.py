"""Quality of an image by step count and prompt complexity: a formula, or a measured table."""

from __future__ import annotations

import csv
import io
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Any

from msgspec import Meta

from pats_opt.errors import InputError
from pats_opt.generate.config import ConfigTable, Positive, Share
from pats_opt.model.files import read_bytes
from pats_opt.spreadsheet import original

#: Words for complexity in a table, in place of a number.
LEVELS = {"simple": 0.0, "medium": 0.5, "complex": 1.0}

#: Column names read as complexity, in order of preference.
COMPLEXITY_COLUMNS = ("complexity", "prompt_type")

#: Quality in [0, 1] of a number of steps on a prompt of a complexity in [0, 1].
QualityModel = Callable[[int, float], float]


class Quality(ConfigTable, frozen=True, kw_only=True):
    """The default model: quality nears 1 exponentially, slower for complex prompts.

    A prompt of complexity c *converges*, that is reaches ``converged`` quality, after
    ``simple_steps + c * (complex_steps - simple_steps)`` steps N(c), and
    ``quality = 1 - (1 - converged) ** (steps / N(c))``. The defaults follow the PATS document:
    simple prompts converge at 20 steps, complex ones at 50. It is a premise: LPIPS against the
    60-step image was not monotone in steps in the document's own data. ``table`` replaces it.

    Attributes:
        table: CSV file with columns ``steps``; ``quality``, or ``lpips`` (quality 1 - lpips); and
            optionally ``complexity`` or ``prompt_type`` (0 to 1, or simple, medium, complex).
        monotone: Whether a table's quality is raised to the best of any fewer steps.
    """

    simple_steps: Positive = 20.0
    complex_steps: Positive = 50.0
    converged: Annotated[float, Meta(gt=0, lt=1)] = 0.97
    table: str | None = None
    monotone: bool = False

    def model(self) -> QualityModel:
        """Return the model that these parameters describe."""
        return read_table(self.table, self.monotone) if self.table is not None else self

    def __call__(self, steps: int, complexity: float) -> float:
        """Evaluate the formula."""
        needed = self.simple_steps + complexity * (self.complex_steps - self.simple_steps)
        return float(1.0 - (1.0 - self.converged) ** (steps / needed))


class QualityTable(ConfigTable, frozen=True, kw_only=True):
    """Quality interpolated linearly in steps, then in complexity; constant beyond the ends.

    Attributes:
        curves: For each complexity, rising, its points (steps, quality), rising in steps.
    """

    curves: tuple[tuple[Share, tuple[tuple[int, float], ...]], ...]

    def __call__(self, steps: int, complexity: float) -> float:
        """Interpolate the quality."""
        across = [(level, interpolated(points, steps)) for level, points in self.curves]
        return interpolated(across, complexity)


def interpolated(points: Sequence[tuple[float, float]], x: float) -> float:
    """Piecewise linear interpolation, constant beyond the ends."""
    i = bisect_right(points, x, key=lambda point: point[0])
    if i == 0 or i == len(points):
        return points[max(0, i - 1)][1]
    (x1, y1), (x2, y2) = points[i - 1], points[i]
    return y1 + (y2 - y1) * (x - x1) / (x2 - x1)


@lru_cache(maxsize=16)
def read_table(path: str, monotone: bool = False) -> QualityTable:
    """Read a quality table; rows of the same steps and complexity are averaged.

    Raises:
        InputError: naming the file, the line and the hint.
    """
    columns, rows = read_csv(path)
    value = next((name for name in ("quality", "lpips") if name in columns), None)
    if value is None or "steps" not in columns:
        raise InputError(
            "a quality table needs the columns 'steps' and 'quality' (or 'lpips')",
            file=path,
            hint=f"rename them; it has: {', '.join(columns) or 'none'}",
        )
    level = next((name for name in COMPLEXITY_COLUMNS if name in columns), None)
    cells: dict[float, dict[int, list[float]]] = {}
    for line, row in rows:
        try:
            steps = int(float(row["steps"]))
            quality = 1.0 - float(row[value]) if value == "lpips" else float(row[value])
            complexity = 1.0 if level is None else complexity_of(row[level])
            if not 1 <= steps <= 1_000_000 or not 0 <= quality <= 1:
                raise ValueError("out of range")
        except (TypeError, AttributeError, ValueError, OverflowError) as error:
            raise InputError(
                f"this row is not steps, complexity and quality ({error})",
                file=path,
                place=f"line {line}",
                hint="steps from 1 to 1,000,000, the others from 0 to 1",
            ) from None
        cells.setdefault(complexity, {}).setdefault(steps, []).append(quality)
    if not cells:
        raise InputError("this table has no rows", file=path, hint="add some")
    curves = []
    for complexity, found in sorted(cells.items()):
        best, points = 0.0, []
        for steps, qualities in sorted(found.items()):
            quality = sum(qualities) / len(qualities)
            best = max(best, quality)
            points.append((steps, best if monotone else quality))
        curves.append((complexity, tuple(points)))
    return QualityTable(curves=tuple(curves))


def complexity_of(text: str) -> float:
    """Read a complexity: a number from 0 to 1, or one of :data:`LEVELS`.

    Raises:
        ValueError: it is neither.
    """
    name = text.strip().lower()
    value = LEVELS[name] if name in LEVELS else float(name)
    if not 0 <= value <= 1:
        raise ValueError("out of range")
    return value


def read_csv(path: str, separator: str = ",") -> tuple[list[str], list[tuple[int, dict[str, Any]]]]:
    """Read a CSV file: its columns in lower case, and its rows with their line numbers.

    Raises:
        InputError: naming the file, the line and the hint.
    """
    rows = csv.DictReader(io.StringIO(read_text(path), newline=None), delimiter=separator)
    found = []
    try:
        rows.fieldnames = columns = [name.strip().lower() for name in rows.fieldnames or ()]
        for row in rows:
            row.pop(None, None)  # cells beyond the last column
            cells = {name: cell and original(cell) for name, cell in row.items()}
            found.append((rows.line_num, cells))
    except csv.Error as error:
        raise InputError(
            f"this is no table ({error})",
            file=path,
            place=f"line {rows.line_num + 1}",
            hint="correct it there",
        ) from None
    return columns, found


def read_text(path: str) -> str:
    """Read a UTF-8 text file, with or without byte order mark.

    Raises:
        InputError: it cannot be read, or is no UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("this is not UTF-8 text", file=path, hint="save it as UTF-8") from None
