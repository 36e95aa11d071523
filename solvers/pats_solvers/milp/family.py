"""What one adapter's batches look like on one kind of GPU: jobs, ticks, modes and packing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pats_opt.model.loss import serving_loss
from pats_opt.model.problem import Adapters, Job, Problem
from pats_solvers.common.windows import latest_completions, safe_horizon
from pats_solvers.milp.model import Floats
from pats_solvers.milp.modes import Modes, capped_modes, exact_modes, monotone, refuse_too_many

#: Packing coefficients above this are scaled down, so that a solver's tolerances stay meaningful.
LARGEST_COEFFICIENT = 1e6


@dataclass(frozen=True, slots=True)
class Windows:
    """The ticks worth considering.

    Attributes:
        latest: The last completion per job and option, None where the option is of no use.
        end: Every batch ends by this tick.
    """

    latest: Sequence[Sequence[int | None]]
    end: int

    @classmethod
    def of(cls, problem: Problem, known_loss: float | None) -> Windows:
        """The windows that keep every schedule better than one of ``known_loss``."""
        return cls(latest_completions(problem, known_loss), safe_horizon(problem, known_loss))


@dataclass(frozen=True, slots=True)
class Packing:
    """One resource's row: ``sum of demand x member <= room x batch``; demands follow the jobs."""

    demands: tuple[float, ...]
    room: float


@dataclass(frozen=True, slots=True)
class Choice:
    """One way for a job to join a batch that starts at ``first`` to ``last``.

    ``offset`` is the ticks to its completion, or None where the mode prices it (then the costs are
    those of completing at the start).
    """

    job: Job
    place: int
    option: int
    level: int
    offset: int | None
    first: int
    last: int

    def costs(self, problem: Problem) -> Floats:
        """Loss of joining at each tick from ``first`` to ``last``."""
        offset = self.offset or 0
        ticks = range(self.first + offset, self.last + offset + 1)
        losses = (serving_loss(problem.site, self.job, self.option, t) for t in ticks)
        return np.fromiter(losses, dtype=np.float64, count=len(ticks))


@dataclass(frozen=True, slots=True)
class Family:
    """The jobs that may share batches, and how.

    Attributes:
        jobs: Its jobs, by index.
        modes: How its batches may be run.
        priced: Whether completions are priced on the mode instead of on each member.
        unit_price: Loss per tick of completion of every member, where ``priced``.
        uniform: Whether every set of jobs within the modes' counts fits the GPU.
        packings: The rows that decide what fits, where not ``uniform``.
        choices: Every way for its jobs to join.
        first, last: Ticks at which its batches may start.
    """

    jobs: tuple[Job, ...]
    modes: Modes
    priced: bool
    unit_price: float
    uniform: bool
    packings: tuple[Packing, ...]
    choices: tuple[Choice, ...]
    first: int
    last: int
    end: int


def family_of(
    problem: Problem,
    gpu: int,
    resident: Adapters,
    jobs: Sequence[Job],
    windows: Windows,
) -> Family | None:
    """The family of ``jobs`` on ``gpu`` while ``resident`` is held, or None where none can run.

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
    cap = _largest(jobs, room)
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
        Family(
            jobs=tuple(jobs),
            modes=modes,
            priced=priced,
            unit_price=next(iter(prices)) if priced else 0.0,
            uniform=uniform,
            packings=() if uniform else tuple(_packings(jobs, room)),
            choices=tuple(choices),
            first=min(c.first for c in choices),
            last=max(c.last for c in choices),
            end=windows.end,
        )
        for modes, priced in candidates
        if (choices := _choices(jobs, options, modes, priced, windows))
    ]
    return min(built, key=_columns, default=None)


def _columns(family: Family) -> int:
    """Columns a family takes, about."""
    joins = sum(c.last - c.first + 1 for c in family.choices)
    return joins + len(family.modes.modes) * (family.last - family.first + 1)


def _options(job: Job) -> dict[int, int]:
    """The best option of each step count: equal steps take equal time."""
    best: dict[int, int] = {}
    for o, option in enumerate(job.options):
        at = best.setdefault(option.steps, o)
        if option.quality_loss < job.options[at].quality_loss:
            best[option.steps] = o
    return best


def _largest(jobs: Sequence[Job], room: Sequence[int | None]) -> int:
    """The most jobs that any batch holds, each resource looked at alone."""
    most = len(jobs)
    for i, free in enumerate(room):
        if free is not None:
            left, count = free, 0
            for need in sorted(job.demand[i] for job in jobs):
                if need > left:
                    break
                left, count = left - need, count + 1
            most = min(most, count)
    return most


def _packings(jobs: Sequence[Job], room: Sequence[int | None]) -> Iterable[Packing]:
    """Rows of the resources that not every set of jobs fits."""
    for i, free in enumerate(room):
        needs = [job.demand[i] for job in jobs]
        if free is not None and sum(needs) > free:
            demands, limit = scaled(needs, free)
            yield Packing(tuple(demands), limit)


def scaled(needs: Sequence[int], room: int) -> tuple[list[float], float]:
    """A packing row in the largest unit that keeps it exact, so that a whole unit is at stake.

    What is left of the room beyond whole units is of no use and dropped. Rows that are still large
    are scaled down, for the solver's sake.
    """
    unit = max(math.gcd(*needs), 1)
    most = room // unit
    scale = max(1.0, most / LARGEST_COEFFICIENT)
    return [need // unit / scale for need in needs], most / scale


def _choices(
    jobs: Sequence[Job],
    options: dict[int, dict[int, int]],
    modes: Modes,
    priced: bool,
    windows: Windows,
) -> list[Choice]:
    """Every way to join, with the ticks that the windows and the modes leave."""
    shortest = [
        {
            offset: min(m.duration for m in modes.modes if m.offsets[level] == offset)
            for offset in modes.offsets(level)
        }
        for level in range(len(modes.levels))
    ]
    found: list[Choice] = []
    for place, job in enumerate(jobs):
        for level, steps in enumerate(modes.levels):
            option = options[job.index].get(steps)
            last = None if option is None else windows.latest[job.index][option]
            if option is None or last is None or not shortest[level]:
                continue
            ways: list[tuple[int | None, int]] = [
                (o, min(last - o, windows.end - d)) for o, d in shortest[level].items()
            ]
            if priced:
                ways = [(None, max(until for _, until in ways))]
            found.extend(
                Choice(job, place, option, level, offset, job.arrival, until)
                for offset, until in ways
                if until >= job.arrival
            )
    return found
