"""Batch families: the jobs that may share batches, with their ticks, modes and capacity rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pats_opt.model.loss import serving_loss
from pats_opt.model.problem import Adapters, Job, Problem
from pats_solvers.common.bounds import most_jobs
from pats_solvers.common.windows import latest_completions, safe_horizon
from pats_solvers.milp.model import Floats
from pats_solvers.milp.modes import BatchModes, capped_modes, exact_modes, monotone, refuse_too_many

#: Capacity coefficients above this are scaled down, for a solver's tolerances to mean something.
LARGEST_COEFFICIENT = 1e6


@dataclass(frozen=True, slots=True)
class TimeWindows:
    """Ticks worth considering.

    Attributes:
        latest: The last completion per job and option, None where the option is of no use.
        end: Every batch ends by this tick.
    """

    latest: Sequence[Sequence[int | None]]
    end: int

    @classmethod
    def of(cls, problem: Problem, known_loss: float | None) -> TimeWindows:
        """Return the windows that keep every schedule better than one of ``known_loss``."""
        return cls(latest_completions(problem, known_loss), safe_horizon(problem, known_loss))


@dataclass(frozen=True, slots=True)
class CapacityRow:
    """A resource: ``sum of demand[j] * member[j] <= room * batch``, one demand per job."""

    demands: tuple[float, ...]
    room: float


@dataclass(frozen=True, slots=True)
class JoinOption:
    """A way for a job to join a batch that starts at a tick from ``first`` to ``last``.

    Attributes:
        place: Its index in the family.
        level: The option's step count, as an index of the modes' levels.
        offset: Ticks from start to completion; None where the mode prices the completion, so that
            the costs are those of completing at the start.
        first, last: Start ticks.
    """

    job: Job
    place: int
    option: int
    level: int
    offset: int | None
    first: int
    last: int

    def costs(self, problem: Problem) -> Floats:
        """Return the loss of joining at each tick from ``first`` to ``last``."""
        offset = self.offset or 0
        ticks = range(self.first + offset, self.last + offset + 1)
        losses = (serving_loss(problem.site, self.job, self.option, t) for t in ticks)
        return np.fromiter(losses, dtype=np.float64, count=len(ticks))


@dataclass(frozen=True, slots=True)
class BatchFamily:
    """Jobs that may share batches, and how.

    Attributes:
        jobs: Its jobs, by index.
        modes: How its batches may be run.
        priced: Whether completions are priced on the mode instead of on each member.
        unit_price: Loss per tick of completion of every member, where ``priced``.
        uniform: Whether every set of jobs within the modes' counts fits the GPU.
        capacities: The rows that decide what fits, where not ``uniform``.
        ways: Every way for its jobs to join.
        first, last: Ticks at which its batches may start.
        end: Every batch ends by this tick.
    """

    jobs: tuple[Job, ...]
    modes: BatchModes
    priced: bool
    unit_price: float
    uniform: bool
    capacities: tuple[CapacityRow, ...]
    ways: tuple[JoinOption, ...]
    first: int
    last: int
    end: int


def family_of(
    problem: Problem,
    gpu: int,
    resident: Adapters,
    jobs: Sequence[Job],
    windows: TimeWindows,
) -> BatchFamily | None:
    """Return the family of ``jobs`` on ``gpu`` while ``resident`` is held; None where none can run.

    Args:
        problem: The problem.
        gpu: Index of the GPU.
        resident: The fewest adapters that must be resident; others only take room away.
        jobs: Jobs that may share batches.
        windows: The ticks worth considering.
    """
    site = problem.site
    clock = site.clock
    room = site.room(gpu, resident)
    jobs = [
        job
        for job in jobs
        if any(tick is not None for tick in windows.latest[job.index])
        and site.fits(gpu, resident | {job.adapter}, (job,))
    ]
    if not jobs:
        return None
    options = {job.index: _options(job) for job in jobs}
    levels = sorted({steps for mine in options.values() for steps in mine})
    most = [sum(steps in options[job.index] for job in jobs) for steps in levels]
    cap = most_jobs(jobs, room)
    cap = cap if clock.largest is None else min(cap, clock.largest)
    uniform = len({job.demand for job in jobs}) == 1
    refuse_too_many(most, cap)
    late = site.late_price > 0 and any(job.deadline is not None for job in jobs)
    prices = {site.latency_price_per_s * job.weight * site.tick_s for job in jobs}
    candidates = []
    if monotone(clock, cap):
        candidates.append((capped_modes(clock, levels, most, cap), False))
    if not candidates or (not late and len(prices) == 1):
        candidates.append((exact_modes(clock, levels, most, cap), not late and len(prices) == 1))
    built = [
        BatchFamily(
            jobs=tuple(jobs),
            modes=modes,
            priced=priced,
            unit_price=next(iter(prices)) if priced else 0.0,
            uniform=uniform,
            capacities=() if uniform else tuple(_capacities(jobs, room)),
            ways=tuple(ways),
            first=min(c.first for c in ways),
            last=max(c.last for c in ways),
            end=windows.end,
        )
        for modes, priced in candidates
        if (ways := _ways(jobs, options, modes, priced, windows))
    ]
    return min(built, key=_columns, default=None)


def _columns(family: BatchFamily) -> int:
    """Estimate the number of columns of a family."""
    joins = sum(c.last - c.first + 1 for c in family.ways)
    return joins + len(family.modes.modes) * (family.last - family.first + 1)


def _options(job: Job) -> dict[int, int]:
    """Return the best option of each step count: equal steps take equal time."""
    best: dict[int, int] = {}
    for o, option in enumerate(job.options):
        at = best.setdefault(option.steps, o)
        if option.quality_loss < job.options[at].quality_loss:
            best[option.steps] = o
    return best


def _capacities(jobs: Sequence[Job], room: Sequence[int | None]) -> Iterable[CapacityRow]:
    """Yield the resources that not every set of jobs fits."""
    for i, free in enumerate(room):
        needs = [job.demand[i] for job in jobs]
        if free is not None and sum(needs) > free:
            demands, limit = scaled(needs, free)
            yield CapacityRow(tuple(demands), limit)


def scaled(needs: Sequence[int], room: int) -> tuple[list[float], float]:
    """Return a packing row in the largest unit that keeps it exact: violations are whole units.

    What is left of the room beyond whole units is of no use and dropped. Rows that are still large
    are scaled down for the solver.
    """
    unit = max(math.gcd(*needs), 1)
    most = room // unit
    scale = max(1.0, most / LARGEST_COEFFICIENT)
    return [need // unit / scale for need in needs], most / scale


def _ways(
    jobs: Sequence[Job],
    options: dict[int, dict[int, int]],
    modes: BatchModes,
    priced: bool,
    windows: TimeWindows,
) -> list[JoinOption]:
    """Return every way to join, with the ticks that windows and modes leave."""
    shortest = [
        {
            offset: min(m.duration for m in modes.modes if m.offsets[level] == offset)
            for offset in modes.offsets(level)
        }
        for level in range(len(modes.levels))
    ]
    found: list[JoinOption] = []
    for place, job in enumerate(jobs):
        for level, steps in enumerate(modes.levels):
            option = options[job.index].get(steps)
            last = None if option is None else windows.latest[job.index][option]
            if option is None or last is None or not shortest[level]:
                continue
            lasts: list[tuple[int | None, int]] = [
                (o, min(last - o, windows.end - d)) for o, d in shortest[level].items()
            ]
            if priced:
                lasts = [(None, max(until for _, until in lasts))]
            found.extend(
                JoinOption(job, place, option, level, offset, job.arrival, until)
                for offset, until in lasts
                if until >= job.arrival
            )
    return found
