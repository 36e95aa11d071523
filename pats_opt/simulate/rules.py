"""What a policy may do: every action is verified against the state before it is carried out.

The simulator and a live executor use the same verification, so neither can be misled by a policy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pats_opt.policy import GpuState, Start, State, SwitchTo, WakeAt
from pats_opt.problem import Adapters, Job, Site, ids
from pats_opt.timing import shape_of

#: How many waiting requests a message about a broken rule names.
NAMED = 5


class BrokenRuleError(Exception):
    """An action that the rules forbid; the text names the rule and what breaks it."""


class Admitted(NamedTuple):
    """A verified batch: when it starts and ends, what it uses."""

    start: int
    end: int
    resident: Adapters
    active: Adapters


def admit_start(site: Site, state: State, action: Start) -> Admitted:
    """Verify a batch.

    Raises:
        BrokenRuleError: naming the rule of PROBLEM.md section 5 (or 7) that it breaks.
    """
    gpu = _idle_gpu(site, state, action.gpu)
    name = site.gpus[gpu.index].id
    jobs, steps = [], []
    for index, option in action.members:
        job = state.waiting.get(index)
        if job is None:
            raise BrokenRuleError(f"rule 1: job {index} does not wait")
        if not 0 <= option < len(job.options):
            raise BrokenRuleError(f"section 7: {job.id!r} has no option {option}")
        jobs.append(job)
        steps.append(job.options[option].steps)
    if not jobs:
        raise BrokenRuleError(f"section 7: the batch on GPU {name!r} has no members")
    if len({job.index for job in jobs}) < len(jobs):
        raise BrokenRuleError("rule 1: a batch has the same request twice")
    resident = _residents(site, action.resident)
    if gpu.before is not None and resident != gpu.resident:
        raise BrokenRuleError(
            f"section 4: GPU {name!r} has switched ahead and must serve as it is before it "
            "switches again"
        )
    _fit(site, gpu, resident, jobs)
    active = frozenset(job.adapter for job in jobs)
    start = state.tick + gpu.switch_ticks(site, resident, active)
    end = start + site.clock.duration(shape_of(steps))
    if site.horizon is not None and end > site.horizon:
        raise BrokenRuleError(
            f"rule 6: the batch on GPU {name!r} ends at tick {end}, after horizon_ticks "
            f"{site.horizon}"
        )
    return Admitted(start, end, resident, active)


def admit_switch(site: Site, state: State, action: SwitchTo) -> tuple[Adapters, int]:
    """Verify a prefetch; the new residents and the tick at which it ends.

    Raises:
        BrokenRuleError: naming the rule.
    """
    gpu = _idle_gpu(site, state, action.gpu)
    name = site.gpus[gpu.index].id
    resident = _residents(site, action.resident)
    if gpu.before is not None:
        raise BrokenRuleError(
            f"section 4: GPU {name!r} has switched ahead and must serve before it switches again"
        )
    if resident == gpu.resident:
        raise BrokenRuleError(f"section 7: GPU {name!r} holds {ids(site, resident)} already")
    _fit(site, gpu, resident, [])
    # Which adapters the next batch will use, so whether it pays an activation, is not known yet.
    ticks = site.switch(gpu.resident, resident, frozenset(), None).ticks
    end = state.tick + ticks
    if site.horizon is not None and end > site.horizon:
        raise BrokenRuleError(
            f"rule 6: the switch of GPU {name!r} ends at tick {end}, after the horizon"
        )
    return resident, end


def admit_timer(state: State, action: WakeAt) -> int:
    """Verify a timer; its tick.

    Raises:
        BrokenRuleError: it is not in the future.
    """
    if action.tick <= state.tick:
        raise BrokenRuleError(f"section 7: a timer for tick {action.tick} is not in the future")
    return action.tick


def describe(site: Site, state: State) -> str:
    """The state in half a line, for messages about a policy."""
    waiting = [job.id for _, job in zip(range(NAMED), state.waiting.values(), strict=False)]
    names = ", ".join(waiting) + (", ..." if len(state.waiting) > len(waiting) else "")
    gpus = "; ".join(
        f"{site.gpus[gpu.index].id} "
        + ("idle" if gpu.free_at <= state.tick else f"busy to tick {gpu.free_at}")
        + f", holding {', '.join(ids(site, gpu.resident)) or 'nothing'}"
        for gpu in state.gpus
    )
    return f"{len(state.waiting)} waiting ({names}); {gpus}" if waiting else f"none waiting; {gpus}"


def _idle_gpu(site: Site, state: State, index: int) -> GpuState:
    if not 0 <= index < len(site.gpus):
        raise BrokenRuleError(f"section 7: there is no GPU {index}")
    gpu = state.gpus[index]
    if gpu.free_at > state.tick:
        raise BrokenRuleError(f"rule 6: GPU {site.gpus[index].id!r} is busy to tick {gpu.free_at}")
    return gpu


def _residents(site: Site, adapters: Iterable[int]) -> Adapters:
    resident = frozenset(adapters)
    if unknown := [a for a in resident if not 0 <= a < len(site.adapter_ids)]:
        raise BrokenRuleError(f"rule 2: there is no adapter {unknown[0]}")
    return resident


def _fit(site: Site, gpu: GpuState, resident: Adapters, jobs: list[Job]) -> None:
    """Rules 2 and 3; what exactly is wrong is worked out only where something is."""
    if site.fits(gpu.index, resident, jobs):
        return
    place = f"GPU {site.gpus[gpu.index].id!r}"
    active = frozenset(job.adapter for job in jobs)
    if len(resident) > site.max_resident:
        raise BrokenRuleError(f"rule 2: {place}: {len(resident)} residents of {site.max_resident}")
    if missing := active - resident:
        raise BrokenRuleError(f"rule 2: {place}: {', '.join(ids(site, missing))} is not resident")
    if len(active) > site.max_per_batch:
        raise BrokenRuleError(
            f"rule 2: {place}: {len(active)} adapters of {site.max_per_batch} a batch"
        )
    if site.clock.largest is not None and len(jobs) > site.clock.largest:
        raise BrokenRuleError(
            f"rule 3: {place}: {len(jobs)} members, the table has {site.clock.largest}"
        )
    used = [sum(job.demand[i] for job in jobs) for i in range(len(site.resources))]
    over = next(
        f"{u / 1e9:g} of {name}, {free / 1e9:g} is free"
        for name, u, free in zip(site.resources, used, site.room(gpu.index, resident), strict=True)
        if free is not None and u > free
    )
    raise BrokenRuleError(f"rule 3: {place}: the batch takes {over}")
