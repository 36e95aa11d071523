"""First in, first out: the baseline every serving system starts with."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from heapq import merge
from itertools import chain
from operator import attrgetter
from typing import ClassVar, Literal

import msgspec

from pats_opt.policy import Decide, GpuState, Start, State
from pats_opt.problem import Job, Site
from pats_opt.solver import Capabilities, Kind
from pats_solvers.online.packing import (
    BatchBuilder,
    Hosts,
    LeastRecentlyUsed,
    best_quality,
    fewest_steps,
    most_steps,
    open_batch,
    switching_seconds,
)

OPTIONS: dict[str, Callable[[Job], int]] = {
    "best": best_quality,
    "fewest": fewest_steps,
    "most": most_steps,
}


class Fifo(msgspec.Struct, frozen=True, kw_only=True):
    """First come, first served; a batch is the run of earliest requests that share the adapter.

    Rule: the earliest request that an idle GPU can hold starts at once, on the idle GPU where it
    pays the least switching (ties: the first). The requests after it that this GPU can hold join,
    in order of arrival, up to the first that has another adapter or does not fit. Where a hard
    horizon leaves no time for the preferred option, the one with the fewest steps is taken; a
    request that has no time even so is passed over. With ``max_resident`` above 1 the least
    recently used residents make room; a batch uses one adapter whatever ``max_per_batch`` is.

    Args:
        option: Which option every request gets: ``best`` quality, ``fewest`` or ``most`` steps.
    """

    name: ClassVar[str] = "fifo"
    kind: ClassVar[Kind] = Kind.ONLINE
    capabilities: ClassVar[Capabilities] = Capabilities()

    option: Literal["best", "fewest", "most"] = "best"

    def start(self, site: Site, seed: int) -> Decide:  # noqa: ARG002 - draws nothing
        """A fresh queue for one run."""
        return _Queue(site, OPTIONS[self.option])


class _Queue:
    """The waiting jobs in order of arrival, apart for each set of GPUs that can hold them.

    With GPUs of different sizes a job that only a busy GPU can hold is then never looked at again
    and again.
    """

    def __init__(self, site: Site, option: Callable[[Job], int]) -> None:
        self._site, self._option = site, option
        self._hosts = Hosts(site)
        self._victims = LeastRecentlyUsed()
        self._queues: dict[tuple[int, ...], OrderedDict[int, Job]] = {}

    def __call__(self, state: State) -> list[Start]:
        for job in state.arrived:
            self._queues.setdefault(self._hosts(job), OrderedDict())[job.index] = job
        for job in state.withdrawn:
            del self._queues[self._hosts(job)][job.index]
        idle, starts = {gpu.index: gpu for gpu in state.idle}, []
        while idle and (batch := self._next(idle, state.tick)) is not None:
            start = batch.start()
            del idle[start.gpu]
            starts.append(start)
        return starts

    def _next(self, idle: dict[int, GpuState], tick: int) -> BatchBuilder | None:
        for job in self._in_order(set(idle)):
            hosts = [idle[g] for g in self._hosts(job) if g in idle]
            if len(hosts) > 1:
                hosts.sort(key=partial(switching_seconds, self._site, job.adapter))
            options = (self._option(job), fewest_steps(job))
            for gpu in hosts:
                batch = open_batch(self._site, gpu, job, options, tick=tick, victims=self._victims)
                if batch is not None:
                    self._fill(batch, gpu.index, job)
                    return batch
        return None

    def _fill(self, batch: BatchBuilder, gpu: int, leader: Job) -> None:
        members = [leader]
        for job in self._in_order({gpu}):
            if job.index <= leader.index:
                continue
            if job.adapter != leader.adapter or not batch.add(job, self._option(job)):
                break
            members.append(job)
        self._victims.used(gpu, (leader.adapter,))
        for job in members:
            del self._queues[self._hosts(job)][job.index]

    def _in_order(self, gpus: set[int]) -> Iterator[Job]:
        """Waiting jobs that one of these GPUs can hold, in order of arrival."""
        queues = [q.values() for hosts, q in self._queues.items() if not gpus.isdisjoint(hosts)]
        return merge(*queues, key=attrgetter("index")) if len(queues) > 1 else chain(*queues)
