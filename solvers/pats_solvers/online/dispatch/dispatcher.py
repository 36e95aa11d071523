"""Drives a rule: the answer to each event."""

from __future__ import annotations

from collections.abc import Sequence

from pats_opt.core.policy import Action, GpuState, State, WakeAt
from pats_solvers.online.dispatch.options import fewest_steps
from pats_solvers.online.dispatch.packing import BatchBuilder, open_batch
from pats_solvers.online.dispatch.rule import Desk, Rule
from pats_solvers.online.dispatch.staleness import Staleness


class Dispatcher:
    """A policy at work on one site: the answer to each event."""

    def __init__(self, desk: Desk, rule: Rule, stale: Staleness | None) -> None:
        self._desk, self._rule, self._stale = desk, rule, stale

    def __call__(self, state: State) -> list[Action]:
        """What the idle GPUs do next."""
        desk, rule, tick = self._desk, self._rule, state.tick
        for job in state.arrived:
            desk.waiting.add(job)
            desk.evictions.arrived(job)
            if self._stale is not None:
                self._stale.arrived(job)
            rule.arrived(job, tick)
        for job in state.withdrawn:
            desk.waiting.remove(job)
            rule.left(job)
        if not len(desk.waiting):
            return []
        idle, actions = state.idle, list[Action]()
        while idle and len(desk.waiting):
            batch = self._next(idle, tick)
            if batch is None:
                break
            actions.append(batch.start())
            idle = [gpu for gpu in idle if gpu.index != batch.gpu.index]
        if idle and len(desk.waiting) and (wake := self._wake(idle, tick)) is not None:
            actions.append(WakeAt(wake))
        desk.waiting.show_all()
        return actions

    def _next(self, idle: Sequence[GpuState], tick: int) -> BatchBuilder | None:
        desk, rule = self._desk, self._rule
        while True:
            lead = self._stale.overdue(idle, tick) if self._stale is not None else None
            lead = lead or rule.lead(idle, tick)
            if lead is None:
                return None
            gpu, job = lead
            options = [desk.option(job)]
            if desk.site.horizon is not None:  # the fewest steps may end in time where it does not
                options.append(fewest_steps(job))
            batch = open_batch(
                desk.site,
                gpu,
                job,
                options,
                tick=tick,
                victims=desk.evictions,
                least=desk.waiting.least,
            )
            if batch is None:
                desk.waiting.hide(gpu.index, job)
                continue
            rule.fill(batch, tick)
            for member in batch.jobs:
                desk.waiting.remove(member)
                rule.left(member)
            desk.evictions.served(gpu.index, gpu.resident, batch.resident, batch.active)
            rule.served(batch, tick)
            return batch

    def _wake(self, idle: Sequence[GpuState], tick: int) -> int | None:
        wakes = [self._rule.wake(idle, tick)]
        if self._stale is not None:
            wakes.append(self._stale.wake(idle, tick))
        return min((w for w in wakes if w is not None), default=None)
