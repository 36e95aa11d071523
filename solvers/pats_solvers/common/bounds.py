"""Bounds on single batches, switches and jobs, and the bound on the loss that they add up to."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

from pats_opt.model.loss import serving_loss, switching_loss
from pats_opt.model.problem import Job, Problem
from pats_opt.model.timing import to_ticks

#: Relative error of a sum of seconds, so that one order of adding them is never above another.
ROUNDING = 1e-12


def most_jobs(jobs: Sequence[Job], room: Sequence[int | None]) -> int:
    """Upper bound on the number of ``jobs`` that fit into ``room``, from each resource alone."""
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


def largest_batch(problem: Problem, gpu: int) -> int:
    """Upper bound on the number of members of a batch on ``gpu``."""
    site = problem.site
    memory, *others = site.room(gpu, frozenset())
    if memory is not None:
        memory -= min(site.adapter_vram, default=0)
    most = most_jobs(problem.jobs, (memory, *others))
    return most if site.clock.largest is None else min(most, site.clock.largest)


def share_of_batch(problem: Problem, members: int) -> int:
    """Upper bound on the ticks per member of a batch of at most ``members``.

    A batch of n with largest step count s ends within ``h(n) + s * max of w(1..n)`` seconds.
    """
    clock, tick_s = problem.site.clock, problem.site.tick_s
    if clock.slotted:
        return 1
    steps = max((o.steps for job in problem.jobs for o in job.options), default=0)
    share, slowest = 0, 0.0
    for n in range(1, members + 1):
        slowest = max(slowest, clock.step_s(n))
        ticks = to_ticks(clock.overhead_s(n) + steps * slowest, tick_s) + 1
        share = max(share, math.ceil(ticks / n))
    return share


def longest_switch(problem: Problem) -> int:
    """Upper bound on the duration of a switch, in ticks.

    With loads beside serving, of the activations of a batch and the loads whose first batch it is:
    an idle GPU then waits for nothing else.
    """
    site = problem.site
    if site.channels is not None:
        loads = sorted(map(site.load_ticks, range(len(site.load_s))), reverse=True)
        most = site.max_per_batch
        return sum(loads[:most]) + most * site.switching_ticks(site.activate_s)
    seconds = sorted((*site.load_s, *site.pairs.values()), reverse=True)[: site.max_resident]
    return sum(site.switching_ticks(max(s, site.activate_s)) for s in seconds)


def longest_batch(problem: Problem, members: int) -> int:
    """Upper bound on the duration of a batch of at most ``members``, in ticks.

    See :func:`share_of_batch`.
    """
    clock, tick_s = problem.site.clock, problem.site.tick_s
    if clock.slotted or not members:
        return 1
    steps = max((o.steps for job in problem.jobs for o in job.options), default=0)
    slowest = max(clock.step_s(n) for n in range(1, members + 1))
    return to_ticks(clock.overhead_s(members) + steps * slowest, tick_s) + 1


def earliest_completion(problem: Problem, job: Job, option: int) -> int:
    """Lower bound on the tick at which ``job`` completes with ``option``.

    A table's step time may fall with the batch's size, so every size counts there.
    """
    clock = problem.site.clock
    if clock.slotted:
        return job.arrival
    steps = job.options[option].steps
    step_s = min(clock.step_s(n) for n in range(1, (clock.largest or 1) + 1))
    seconds = (clock.overhead_s(1) + steps * step_s) * (1.0 - ROUNDING)
    return job.arrival + max(1, to_ticks(seconds, problem.site.tick_s))


def least_loss(problem: Problem, job: Job) -> float:
    """Lower bound on the loss of ``job`` in any schedule."""
    served = min(
        serving_loss(problem.site, job, o, earliest_completion(problem, job, o))
        for o in range(len(job.options))
    )
    return served if job.reject_loss is None else min(served, job.reject_loss)


def least_switching(problem: Problem) -> float:
    """Lower bound on the switching loss: each adapter that must be used is loaded once."""
    site = problem.site
    at_hand = {a for gpu in site.gpus for a in gpu.resident}
    needed = {job.adapter for job in problem.jobs if job.reject_loss is None} - at_hand
    least = {a: site.load_s[a] for a in needed}
    for (_, to), seconds in site.pairs.items():
        if to in least:
            least[to] = min(least[to], seconds)
    return switching_loss(site, sum(least.values()))


def combinatorial_bound(problem: Problem) -> float:
    """Lower bound on the loss without any search: each job's least loss and least switching."""
    least = math.fsum(least_loss(problem, job) for job in problem.jobs)
    return least + least_switching(problem)


def congestion_bound(problem: Problem) -> float:
    """Lower bound on the loss from GPU seconds: the jobs that must be served share the GPUs.

    A batch gives each member a share of its time, at least the fewest seconds per member of any
    batch. One preemptive GPU as quick as all together then ends no job later on average. Its
    weighted mean busy times are least where the job with the most weight for its seconds goes
    first, and a job completes half its seconds after its mean busy time at the earliest. Jobs that
    may be rejected count alone.

    Source: Goemans, Queyranne, Schulz, Skutella and Wang (2002), single-machine scheduling with
    release dates.
    """
    site = problem.site
    alone = [least_loss(problem, job) for job in problem.jobs if job.reject_loss is not None]
    served = [job for job in problem.jobs if job.reject_loss is None]
    if served and not site.clock.slotted:
        seconds = _least_seconds(problem, served)
        alone.append(site.latency_price_per_s * _least_latency(problem, served, seconds))
    return math.fsum(alone) + least_switching(problem)


def _least_seconds(problem: Problem, jobs: Sequence[Job]) -> list[float]:
    """Lower bound on each job's share of GPU seconds in any batch."""
    clock = problem.site.clock
    sizes = range(1, max(1, *(largest_batch(problem, gpu.index) for gpu in problem.site.gpus)) + 1)
    step_s = min(clock.step_s(n) / n for n in sizes)
    overhead_s = min(clock.overhead_s(n) / n for n in sizes)
    noise = 2e-9 * problem.site.tick_s  # durations may be rounded down by half of it
    return [
        max(0.0, overhead_s + step_s * min(o.steps for o in job.options) - noise) for job in jobs
    ]


def _least_latency(problem: Problem, jobs: Sequence[Job], seconds: Sequence[float]) -> float:
    """Lower bound on the weighted latencies in seconds: mean busy times on one quick GPU."""
    tick_s, speed = problem.site.tick_s, max(1, len(problem.site.gpus))
    latencies = [job.weight * s / 2 for job, s in zip(jobs, seconds, strict=True)]
    waiting: list[tuple[float, int]] = []  # by weight per second, and what remains of each job
    left = list(seconds)
    now, following = 0.0, 0
    while waiting or following < len(jobs):
        if not waiting:
            now = max(now, jobs[following].arrival * tick_s)
        while following < len(jobs) and jobs[following].arrival * tick_s <= now:
            if seconds[following] > 0.0 and jobs[following].weight > 0.0:
                rank = -jobs[following].weight / seconds[following]
                heapq.heappush(waiting, (rank, following))
            following += 1
        if not waiting:
            continue
        j = waiting[0][1]
        until = now + left[j] / speed
        if following < len(jobs):
            until = min(until, jobs[following].arrival * tick_s)
        done = left[j] if until >= now + left[j] / speed else (until - now) * speed
        middle = (now + until) / 2 - jobs[j].arrival * tick_s
        latencies.append(jobs[j].weight * done / seconds[j] * middle)
        left[j] -= done
        if left[j] <= 0.0:
            heapq.heappop(waiting)
        now = until
    return math.fsum(latencies) * (1.0 - 1e-9)


def trivial_bound(problem: Problem) -> float:
    """Lower bound on the loss that takes no search: jobs alone, or all of them in a queue."""
    return max(combinatorial_bound(problem), congestion_bound(problem))
