"""Fit of the quality model to a measured table.

The model of :class:`pats_opt.generate.quality.Quality` is ``1 - exp(-k * steps / N(c))`` with
``k = -log(1 - converged)`` and N(c) linear in the complexity c. So only N / k can be learned from
data: ``converged`` is a choice and is given; ``simple_steps`` and ``complex_steps`` are fitted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from statistics import mean
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.generate.quality import Quality, QualityTable, read_table
from pats_opt.wording import number, percent

#: Bounds of N(0) and N(1), in steps.
RANGE = (0.5, 5000.0)

#: Points of the grid on each axis, and iterations from its best one.
_POINTS, _ROUNDS = 33, 60


class QualityDrop(Struct, frozen=True):
    """A step count of lower quality than fewer steps."""

    complexity: float
    steps: int
    fewer: int
    by: float


class QualityFit(Struct, frozen=True, kw_only=True):
    """A fitted model and how well it fits.

    Attributes:
        quality: The model.
        points: Number of fitted rows; rows of one complexity and step count are averaged.
        rms: Root of the mean squared residual.
        worst: The largest residual.
        explained: Share of the variance explained; below 0 where a constant fits better.
        default_rms: ``rms`` of the documents' premise (20 and 50 steps).
        residuals: Measured less fitted quality, by complexity and steps.
        falls: Step counts of lower quality than fewer steps.
        one_level: Whether the table has a single complexity, so that both ends are equal.
    """

    quality: Quality
    points: int
    rms: float
    worst: float
    explained: float
    default_rms: float
    residuals: dict[float, dict[int, float]]
    falls: tuple[QualityDrop, ...]
    one_level: bool


def refit(path: str, converged: float = 0.97) -> QualityFit:
    """Fit the model to a table in the format of ``--quality-table``.

    The full step count is left out where its images were compared with themselves, that is, where
    their distance is 0.

    Args:
        path: CSV file.
        converged: Quality of a converged prompt.

    Raises:
        InputError: The file is no such table, or has too few rows.
    """
    return fit(read_table(path), converged, path)


def fit(table: QualityTable, converged: float = 0.97, name: str = "table") -> QualityFit:
    """Fit the model to a table; see :func:`refit`."""
    curves = {level: dict(points) for level, points in table.curves}
    full = max(steps for points in curves.values() for steps in points)
    if all(points.get(full, 1.0) == 1.0 for points in curves.values()):
        curves = {
            level: {steps: q for steps, q in points.items() if steps != full}
            for level, points in curves.items()
        }
    rows = [(s, level, q) for level, points in curves.items() for s, q in points.items()]
    if len({steps for steps, _, _ in rows}) < 2:
        raise InputError(
            "there are too few step counts to fit to",
            file=name,
            hint="measure at least two below the full one",
        )
    steps, levels, measured = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    one_level = len(set(levels)) == 1
    simple, complex_ = _search(steps, levels, measured, converged, one_level)
    quality = Quality(
        simple_steps=float(f"{simple:.4g}"),
        complex_steps=float(f"{complex_:.4g}"),
        converged=converged,
    )
    left = measured - _model(steps, levels, quality)
    variance = float(((measured - measured.mean()) ** 2).sum())
    residuals: dict[float, dict[int, float]] = defaultdict(dict)
    for (s, level, _), residual in zip(rows, left, strict=True):
        residuals[level][s] = float(residual)
    return QualityFit(
        quality=quality,
        points=len(rows),
        rms=_rms(left),
        worst=float(np.abs(left).max()),
        explained=1.0 - float((left**2).sum()) / variance if variance else 0.0,
        default_rms=_rms(measured - _model(steps, levels, Quality())),
        residuals=dict(residuals),
        falls=_falls(curves),
        one_level=one_level,
    )


def _search(
    steps: np.ndarray, levels: np.ndarray, measured: np.ndarray, converged: float, one_level: bool
) -> tuple[float, float]:
    """Least squares over the logarithms of both ends: the best of a grid, then Gauss-Newton.

    Gauss-Newton is damped (Levenberg and Marquardt), so that it only improves on the grid.
    """
    k = -np.log1p(-converged)
    share = np.zeros_like(levels) if one_level else levels
    ends = np.array([1.0 - share, share])  # the share of either end in N(c)

    def left(point: np.ndarray) -> np.ndarray:
        needed = np.exp(point[..., :1]) * ends[0] + np.exp(point[..., 1:]) * ends[1]
        return np.asarray(measured - 1.0 + np.exp(-k * steps / needed))

    low, high = np.log(RANGE[0]), np.log(RANGE[1])
    axis = np.linspace(low, high, _POINTS)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    point = grid[int((left(grid) ** 2).sum(axis=-1).argmin())]
    damping = 1e-3
    for _ in range(_ROUNDS):
        residual = left(point)
        needed = np.exp(point) @ ends
        slope = np.exp(-k * steps / needed) * k * steps / needed**2 * ends * np.exp(point)[:, None]
        square = slope @ slope.T
        step = np.linalg.solve(
            square + damping * (np.diag(np.diag(square)) + 1e-12 * np.eye(2)), -slope @ residual
        )
        tried = np.clip(point + step, low, high)
        better = (left(tried) ** 2).sum() < (residual**2).sum()
        point, damping = (tried, damping / 5) if better else (point, damping * 5)
    simple, hard = (float(x) for x in np.exp(point))
    return (simple, simple) if one_level else (simple, hard)


def _model(steps: np.ndarray, levels: np.ndarray, quality: Quality) -> np.ndarray:
    return np.array([quality(int(s), float(level)) for s, level in zip(steps, levels, strict=True)])


def _rms(residuals: np.ndarray) -> float:
    return float(np.sqrt((residuals**2).mean()))


def _falls(curves: Mapping[float, Mapping[int, float]]) -> tuple[QualityDrop, ...]:
    """Find the step counts that are worse than the best of fewer steps."""
    found = []
    for level, points in curves.items():
        best_at, best = 0, -1.0
        for steps, quality in sorted(points.items()):
            if quality < best - 1e-9:
                found.append(QualityDrop(level, steps, best_at, best - quality))
            else:
                best_at, best = steps, quality
    return tuple(found)


def as_recipe(found: QualityFit) -> str:
    """Write the fitted model as a recipe file for ``generate --config``."""
    import tomli_w

    quality = found.quality
    return tomli_w.dumps(
        {
            "quality": {
                "simple_steps": quality.simple_steps,
                "complex_steps": quality.complex_steps,
                "converged": quality.converged,
            }
        }
    )


def fit_document(found: QualityFit) -> dict[str, Any]:
    """Make the JSON document of a fit, with its residuals as a list of rows."""
    residuals = [
        {"complexity": level, "steps": steps, "residual": residual}
        for level, by_steps in found.residuals.items()
        for steps, residual in by_steps.items()
    ]
    return {**msgspec.to_builtins(found), "residuals": residuals}


def fit_lines(found: QualityFit) -> Iterator[str]:
    """Yield the fit line by line: the model, its residuals, and drops of quality."""
    quality = found.quality
    yield (
        f"quality     {percent(quality.converged)} after {number(quality.simple_steps)} steps "
        f"(simple prompts) to {number(quality.complex_steps)} (complex ones)"
    )
    yield (
        f"fit         {found.points} points, residuals: rms {number(found.rms, 3)}, largest "
        f"{number(found.worst, 3)}; {percent(found.explained)} of the variance explained; "
        f"20 and 50 steps would leave rms {number(found.default_rms, 3)}"
    )
    counts = sorted({steps for by_steps in found.residuals.values() for steps in by_steps})
    means = [mean(r[n] for r in found.residuals.values() if n in r) for n in counts]
    listed = ", ".join(f"{n}: {value:+.3f}" for n, value in zip(counts, means, strict=True))
    yield f"by steps    mean residual {listed}"
    if found.one_level:
        yield "complexity  one only, so both ends are the same"
    if not found.falls:
        yield "monotone    yes: more steps are never worse"
        return
    worst = max(found.falls, key=lambda fall: fall.by)
    yield (
        f"monotone    no: quality falls {len(found.falls)} times with more steps, most by "
        f"{number(worst.by, 3)} from {worst.fewer} to {worst.steps} steps at complexity "
        f"{worst.complexity:g}"
    )
