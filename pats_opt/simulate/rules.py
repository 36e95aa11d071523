"""Rules for the actions of a policy, each verified against the state before it is carried out.

The simulator and a live executor use the same verification, so neither can be misled by a policy.
Types are verified too, and exactly: a GPU numbered ``True``, a tick that is not a number (no order
holds for NaN) or an endless iterator of members must not get as far as a queue or a plan.
"""

from __future__ import annotations

from collections.abc import Collection
from reprlib import Repr

from msgspec import Struct

from pats_opt.core.policy import GpuState, Start, StartLoad, State, SwitchTo, WakeAt
from pats_opt.errors import one_line
from pats_opt.model.problem import Adapters, Job, Site, ids
from pats_opt.model.schedule import LAST_TICK
from pats_opt.wording import counted

#: How many waiting requests, and how many GPUs, a message about a broken rule describes.
NAMED, DESCRIBED = 5, 8

_repr = Repr()
_repr.maxother = _repr.maxstring = 160


class BrokenRuleError(Exception):
    """An action that the rules forbid; the text names the rule and what breaks it."""


class AdmittedBatch(Struct, frozen=True, gc=False):
    """A verified batch: when it starts and ends, what it uses."""

    start: int
    end: int
    resident: Adapters
    active: Adapters


def admit_start(site: Site, state: State, action: Start) -> AdmittedBatch:
    """Verify a batch.

    Raises:
        BrokenRuleError: naming the rule of PROBLEM.md section 5 (or 7) that it breaks.
    """
    gpu = _idle_gpu(site, state, action.gpu)
    jobs, steps = _members(state, action)
    if not jobs:
        raise BrokenRuleError(f"section 7: the batch on {_name(site, gpu)} has no members")
    resident = _residents(site, gpu, action.resident)
    if gpu.before is not None and resident is not gpu.resident:
        raise BrokenRuleError(
            f"section 4: {_name(site, gpu)} has switched ahead and must serve as it is before it "
            "switches again"
        )
    active = frozenset([job.adapter for job in jobs])
    start = state.tick + gpu.switch_ticks(site, resident, active)
    if site.channels is not None:
        _loads_nothing(site, gpu, resident, active, start)
    _fit(site, gpu, resident, jobs)
    end = start + site.clock.ends(tuple(steps))[1]
    _in_time(site, gpu, "batch on", end)
    return AdmittedBatch(start, end, resident, active)


def admit_switch(site: Site, state: State, action: SwitchTo) -> tuple[Adapters, int]:
    """Verify a prefetch; the new residents and the tick at which it ends.

    Raises:
        BrokenRuleError: naming the rule.
    """
    gpu = _idle_gpu(site, state, action.gpu)
    if site.channels is not None:
        raise BrokenRuleError("section 5a: with overlap a StartLoad loads ahead, not a SwitchTo")
    resident = _residents(site, gpu, action.resident)
    if gpu.before is not None:
        raise BrokenRuleError(
            f"section 4: {_name(site, gpu)} has switched ahead and must serve before it switches "
            "again"
        )
    if resident is gpu.resident:
        raise BrokenRuleError(f"section 7: {_name(site, gpu)} holds {ids(site, resident)} already")
    _fit(site, gpu, resident, [])
    # Which adapters the next batch will use, so what it activates, is not known yet.
    end = state.tick + site.switch(gpu.resident, resident, frozenset(), None).ticks
    _in_time(site, gpu, "switch of", end)
    return resident, end


def admit_load(site: Site, state: State, action: StartLoad) -> tuple[Adapters, int]:
    """Verify a load beside serving; the GPU's residents from now on, and the tick at which it ends.

    Raises:
        BrokenRuleError: naming the rule.
    """
    if site.channels is None:
        raise BrokenRuleError(
            "section 5a: the instance has no overlap, so a Start or SwitchTo loads"
        )
    gpu, adapter = _gpu(site, state, action.gpu), action.adapter
    place = _name(site, gpu)
    if type(action.evict) is not frozenset:
        raise BrokenRuleError(
            f"section 7: evicts {short_repr(action.evict)}, which is no frozenset"
        )
    _known(site, (adapter,))
    if adapter in gpu.resident:
        raise BrokenRuleError(f"rule 2: {place} holds {site.adapter_ids[adapter]!r} already")
    _evictable(site, gpu, action.evict)
    if used := action.evict & _in_use(gpu, state.tick):
        raise BrokenRuleError(f"section 5a: the batch on {place} uses {', '.join(ids(site, used))}")
    ticks = site.load_ticks(adapter)
    if ticks and len(gpu.loading) >= site.channels:
        raise BrokenRuleError(
            f"section 5a: {place} loads {counted(len(gpu.loading), 'adapter')}, channels "
            f"{site.channels}"
        )
    resident = (gpu.resident - action.evict) | {adapter}
    if len(resident) > site.max_resident:
        raise BrokenRuleError(
            f"section 5a: {place}: {len(resident)} residents of {site.max_resident}"
        )
    free = site.room(gpu.index, resident)[0]
    taken = gpu.taken if gpu.free_at > state.tick else 0
    if free is not None and taken > free:
        raise BrokenRuleError(
            f"section 5a: {place}: residents and batch in progress take "
            f"{(taken - free) / 1e9:.12g} GiB too much"
        )
    end = state.tick + ticks
    _in_time(site, gpu, "load on", end)
    return resident, end


def admit_timer(state: State, action: WakeAt) -> int:
    """Verify a timer; its tick.

    Raises:
        BrokenRuleError: it is no tick in the future.
    """
    tick = action.tick
    if type(tick) is not int:
        raise BrokenRuleError(
            f"section 7: a timer for tick {short_repr(tick)}, which is no integer"
        )
    if tick <= state.tick:
        raise BrokenRuleError(
            f"section 7: a timer for tick {short_repr(tick)} is not in the future"
        )
    if tick > LAST_TICK:
        raise BrokenRuleError(
            f"section 7: a timer for tick {short_repr(tick)} is past the last that a schedule can "
            "state"
        )
    return tick


def short_repr(thing: object) -> str:
    """Anything a policy may hand out, in a few words, even where its ``repr`` is long or fails."""
    try:
        return one_line(_repr.repr(thing))
    except Exception:  # such as ValueError, for an integer of thousands of digits
        return f"<{type(thing).__name__}>"


def describe(site: Site, state: State) -> str:
    """The state in half a line, for messages about a policy."""
    waiting = [job.id for _, job in zip(range(NAMED), state.waiting.values(), strict=False)]
    names = ", ".join(waiting) + (", ..." if len(state.waiting) > len(waiting) else "")
    gpus = "; ".join(
        f"{site.gpus[gpu.index].id} "
        + ("idle" if gpu.free_at <= state.tick else f"busy to tick {gpu.free_at}")
        + f", holding {', '.join(ids(site, gpu.resident)) or 'nothing'}"
        for gpu in state.gpus[:DESCRIBED]
    ) + ("; ..." if len(state.gpus) > DESCRIBED else "")
    return f"{len(state.waiting)} waiting ({names}); {gpus}" if waiting else f"none waiting; {gpus}"


def _name(site: Site, gpu: GpuState) -> str:
    return f"GPU {site.gpus[gpu.index].id!r}"


def _gpu(site: Site, state: State, index: int) -> GpuState:
    if type(index) is not int or not 0 <= index < len(site.gpus):
        raise BrokenRuleError(f"section 7: there is no GPU {short_repr(index)}")
    return state.gpus[index]


def _idle_gpu(site: Site, state: State, index: int) -> GpuState:
    gpu = _gpu(site, state, index)
    if gpu.free_at > state.tick:
        raise BrokenRuleError(f"rule 6: {_name(site, gpu)} is busy to tick {gpu.free_at}")
    return gpu


def _members(state: State, action: Start) -> tuple[list[Job], list[int]]:
    """The jobs of a batch and their step counts; they wait, and each is there once."""
    if type(action.members) is not tuple:
        raise BrokenRuleError(f"section 7: members {short_repr(action.members)} are no tuple")
    waiting, jobs, steps = state.waiting, [], []
    for member in action.members:
        if (
            type(member) is not tuple
            or len(member) != 2
            or type(member[0]) is not int
            or type(member[1]) is not int
        ):
            raise BrokenRuleError(
                f"section 7: member {short_repr(member)} is no tuple of two integers, job and "
                "option"
            )
        index, option = member
        job = waiting.get(index)
        if job is None:
            raise BrokenRuleError(f"rule 1: job {short_repr(index)} does not wait")
        if not 0 <= option < len(job.options):
            raise BrokenRuleError(f"section 7: {job.id!r} has no option {short_repr(option)}")
        jobs.append(job)
        steps.append(job.options[option].steps)
    if len(jobs) > 1 and len({job.index for job in jobs}) < len(jobs):
        raise BrokenRuleError("rule 1: a batch has the same request twice")
    return jobs, steps


def _residents(site: Site, gpu: GpuState, adapters: Adapters) -> Adapters:
    """The residents; where they are those of ``gpu`` already, that very set."""
    if adapters is gpu.resident:
        return adapters
    if type(adapters) is not frozenset:
        raise BrokenRuleError(f"section 7: residents {short_repr(adapters)} are no frozenset")
    _known(site, adapters)
    return gpu.resident if adapters == gpu.resident else adapters


def _known(site: Site, adapters: Collection[int]) -> None:
    if site.all_adapters.issuperset(adapters) and {*map(type, adapters)} <= {int}:
        return  # many residents take little time so
    for a in adapters:
        if type(a) is not int or not 0 <= a < len(site.adapter_ids):
            raise BrokenRuleError(f"rule 2: there is no adapter {short_repr(a)}")


def _in_use(gpu: GpuState, tick: int) -> Adapters:
    """Adapters of the batch in progress."""
    return gpu.active if gpu.active is not None and gpu.free_at > tick else frozenset()


def _evictable(site: Site, gpu: GpuState, evict: Adapters) -> None:
    """Section 5a: what leaves is resident and not being loaded."""
    if absent := evict - gpu.resident:
        _known(site, absent)
        names = ", ".join(ids(site, absent))
        raise BrokenRuleError(f"rule 2: {_name(site, gpu)} evicts {names}, which is not resident")
    if loading := evict & {a for a, _ in gpu.loading}:
        names = ", ".join(ids(site, loading))
        raise BrokenRuleError(
            f"section 5a: {_name(site, gpu)} evicts {names}, which is being loaded"
        )


def _loads_nothing(
    site: Site, gpu: GpuState, resident: Adapters, active: Adapters, start: int
) -> None:
    """Section 5a: a batch loads nothing, and its adapters are loaded when it starts."""
    place = _name(site, gpu)
    if absent := resident - gpu.resident:
        names = ", ".join(ids(site, absent))
        raise BrokenRuleError(f"section 5a: {place} does not hold {names}; start its load first")
    _evictable(site, gpu, gpu.resident - resident)
    for a, end in gpu.loading:
        if a in active and end > start:
            raise BrokenRuleError(
                f"section 5a: {place} is loading {site.adapter_ids[a]!r} to tick {end}, after the "
                f"batch's start at {start}"
            )


def _in_time(site: Site, gpu: GpuState, what: str, end: int) -> None:
    """Rule 6: nothing ends after the hard horizon, nor after the last tick there is."""
    if site.horizon is not None:
        if end > site.horizon:
            raise BrokenRuleError(
                f"rule 6: the {what} {_name(site, gpu)} ends at tick {end}, after horizon_ticks "
                f"{site.horizon}"
            )
    elif end > LAST_TICK:
        raise BrokenRuleError(
            f"section 4: the {what} {_name(site, gpu)} ends at tick {end}, past the last that a "
            "schedule can state"
        )


def _fit(site: Site, gpu: GpuState, resident: Adapters, jobs: list[Job]) -> None:
    """Rules 2 and 3; what exactly is wrong is worked out only where something is."""
    if site.fits(gpu.index, resident, jobs):
        return
    place = _name(site, gpu)
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
        f"{u / 1e9:.12g} of {name}, {free / 1e9:.12g} is free"
        for name, u, free in zip(site.resources, used, site.room(gpu.index, resident), strict=True)
        if free is not None and u > free
    )
    raise BrokenRuleError(f"rule 3: {place}: the batch takes {over}")
