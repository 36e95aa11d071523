"""Cost of loads beside serving: how much of them is hidden, and how much steps are slowed."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate
from statistics import median
from typing import Protocol

from pats_opt.execute.record import GpuRun, LoadingCost, LoadingSteps, LoadRun, Phase


class TimedInterval(Protocol):
    """Anything that has a beginning and an end, in seconds."""

    @property
    def start_s(self) -> float:
        """Its beginning."""
        ...

    @property
    def end_s(self) -> float:
        """Its end."""
        ...


def hidden_share(load: TimedInterval, batches: Iterable[TimedInterval]) -> float:
    """Share of a load's seconds in which its GPU was serving one of these batches."""
    parts = [min(b.end_s, load.end_s) - max(b.start_s, load.start_s) for b in batches]
    served, seconds = sum([part for part in parts if part > 0]), load.end_s - load.start_s
    return min(1.0, served / seconds) if seconds > 0 else 1.0


def loading_cost(gpus: Iterable[GpuRun]) -> LoadingCost | None:
    """Return what the loads beside serving did; None where there were none.

    A step is beside a load if any part of it is.
    """
    loads: list[LoadRun] = []
    alone: dict[int, list[float]] = defaultdict(list)
    beside: dict[int, list[float]] = defaultdict(list)
    for gpu in gpus:
        loads += gpu.loads
        starts = [load.start_s for load in gpu.loads]  # rising
        ends = list(accumulate([load.end_s for load in gpu.loads], max))
        for step in [s for batch in gpu.batches for s in batch.spans if s.phase is Phase.STEP]:
            before = bisect_left(starts, step.end_s)
            shares = before > 0 and ends[before - 1] > step.start_s
            (beside if shares else alone)[step.n].append(step.seconds)
    if not loads:
        return None
    seconds = sum([load.seconds for load in loads])
    hidden = sum([load.hidden * load.seconds for load in loads])
    return LoadingCost(
        count=len(loads),
        seconds=seconds,
        hidden=min(1.0, hidden / seconds) if seconds else 1.0,
        slowdown=_slowdown(alone, beside),
        steps=tuple(
            [
                LoadingSteps(
                    n=n,
                    alone=len(alone.get(n, ())),
                    alone_s=median(alone[n]) if n in alone else None,
                    beside=len(beside.get(n, ())),
                    beside_s=median(beside[n]) if n in beside else None,
                )
                for n in sorted({*alone, *beside})
            ]
        ),
    )


def _slowdown(alone: dict[int, list[float]], beside: dict[int, list[float]]) -> float | None:
    """Measured seconds of the steps beside loads by those they take alone."""
    both = [n for n in beside if n in alone]
    expected = sum([len(beside[n]) * median(alone[n]) for n in both])
    took = sum([len(beside[n]) * median(beside[n]) for n in both])
    return took / expected if expected else None
