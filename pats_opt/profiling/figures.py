"""Figures of a profile, made from measurements: medians, lines, tables, and their errors."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from pats_opt.generate.profile import (
    AdapterMemory,
    LoadTime,
    MemoryModel,
    OverlapCost,
    VramTable,
    round_up,
)
from pats_opt.generate.ranks import lora_gib
from pats_opt.model.instance import Overhead, StepTime
from pats_opt.profiling.measurements import MeasuredBatch, MeasuredSwitch, Measurements
from pats_opt.profiling.plan import WARM_STEPS
from pats_opt.tables.statistics import LineFit, fit_line

#: Largest relative error of a line over the step times; beyond it they become a table.
AFFINE = 0.05

#: Levels of the quantiles of switching times.
LEVELS = (0.05, 0.5, 0.95)


class StepFit(Struct, frozen=True, kw_only=True):
    """Step times by batch size.

    Attributes:
        medians: Seconds per step by batch size, rising.
        line: The fitted line.
        error: Its largest relative error.
        counted: Number of steps behind the medians.
    """

    medians: dict[int, float]
    line: LineFit
    error: float
    counted: int

    @property
    def affine(self) -> bool:
        """Whether the line fits well enough."""
        return len(self.medians) > 1 and self.error <= AFFINE

    @property
    def step_s(self) -> StepTime:
        """Step times of the profile: the line, or a table interpolated between measured sizes."""
        if self.affine:
            return StepTime(base=_rounded(self.line.base), per_sample=_rounded(self.line.slope))
        sizes = range(1, max(self.medians) + 1)
        filled = np.interp(sizes, list(self.medians), list(self.medians.values()))
        return StepTime(table=tuple(map(_rounded, filled.tolist())))


def steps(data: Measurements) -> StepFit:
    """Fit the step times of the batches within memory."""
    found: dict[int, list[float]] = defaultdict(list)
    for batch in data.batches:
        if batch.purpose == "steps" and batch.fits:
            found[batch.n] += batch.step_s[WARM_STEPS:]
    medians = {n: median(times) for n, times in sorted(found.items()) if times}
    line, error = fitted_line(medians) if medians else (LineFit(0.0, 0.0, False), 0.0)
    return StepFit(
        medians=medians, line=line, error=error, counted=sum(len(t) for t in found.values())
    )


def fitted_line(points: dict[int, float]) -> tuple[LineFit, float]:
    """Fit the line of least squared relative error; return it and its largest relative error.

    Of the lines through a single point it is the one of least base and slope together, by squares.
    """
    n = np.array(list(points), dtype=float)
    y = np.maximum(np.array(list(points.values())), 1e-12)
    if len(points) == 1:
        base = float(y[0] / (1.0 + n[0] ** 2))
        line = LineFit(base, base * float(n[0]), False)
    else:
        line = fit_line(n, y, 1.0 / y**2)
    return line, float(np.abs((line.base + line.slope * n) / y - 1.0).max())


class OverheadFit(Struct, frozen=True, kw_only=True):
    """Time of a batch besides its steps.

    Attributes:
        overhead_s: Line over the batch size.
        error: Its largest relative error.
        encode_s: Seconds per image at the smallest batch, and so is ``decode_s``.
        save_s: Seconds per image; no part of ``overhead_s``.
        rest_s: Median seconds per batch outside everything timed.
    """

    overhead_s: Overhead
    error: float
    encode_s: float
    decode_s: float
    save_s: float
    rest_s: float


def overheads(data: Measurements) -> OverheadFit:
    """Fit encoding and decoding as a line over the batch size.

    Saving is left out: images are saved beside the GPU's work, which delays each of them but no
    batch.
    """
    timed = [batch for batch in data.batches if batch.purpose == "steps" and batch.fits]
    groups: dict[int, list[MeasuredBatch]] = defaultdict(list)
    for batch in timed:
        groups[batch.n].append(batch)
    totals = {n: median(b.encode_s + b.decode_s for b in groups[n]) for n in sorted(groups)}
    line, error = fitted_line(totals)
    least = groups[min(groups)]
    saves = [batch.save_s for batch in timed if batch.save_s is not None]
    return OverheadFit(
        overhead_s=Overhead(base=_rounded(line.base), per_sample=_rounded(line.slope)),
        error=error,
        encode_s=median(b.encode_s / b.n for b in least),
        decode_s=median(b.decode_s / b.n for b in least),
        save_s=median(saves) if saves else 0.0,
        rest_s=median(b.rest_s for b in timed),
    )


def load_time(switches: Sequence[MeasuredSwitch], more_s: float = 0.0) -> LoadTime:
    """Quantiles of the times of switches, ``more_s`` added to each."""
    found = quantiles(s.seconds + more_s for s in switches)
    return LoadTime(levels=LEVELS, seconds=tuple(map(_rounded, found)))


def quantiles(values: Iterable[float]) -> list[float]:
    """Quantiles of values at :data:`LEVELS`."""
    found: list[float] = np.quantile(np.array(list(values)), LEVELS).tolist()
    return found


def beside(data: Measurements) -> dict[str, OverlapCost]:
    """Cost of loads beside a batch, by the place that they come from."""
    alone_s = steps(data).medians.get(1)
    costs: dict[str, OverlapCost] = {}
    for place in dict.fromkeys(part.place for part in data.beside):
        parts = [part for part in data.beside if part.place == place]
        times = [seconds for part in parts for seconds in part.step_s]
        costs[place] = OverlapCost(
            seconds=_rounded(median(part.load_s for part in parts)),
            hidden=_rounded(median(part.hidden for part in parts)),
            slowdown=_rounded(median(times) / alone_s) if times and alone_s else None,
        )
    return costs


def slot_gib(data: Measurements) -> float:
    """Device memory of one slot, in GiB: the most that loading an adapter copies."""
    copied = [s.mib for s in data.switches if s.mib is not None]
    return round_up(max(copied, default=0.0) / 1024)


def adapter_memory(data: Measurements) -> tuple[AdapterMemory, ...]:
    """Memory of the adapters by the formula, by their weights and in a slot, by rising rank.

    Adapters of the same shape are one entry. There is none where no load was measured.
    """
    copied = [s.mib for s in data.switches if s.mib is not None]
    size = 4 if data.asked.dtype == "float32" else 2
    shapes = {(a.rank, a.hidden, a.layers, a.weights) for a in data.asked.adapters if a.layers}
    return tuple(
        AdapterMemory(
            rank=rank,
            hidden=hidden,
            layers=layers,
            bytes_per_weight=size,
            formula_gib=_rounded(lora_gib(rank, hidden, layers, size)),
            weights_gib=_rounded(weights * size / 2**30),
            slot_gib=_rounded(max(copied) / 1024),
        )
        for rank, hidden, layers, weights in sorted(shapes)
        if copied
    )


def peaks(data: Measurements, size: tuple[int, int]) -> dict[int, float]:
    """Peak memory in GiB by batch size, rising, without the slots."""
    slots = data.asked.slots * slot_gib(data)
    found: dict[int, float] = {}
    for batch in data.batches_of(size):
        if batch.fits and batch.peak_gib is not None:
            found[batch.n] = max(found.get(batch.n, 0.0), round_up(batch.peak_gib - slots))
    return dict(sorted(found.items()))


def too_large(data: Measurements, size: tuple[int, int]) -> int | None:
    """Smallest batch that did not fit at a size; None where all did."""
    return min((b.n for b in data.batches_of(size) if not b.fits), default=None)


def memory(data: Measurements, sizes: Sequence[tuple[int, int]]) -> MemoryModel | None:
    """Memory model over the measured tables; None where memory was not measured.

    The capacity is lowered where the model would let in a batch that did not fit: a full device
    also holds memory that the allocator cannot use.
    """
    capacity = data.found.memory_gib if data.found is not None else None
    found = peaks(data, sizes[0])
    if capacity is None or not found or (len(found) == 1 and too_large(data, sizes[0]) is None):
        return None
    if len(found) == 1:  # no second point for a line, and no second image to need one for
        return MemoryModel(
            capacity_gib=_down(capacity),
            adapter_gib=slot_gib(data),
            base_gib=found[1],
            per_sample_gib=0.0,
            max_batch=1,
        )
    model = MemoryModel(
        capacity_gib=_down(capacity),
        adapter_gib=slot_gib(data),
        max_batch=max(found),
        measured=tuple(
            VramTable(width=size[0], height=size[1], batch=tuple(table), gib=tuple(table.values()))
            for size in sizes
            if len(table := peaks(data, size)) > 1
        ),
    )
    held = model.line[0] + data.asked.slots * model.adapter_gib
    failed = [
        held + n * model.request_gib(*size)
        for size in sizes
        if (n := too_large(data, size)) is not None
    ]
    return replace(model, capacity_gib=_down(min([capacity, *(need - 1e-4 for need in failed)])))


def tick_s(step: float) -> float:
    """Seconds per tick of a profile: 1, 2 or 5 times a power of ten.

    It is the largest that makes no batch of 20 steps, and no load before one, more than 2 % of that
    batch longer. Finer ticks make time-indexed methods slower.
    """
    longest = max(1e-6, 0.02 * 20 * step)
    power = 10.0 ** math.floor(math.log10(longest) + 1e-9)
    most = next(factor for factor in (5, 2, 1) if factor * power <= longest * (1 + 1e-9))
    return float(f"{most * power:.1g}")


def _rounded(value: float) -> float:
    """Round a figure to four digits; less than a nanosecond is no time."""
    return float(f"{value:.4g}") if value >= 1e-9 else 0.0


def _down(gib: float) -> float:
    """Round a capacity down to 0.1 MiB, so that rounding never makes it too large."""
    return max(1e-4, int(gib * 1e4 + 1e-6) / 1e4)
