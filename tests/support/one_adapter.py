"""One adapter on one GPU with prices, by exhaustive search over single jobs.

Plain recursion over ticks: no classes, no counts, no arrays. It says what a chain of the
``lagrangian`` solver is meant to be worth where nothing is cut, merged or coarse.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cache

from pats_opt.model.loss import latency_loss, serving_loss
from pats_opt.model.problem import Job, Problem
from pats_opt.model.timing import shape_of

#: How the adapter is.
ABSENT, RESIDENT, ACTIVE = range(3)


def least_priced_loss(  # noqa: C901 - one search, with its rules inside
    problem: Problem, adapter: int, hold: Sequence[float], keep: Sequence[float], state: int
) -> float:
    """The least loss of the adapter's jobs and of the prices they pay; infinity without a plan.

    Prices end with the lists. What begins later is free, but where a hard horizon is the end
    nothing does.

    Args:
        problem: The problem; its first GPU is looked at.
        adapter: Whose jobs are served.
        hold: Price of each tick in which the adapter holds the GPU.
        keep: Price of each tick in which it is resident.
        state: How it is at tick 0.
    """
    site, end = problem.site, len(hold)
    caching = site.max_resident > 1
    hard = site.horizon is not None and site.horizon <= end
    load, activate, prefetch = _switches(problem, adapter)

    def price(now: int, then: int, *, holding: bool) -> float:
        return sum(keep[now:then]) + (sum(hold[now:then]) if holding else 0.0)

    def reach(now: int, ticks: int) -> int | None:
        return None if hard and now + ticks > end else min(now + ticks, end)

    @cache
    def best(now: int, left: frozenset[int], at: int) -> float:  # noqa: C901
        if not left:
            return 0.0
        if now >= end:
            return sum(_left_over(problem, problem.jobs[j], end, hard=hard) for j in left)
        found = []
        for lower in range(at + 1):  # it may be left at any time
            paid = 0.0 if lower == ABSENT else price(now, now + 1, holding=lower == ACTIVE)
            if lower != RESIDENT or caching:
                found.append(paid + best(now + 1, left, lower))
        for j in left:
            job = problem.jobs[j]
            if job.reject_loss is not None:
                found.append(job.reject_loss + best(now, left - {j}, at))
        ways = [(ABSENT, ACTIVE, load)]
        if caching:
            ways += [(RESIDENT, ACTIVE, activate), (ABSENT, RESIDENT, prefetch)]
        for before, after, (ticks, cost) in ways:
            then = reach(now, ticks)
            if at == before and then is not None:
                found.append(cost + price(now, then, holding=True) + best(then, left, after))
        if at == ACTIVE:
            for loss, rest, duration in _batches(problem, adapter, now, left):
                then = reach(now, duration)
                if then is not None:
                    found.append(loss + price(now, then, holding=True) + best(then, rest, ACTIVE))
        return min(found)

    mine = frozenset(job.index for job in problem.jobs if job.adapter == adapter)
    return best(0, mine, state)


def least_priced_loss_beside(  # noqa: C901 - one search, with its rules inside
    problem: Problem,
    adapter: int,
    hold: Sequence[float],
    keep: Sequence[float],
    load: Sequence[float],
    *,
    resident: bool,
) -> float:
    """The same with loads beside serving, tick by tick: the loader and the GPU have clocks.

    Once it has been active it is not evicted and loaded again without being activated again: no
    optimal schedule needs that.

    Args:
        problem: The problem; its first GPU is looked at.
        adapter: Whose jobs are served.
        hold: Price of each tick in which the adapter holds the GPU.
        keep: Price of each tick in which it is resident.
        load: Price of each tick in which it is loaded.
        resident: Whether it is at tick 0.
    """
    site, end = problem.site, len(hold)
    hard = site.horizon is not None and site.horizon <= end
    load_ticks, activation = site.load_ticks(adapter), site.switching_ticks(site.activate_s)

    def ways(
        now: int, ready: int | None, active: int | None
    ) -> Iterator[tuple[float, int | None, int | None]]:
        """Cost, the tick from which it is loaded, and that from which it is active, or None."""
        stay = [(ready, active), (ready, None)]
        stay += [(None, None)] if ready is not None and ready <= now else []
        for then_ready, then_active in stay:
            loads = [(0.0, then_ready)]
            if then_ready is None:
                loads.append((site.switch_price_per_s * site.load_s[adapter], now + load_ticks))
            activations = [(0.0, then_active)]
            if then_active is None:
                activations.append((site.switch_price_per_s * site.activate_s, now + activation))
            for (paid, a), (more, b) in itertools.product(loads, activations):
                if not hard or max(a or 0, b or 0) <= end:
                    yield paid + more, a, b

    @cache
    def best(now: int, left: frozenset[int], ready: int | None, active: int | None) -> float:
        if not left:
            return 0.0
        if now >= end:
            return sum(_left_over(problem, problem.jobs[j], end, hard=hard) for j in left)
        found = []
        for j in left:
            job = problem.jobs[j]
            if job.reject_loss is not None:
                found.append(job.reject_loss + best(now, left - {j}, ready, active))
        for cost, loaded, usable in ways(now, ready, active):
            paid = cost
            paid += 0.0 if usable is None else hold[now]
            paid += 0.0 if loaded is None else keep[now]
            paid += load[now] if loaded is not None and loaded > now else 0.0
            found.append(paid + best(now + 1, left, loaded, usable))
            if loaded is None or loaded > now or usable is None or usable > now:
                continue
            for loss, rest, duration in _batches(problem, adapter, now, left):
                then = min(now + duration, end)
                if not hard or now + duration <= end:
                    busy = sum(hold[now:then]) + sum(keep[now:then])
                    found.append(cost + loss + busy + best(then, rest, loaded, usable))
        return min(found)

    mine = frozenset(job.index for job in problem.jobs if job.adapter == adapter)
    # The GPU's first batch is not activated: whose it is holds the GPU until then.
    return min(best(0, mine, 0 if resident else None, active) for active in (None, 0))


def _left_over(problem: Problem, job: Job, end: int, *, hard: bool) -> float:
    """The least loss of a job that is left at the end."""
    site, losses = problem.site, [math.inf if job.reject_loss is None else job.reject_loss]
    if not hard and site.fits(0, frozenset((job.adapter,)), (job,)):
        for option in job.options:  # deadlines are not looked at any more
            done = end + site.clock.completions(((option.steps, 1),))[0]
            losses.append(option.quality_loss + latency_loss(site, job, done))
    return min(losses)


def _batches(
    problem: Problem, adapter: int, now: int, left: frozenset[int]
) -> Iterator[tuple[float, frozenset[int], int]]:
    """Batches of jobs that are left: their loss, whom they leave, and their ticks."""
    site = problem.site
    here = [problem.jobs[j] for j in sorted(left) if problem.jobs[j].arrival <= now]
    for size in range(1, len(here) + 1):
        for members in itertools.combinations(here, size):
            if not site.fits(0, frozenset((adapter,)), members):
                continue
            rest = left - {job.index for job in members}
            for options in itertools.product(*(range(len(m.options)) for m in members)):
                chosen = list(zip(members, options, strict=True))
                shape = shape_of(m.options[o].steps for m, o in chosen)
                ends = dict(zip((s for s, _ in shape), site.clock.completions(shape), strict=True))
                ticks = [now + ends[job.options[o].steps] for job, o in chosen]
                parts = zip(chosen, ticks, strict=True)
                loss = sum(serving_loss(site, job, o, tick) for (job, o), tick in parts)
                yield loss, rest, site.clock.duration(shape)


def _switches(problem: Problem, adapter: int) -> tuple[tuple[int, float], ...]:
    """Ticks and loss of a load, an activation and a load ahead, each the least it can be."""
    site = problem.site
    if site.max_resident == 1:
        sources = {None, *range(len(site.adapter_ids))} - {adapter}
        into = [site.pairs.get((source, adapter), site.load_s[adapter]) for source in sources]
        least = min(into)
        ticks = 0 if site.clock.slotted else math.ceil(least / site.tick_s - 1e-9)
        return ((ticks, site.switch_price_per_s * least), (0, 0.0), (0, 0.0))
    active, load, activate = site.max_per_batch, site.load_s[adapter], site.activate_s
    others = [s for a, s in enumerate(site.load_s) if a != adapter]

    def whole(seconds: float) -> int:
        return 0 if site.clock.slotted else math.ceil(seconds / site.tick_s - 1e-9)

    found = [
        (whole(load), load),
        (
            min([whole(activate), *(whole(s) // active for s in others)]),
            min([activate, *(s / active for s in others)]),
        ),
        (max(0, whole(load) - active * whole(activate)), max(0.0, load - active * activate)),
    ]
    return tuple((taken, site.switch_price_per_s * seconds) for taken, seconds in found)
