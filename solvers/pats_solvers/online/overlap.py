"""Loads beside serving: when a policy's decisions start loads, and when its batches start.

A policy decides on batches as ever. Here a batch whose adapters are not loaded is *decided*: its
members are committed, its loads start as channels become free, and it starts when they have ended,
like after a switch. With ``prefetch`` the time is used: the GPU serves what is loaded while that
delays nothing, and what comes next is loaded while the GPU serves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace
from typing_extensions import override

from pats_opt.core.policy import Action, GpuState, StartLoad, State, WakeAt
from pats_opt.model.problem import Adapters
from pats_solvers.online.common.batch import BatchBuilder
from pats_solvers.online.common.staleness import Staleness
from pats_solvers.online.decider import Decider, PolicyRule, RunT

#: When adapters are loaded beside serving, for parameters.
PrefetchRule = Literal["none", "next", "ahead"]


class WaitingBatch(Struct):
    """A batch that is decided and waits for its adapters.

    Attributes:
        batch: The batch.
        loads: Adapters whose loads are to start, in this order.
        evict: Residents that leave when the first of them starts.
    """

    batch: BatchBuilder
    loads: list[int]
    evict: Adapters


class OverlapDecider(Decider[RunT]):
    """A policy in one run where loads run beside serving.

    Attributes:
        gpus: The GPUs as they are after the actions so far.
        decided: The batch of each GPU that waits for its adapters, by the GPU's index.
    """

    def __init__(
        self,
        policy: PolicyRule[RunT],
        run: RunT,
        stale: Staleness | None,
        prefetch: PrefetchRule,
    ) -> None:
        super().__init__(policy, run, stale)
        self.gpus: list[GpuState] = []
        self.decided: dict[int, WaitingBatch] = {}
        self._channels = run.site.channels or 0
        self._prefetch = prefetch
        self._ahead: list[set[int]] = [set() for _ in run.site.gpus]  # loaded, and not used yet
        self._loads = [0] * len(run.site.gpus)  # in progress after the last answer
        self._ask = set[int]()  # GPUs for which the answer to what runs beside may have changed
        self._until: dict[int, float] = {}  # tick at which to ask busy GPUs that load nothing yet

    @override
    def __call__(self, state: State) -> list[Action]:
        """Return what GPUs do next: the idle ones, and the loaders of all."""
        run = self._run
        self._update(state)
        self.gpus = list(state.gpus)
        actions = list[Action]()
        for g in list(self.decided):
            actions += self._advance(g)
        idle = [gpu for gpu in self.gpus if self._is_free(gpu)]
        while idle and len(run.waiting):
            batch = self._next_batch(idle, self._order)
            if batch is None:
                break
            actions += self._decide(batch)
            idle = [gpu for gpu in idle if gpu.index != batch.gpu.index]
        if idle and len(run.waiting):
            actions += self._wakes(idle)
        if self._prefetch != "none":
            actions += self._beside(state)
        run.waiting.show_all()
        return actions

    @override
    def committed(self) -> Set[int]:
        return {job.index for waiting in self.decided.values() for job in waiting.batch.jobs}

    def _is_free(self, gpu: GpuState) -> bool:
        return gpu.free_at <= self._run.tick and gpu.index not in self.decided

    def _order(self, gpu: int, residents: Adapters) -> Sequence[int]:
        """Residents in the order in which they are to go.

        That is the policy's rule; with ``prefetch`` those for which requests wait go last.
        """
        order = self._run.eviction(gpu, residents)
        if self._prefetch == "none":
            return order
        waiting = self._run.waiting
        return sorted(order, key=lambda a: waiting.count(a, gpu) > 0)

    # -- decided batches -----------------------------------------------------------------------

    def _decide(self, batch: BatchBuilder) -> list[Action]:
        """Commit a batch, which starts at once where its adapters are loaded."""
        self._commit(batch)
        before, after = batch.gpu.resident, batch.resident
        loads = sorted(after - before)
        self.decided[batch.gpu.index] = WaitingBatch(
            batch, loads, before - after if loads else frozenset()
        )
        return self._advance(batch.gpu.index)

    def _advance(self, g: int) -> list[Action]:
        """Start the loads for which channels are free; where all have ended, start the batch."""
        decided, actions = self.decided[g], list[Action]()
        while decided.loads and self._channel_free(self.gpus[g], decided.loads[0]):
            actions.append(self._load(g, decided.loads.pop(0), decided.evict))
            decided.evict = frozenset()
        gpu, batch = self.gpus[g], decided.batch
        loading = {a for a, _ in gpu.loading}
        if gpu.free_at <= self._run.tick and not decided.loads and not batch.active & loading:
            del self.decided[g]
            actions.append(self._start(batch))
        return actions

    def _channel_free(self, gpu: GpuState, adapter: int) -> bool:
        return len(gpu.loading) < self._channels or not self._run.site.load_ticks(adapter)

    def _load(self, g: int, adapter: int, evict: Adapters) -> Action:
        gpu, end = self.gpus[g], self._run.tick + self._run.site.load_ticks(adapter)
        loading = ((adapter, end),) if end > self._run.tick else ()
        self.gpus[g] = replace(
            gpu, resident=(gpu.resident - evict) | {adapter}, loading=gpu.loading + loading
        )
        self._ahead[g] -= evict
        return StartLoad(g, adapter, evict)

    def _start(self, batch: BatchBuilder) -> Action:
        g, run = batch.gpu.index, self._run
        gpu = self.gpus[g]
        switch = run.site.activation(batch.active, gpu.active)
        self.gpus[g] = GpuState(
            g,
            batch.resident,
            batch.active,
            run.tick + switch.ticks + batch.ticks,
            loading=gpu.loading,
            taken=sum([job.demand[0] for job in batch.jobs]),
        )
        self._ahead[g] -= batch.active | (gpu.resident - batch.resident)
        self._ask.add(g)
        return batch.start()

    # -- what runs beside ----------------------------------------------------------------------

    def _beside(self, state: State) -> list[Action]:
        """Serve beside loads, and load beside serving."""
        tick, actions = self._run.tick, list[Action]()
        for g, gpu in enumerate(state.gpus):
            if len(gpu.loading) < self._loads[g] or gpu.free_at == tick:
                self._ask.add(g)
        self._ask.update([g for g, until in self._until.items() if state.arrived or until <= tick])
        for job in state.arrived:
            first = self._run.waiting.count(job.adapter) == 1
            for g, gpu in enumerate(state.gpus):
                held = job.adapter in gpu.resident
                if held if g in self.decided else first and not held:
                    self._ask.add(g)
        for g in sorted(self._ask) if self._ask else ():
            busy = self.gpus[g].free_at > tick
            self._until.pop(g, None)
            if g not in self.decided:
                actions += self._load_ahead(g) if busy else ()
            elif not busy and not self.decided[g].loads:
                actions += self._serve_meanwhile(self.decided[g].batch)
        self._ask.clear()
        self._loads = [len(gpu.loading) for gpu in self.gpus]
        return actions

    def _serve_meanwhile(self, decided: BatchBuilder) -> Iterator[Action]:
        """Serve what is loaded, evicting nothing, while ``decided`` waits for its adapters."""
        g, run = decided.gpu.index, self._run
        gpu = self.gpus[g]
        ends = dict(gpu.loading)
        waiting = run.waiting.adapters()
        absent = waiting - (gpu.resident - ends.keys())
        if len(absent) == len(waiting):
            return
        run.waiting.hide_adapters(g, frozenset(absent))
        end = max([ends.get(a, 0) for a in decided.active])
        batch = self._next_batch([gpu], lambda *_: ())
        if batch is not None and self._pays(batch, decided, end):
            for member in batch.jobs:
                run.waiting.remove(member)
            run.eviction.served(g, gpu.resident, batch.resident, batch.active)
            yield self._start(batch)

    def _pays(self, batch: BatchBuilder, decided: BatchBuilder, loaded: int) -> bool:
        """Whether ``batch`` goes before ``decided``, whose adapters are loaded at a tick.

        It does where it ends by then. Where it ends later it delays the other, and would itself be
        delayed by the wait and the other: what weighs more counts.
        """
        late, horizon = batch.end_tick - loaded, self._run.site.horizon
        if late <= 0:
            return True
        if horizon is not None and decided.end_tick + late > horizon:
            return False
        waits = loaded - self._run.tick + decided.ticks
        return waits * _weight(batch) > late * _weight(decided)

    def _load_ahead(self, g: int) -> Iterator[Action]:
        """Load what a busy GPU would serve next, as channels and its cache have room."""
        run, site = self._run, self._run.site
        while len((gpu := self.gpus[g]).loading) < self._channels:
            others = {a for other, held in enumerate(self._ahead) if other != g for a in held}
            absent = run.waiting.adapters() - gpu.resident
            if absent <= others:
                return
            spare = self._spare(gpu)
            if not spare and len(gpu.resident) >= site.max_resident:
                return
            hidden = others - gpu.resident
            if self._prefetch == "ahead":
                hidden |= gpu.resident
            if hidden:
                run.waiting.hide_adapters(g, frozenset(hidden))
            leader = self._leader([gpu])
            if leader is None:
                yield from self._load_later(gpu)
                return
            if (adapter := leader[1].adapter) in gpu.resident:
                return
            evict = self._evict_for(gpu, adapter, spare)
            end = run.tick + site.load_ticks(adapter)
            if evict is None or (site.horizon is not None and end >= site.horizon):
                return
            self._ahead[g].add(adapter)
            run.eviction.evicted(g, evict)
            yield self._load(g, adapter, evict)

    def _load_later(self, gpu: GpuState) -> Iterator[Action]:
        """Ask a busy GPU again at the next arrival, or at the tick that the policy names."""
        wake = self._policy.wake(self._run, [gpu])
        self._until[gpu.index] = math.inf if wake is None else wake
        if wake is not None:
            yield WakeAt(wake)

    def _spare(self, gpu: GpuState) -> Sequence[int]:
        """Residents that a load may evict beside a batch, in the order in which they are to go.

        Neither what the batch uses or is being loaded, nor what requests wait for.
        """
        run = self._run
        held = gpu.resident.difference(gpu.active or (), [a for a, _ in gpu.loading])
        return run.eviction(
            gpu.index, frozenset([a for a in held if not run.waiting.count(a, gpu.index)])
        )

    def _evict_for(self, gpu: GpuState, adapter: int, spare: Sequence[int]) -> Adapters | None:
        """The first of ``spare`` that make room for an adapter beside the batch; None: none do."""
        site, resident = self._run.site, gpu.resident | {adapter}
        for count in range(len(spare) + 1):
            after = resident.difference(spare[:count])
            free = site.room(gpu.index, after)[0]
            if len(after) <= site.max_resident and (free is None or gpu.taken <= free):
                return gpu.resident - after
        return None


def _weight(batch: BatchBuilder) -> float:
    return sum([job.weight for job in batch.jobs])
