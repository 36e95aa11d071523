"""Quality of an image whose first K steps are skipped: the published curve, or a measured table.

The model is ``quality(K) = q(0) - s * (q(0) - q(K))``, with ``s`` the *sensitivity* of the prompt:
at least 0, with mean 1 over the prompts. A prompt of sensitivity 0 loses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pats_opt.errors import InputError
from pats_opt.generate.config import ConfigTable
from pats_opt.generate.quality import interpolated, read_csv

#: Mean quality by the share of 50 steps that is skipped, from the public code of Argus. It is not
#: said which score it is, and quality at 0 is 1 by definition.
PUBLISHED = (
    (0.0, 1.0),
    (0.1, 0.97046),
    (0.2, 0.95808),
    (0.3, 0.94378),
    (0.4, 0.93235),
    (0.5, 0.9152),
)

_TABLE_HINT = "skip fewer steps, or measure more with a table (--skip-quality-table)"


class SkipQuality(ConfigTable, frozen=True, kw_only=True):
    """Mean quality by steps skipped, linear between the points.

    Attributes:
        curves: For each least similarity, rising, the points (steps skipped, quality).
        share: Whether points are by the share of a request's steps instead of their number.
        file: The table's file.
    """

    curves: tuple[tuple[float, tuple[tuple[float, float], ...]], ...]
    share: bool = False
    file: str | None = None

    @property
    def by_similarity(self) -> bool:
        """Whether quality depends on the similarity to the cached prompt."""
        return len(self.curves) > 1

    def __call__(
        self, skip: int, steps: int, similarity: float | None, sensitivity: float
    ) -> float:
        """Return the quality of a prompt, from 0 to 1.

        Args:
            skip: Steps skipped.
            steps: Steps of the request, those included.
            similarity: Cosine to the nearest cached prompt, if it is known.
            sensitivity: Loss of quality of this prompt, by that of the mean one.

        Raises:
            InputError: No quality is known of so many steps.
        """
        points = self.curves[0][1]
        for least, others in self.curves[1:]:
            if similarity is not None and similarity >= least:
                points = others
        at = skip / steps if self.share else float(skip)
        if at > points[-1][0] + 1e-9:
            last = f"{points[-1][0]:.0%} of the steps" if self.share else f"{points[-1][0]:g} steps"
            raise InputError(
                f"no quality is known of {skip} of {steps} steps skipped, only up to {last}",
                file=self.file,
                hint=_TABLE_HINT,
            )
        whole = points[0][1]
        lost = sensitivity * (whole - interpolated(points, at))
        return round(min(1.0, max(0.0, whole - lost)), 6)


def published_quality() -> SkipQuality:
    """Return the published curve."""
    return SkipQuality(curves=((0.0, PUBLISHED),), share=True)


@lru_cache(maxsize=16)
def read_skip_table(path: str) -> SkipQuality:
    """Read a table: ``skip``, ``quality`` and optionally ``similarity``, the least of its rows.

    Rows of the same skip and similarity are averaged.

    Raises:
        InputError: A row cannot be read, none skips 0 steps, or quality rises with the steps
            skipped.
    """
    columns, rows = read_csv(path)
    if not {"skip", "quality"} <= set(columns):
        raise InputError(
            "this table needs the columns 'skip' and 'quality'",
            file=path,
            hint=f"rename them; it has: {', '.join(columns) or 'none'}",
        )
    cells: dict[float, dict[float, list[float]]] = {}
    for line, row in rows:
        try:
            skip, quality = int(row["skip"]), float(row["quality"])
            least = float(row["similarity"]) if "similarity" in columns else 0.0
            if not (0 <= skip <= 1_000_000 and 0 <= quality <= 1 and -1 <= least <= 1):
                raise ValueError("out of range")
        except (TypeError, ValueError) as error:
            raise InputError(
                f"this row is not skip and quality ({error})",
                file=path,
                place=f"line {line}",
                hint="skip counts steps, quality is from 0 to 1, similarity from -1 to 1",
            ) from None
        cells.setdefault(least, {}).setdefault(float(skip), []).append(quality)
    if not cells:
        raise InputError("this table has no rows", file=path, hint="add some")
    curves = [(least, _curve(found, least, path)) for least, found in sorted(cells.items())]
    return SkipQuality(curves=tuple(curves), file=path)


def _curve(
    cells: dict[float, list[float]], least: float, path: str
) -> tuple[tuple[float, float], ...]:
    """Average the rows of a curve, and refuse one that rises."""
    points = [(skip, sum(found) / len(found)) for skip, found in sorted(cells.items())]
    place = f"similarity {least:g}"
    if points[0][0] != 0:
        raise InputError(
            "there is no row of skip 0", file=path, place=place, hint="add the quality of all steps"
        )
    for (k1, q1), (k2, q2) in pairwise(points):
        if q2 > q1 + 1e-12:
            raise InputError(
                f"quality rises from {q1:g} at skip {k1:g} to {q2:g} at skip {k2:g}",
                file=path,
                place=place,
                hint="skipping more steps must not be better; average over more images",
            )
    return tuple(points)


def sensitivities(spread: float, uniform: NDArray[np.float64]) -> list[float]:
    """Map uniform numbers to sensitivities: lognormal with mean 1.

    Args:
        spread: Their coefficient of variation.
        uniform: A number from 0 to 1 for each prompt.
    """
    variance = float(np.log1p(spread * spread))
    if variance == 0.0:
        return [1.0] * len(uniform)
    normal = NormalDist(-variance / 2.0, variance**0.5)
    inside = np.clip(uniform, 2.0**-53, 1.0 - 2.0**-53)
    return [round(float(np.exp(normal.inv_cdf(u))), 6) for u in inside.tolist()]


def normalised(values: Sequence[float]) -> list[float]:
    """Map sensitivities to complexities in [0, 1): s / (1 + s), 0.5 at the mean."""
    return [round(s / (1.0 + s), 6) for s in values]
