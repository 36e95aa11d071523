"""From measurements to the figures of a profile: medians, lines, tables, and how well they fit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from pats_opt.generate.profile import LoadTime, MemoryModel, VramTable, round_up
from pats_opt.model.instance import Overhead, StepTime
from pats_opt.profiling.plan import WARM_STEPS
from pats_opt.profiling.record import Batch, Raw, Switch

#: Largest relative error of a line over the measured step times; beyond it they become a table.
AFFINE = 0.05

#: Quantiles of switching that are written down.
LEVELS = (0.05, 0.5, 0.95)

Line = tuple[float, float]


class Steps(Struct, frozen=True, kw_only=True):
    """Step times by batch size.

    Attributes:
        medians: Seconds of a step for each measured batch size, rising.
        line: Base and seconds a sample, fitted.
        error: The line's largest relative error.
        counted: Steps that the medians are of.
    """

    medians: dict[int, float]
    line: Line
    error: float
    counted: int

    @property
    def affine(self) -> bool:
        """Whether the line is good enough."""
        return len(self.medians) > 1 and self.error <= AFFINE

    @property
    def step_s(self) -> StepTime:
        """For a profile: the line, or a table, interpolated between the measured sizes."""
        if self.affine:
            base, slope = (_figures(x) for x in self.line)
            return StepTime(base=base, per_sample=slope)
        sizes = range(1, max(self.medians) + 1)
        filled = np.interp(sizes, list(self.medians), list(self.medians.values()))
        return StepTime(table=tuple(_figures(float(x)) for x in filled))


def steps(raw: Raw) -> Steps:
    """Step times of the batches that fitted."""
    found: dict[int, list[float]] = defaultdict(list)
    for batch in raw.batches:
        if batch.purpose == "steps" and batch.fits:
            found[batch.n] += batch.step_s[WARM_STEPS:]
    medians = {n: median(times) for n, times in sorted(found.items()) if times}
    line, error = fitted_line(medians) if medians else ((0.0, 0.0), 0.0)
    return Steps(
        medians=medians, line=line, error=error, counted=sum(len(t) for t in found.values())
    )


def fitted_line(points: dict[int, float]) -> tuple[Line, float]:
    """Base and slope, both at least 0, of least squared relative error; and the largest error."""
    n = np.array(list(points), dtype=float)
    y = np.array(list(points.values()))
    weights = 1.0 / np.maximum(y, 1e-12)
    rows = np.stack([weights, n * weights], axis=1)
    tries = [
        np.linalg.lstsq(rows, np.ones_like(n), rcond=None)[0],
        np.array([float(weights.sum() / (weights**2).sum()), 0.0]),
        np.array([0.0, float((n * weights).sum() / ((n * weights) ** 2).sum())]),
    ]
    right = [line for line in tries if (line >= 0).all()]
    best = min(right, key=lambda line: float(((rows @ line - 1.0) ** 2).sum()))
    return (float(best[0]), float(best[1])), float(np.abs(rows @ best - 1.0).max())


class Overheads(Struct, frozen=True, kw_only=True):
    """What a batch takes besides its steps.

    Attributes:
        overhead_s: For a profile.
        error: The line's largest relative error.
        encode_s: Seconds an image, at the smallest batch.
        decode_s: Likewise.
        save_s: Seconds an image; no part of ``overhead_s``.
        rest_s: Median seconds of a batch outside all that is timed.
    """

    overhead_s: Overhead
    error: float
    encode_s: float
    decode_s: float
    save_s: float
    rest_s: float


def overheads(raw: Raw) -> Overheads:
    """Encoding and decoding as a line over the batch size.

    Images are saved beside the GPU's work: that delays each of them, but no batch. Counted
    as the GPU's time it would make batches look longer, and large ones more worth while, than they
    are.
    """
    timed = [batch for batch in raw.batches if batch.purpose == "steps" and batch.fits]
    groups: dict[int, list[Batch]] = defaultdict(list)
    for batch in timed:
        groups[batch.n].append(batch)
    totals = {n: median(b.encode_s + b.decode_s for b in groups[n]) for n in sorted(groups)}
    (base, slope), error = fitted_line(totals)
    least = groups[min(groups)]
    saves = [batch.save_s for batch in timed if batch.save_s is not None]
    save_s = median(saves) if saves else 0.0
    return Overheads(
        overhead_s=Overhead(base=_figures(base), per_sample=_figures(slope)),
        error=error,
        encode_s=median(b.encode_s / b.n for b in least),
        decode_s=median(b.decode_s / b.n for b in least),
        save_s=save_s,
        rest_s=median(b.rest_s for b in timed),
    )


def load_time(switches: Sequence[Switch], more_s: float = 0.0) -> LoadTime:
    """Quantiles of switching from one place.

    Args:
        switches: Those from there.
        more_s: Seconds that come with each of them.
    """
    found = quantiles([s.seconds + more_s for s in switches])
    return LoadTime(levels=LEVELS, seconds=tuple(_figures(x) for x in found))


def quantiles(values: Iterable[float]) -> list[float]:
    """Values at :data:`LEVELS`."""
    return [float(x) for x in np.quantile(np.array(list(values)), LEVELS)]


def slot_gib(raw: Raw) -> float:
    """Device memory of one slot: what loading an adapter copies."""
    copied = [s.mib for s in raw.switches if s.mib is not None]
    return round_up(max(copied, default=0.0) / 1024)


def peaks(raw: Raw, size: tuple[int, int]) -> dict[int, float]:
    """Peak memory by batch size, rising, without the slots; the highest where several were run."""
    slots = raw.asked.slots * slot_gib(raw)
    found: dict[int, float] = {}
    for batch in raw.batches:
        if (batch.width, batch.height) == size and batch.fits and batch.peak_gib is not None:
            found[batch.n] = max(found.get(batch.n, 0.0), round_up(batch.peak_gib - slots))
    return dict(sorted(found.items()))


def vram_tables(raw: Raw, sizes: Sequence[tuple[int, int]]) -> tuple[VramTable, ...]:
    """Peak memory by batch size at each size; one of which only one batch fitted has no table."""
    return tuple(
        VramTable(width=size[0], height=size[1], batch=tuple(found), gib=tuple(found.values()))
        for size in sizes
        if len(found := peaks(raw, size)) > 1
    )


def too_large(raw: Raw, size: tuple[int, int]) -> int | None:
    """The smallest batch that did not fit at a size; None where all did."""
    failed = [b.n for b in raw.batches if (b.width, b.height) == size and not b.fits]
    return min(failed, default=None)


def memory(raw: Raw, sizes: Sequence[tuple[int, int]]) -> MemoryModel | None:
    """The memory model over the measured tables; None where memory was not measured.

    The capacity is lowered where the model would let in a batch that did not fit: at the cliff the
    device also holds what the allocator cannot use.
    """
    capacity = raw.found.memory_gib if raw.found is not None else None
    found = peaks(raw, sizes[0])
    if capacity is None or not found or (len(found) == 1 and too_large(raw, sizes[0]) is None):
        return None
    if len(found) == 1:  # no second point for a line, and no second image to need one for
        return MemoryModel(
            capacity_gib=_down(capacity),
            adapter_gib=slot_gib(raw),
            base_gib=found[1],
            per_sample_gib=0.0,
            max_batch=1,
        )
    tables = vram_tables(raw, sizes)
    model = MemoryModel(
        capacity_gib=_down(capacity),
        adapter_gib=slot_gib(raw),
        max_batch=max(found),
        measured=tables,
    )
    held = model.line[0] + raw.asked.slots * model.adapter_gib
    failed = [
        held + n * model.request_gib(*size)
        for size in sizes
        if (n := too_large(raw, size)) is not None
    ]
    return replace(model, capacity_gib=_down(min([capacity, *(need - 1e-4 for need in failed)])))


def tick_s(step: float) -> float:
    """The grid for a profile: four steps of one image, to two digits.

    A batch of 20 steps is then 5 ticks or more, so that rounding up costs it a fifth at most, and a
    schedule of minutes has few enough ticks for the time-indexed methods.
    """
    return max(1e-6, float(f"{4 * step:.2g}"))


def _figures(value: float) -> float:
    """A time to four digits, more than measuring is good for."""
    return float(f"{value:.4g}")


def _down(gib: float) -> float:
    """A capacity rounded down to 0.1 MiB, so that rounding never makes it too large."""
    return max(1e-4, int(gib * 1e4 + 1e-6) / 1e4)
