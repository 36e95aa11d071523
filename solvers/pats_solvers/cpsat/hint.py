"""Plans as values of the model's variables: the complete hints CP-SAT starts from."""

from __future__ import annotations

from collections.abc import Sequence

from pats_opt.model.loss import is_late
from pats_opt.model.plan import Plan, PlannedBatch
from pats_opt.model.problem import Adapters
from pats_opt.model.timing import shape_of
from pats_solvers.cpsat.base import Var
from pats_solvers.cpsat.variables import Position, PositionVariables


class PositionHint:
    """Values of all variables of the model of positions.

    Attributes:
        values: Variable and value, by the variable's index.
    """

    def __init__(self, variables: PositionVariables) -> None:
        self._v, self._problem = variables, variables.problem
        self._site, self._jobs = variables.problem.site, variables.problem.jobs
        self.values: dict[int, tuple[Var, int]] = {}
        self._done: dict[int, int] = {}

    def set_plan(self, plan: Plan) -> None:
        """Set all variables; the flags follow from their members."""
        for gpu, batches in enumerate(plan.gpus):
            self._row(gpu, batches)
        for job in self._jobs:
            done = self._done.get(job.index, job.arrival)
            self._set(self._v.delay[job.index], done - job.arrival)
            if job.index in self._v.rejected:
                self._set(self._v.rejected[job.index], job.index not in self._done)
            if job.index in self._v.late:
                self._set(self._v.late[job.index], is_late(job, done))
        for flag, members, _ in self._v.flags.values():
            self._set(flag, any(self.values[m.index][1] for m in members))

    def _set(self, variable: Var, value: int) -> None:
        self.values[variable.index] = variable, int(value)

    def _row(self, gpu: int, batches: Sequence[PlannedBatch]) -> None:
        held, previous, free = self._site.gpus[gpu].resident, None, 0
        for b, p in enumerate(self._v.rows[gpu]):
            batch = batches[b] if b < len(batches) else PlannedBatch(free, (), frozenset())
            active = frozenset(self._jobs[j].adapter for j, _ in batch.members)
            self._set(p.start, batch.start)
            for key, v in p.x.items():
                self._set(v, key in batch.members)
            self._switch(p, batch.resident, held, active, previous)
            free = self._times(p, batch)
            held, previous = batch.resident, active

    def _switch(
        self,
        p: Position,
        resident: Adapters,
        held: Adapters,
        active: Adapters,
        previous: Adapters | None,
    ) -> None:
        """Set residents and the switch before the position; there is none where it is empty."""
        if p.resident is not p.active:
            for a, v in p.resident.items():
                self._set(v, a in resident)
        for (s, a), v in p.enter.items():
            self._set(v, a in resident and held == (frozenset() if s is None else {s}))
        for a, v in p.load.items():
            self._set(v, a in resident - held)
        switch = self._site.switch(held, resident, active, previous if active else None)
        if p.activate is not None:
            self._set(p.activate, bool(active and not switch.load and active != previous))
        if p.switch_ticks is not None:
            self._set(p.switch_ticks, switch.ticks)

    def _times(self, p: Position, batch: PlannedBatch) -> int:
        """Set sizes and offsets of the position; return when its GPU is free again."""
        d, clock = self._v.durations, self._site.clock
        levels = [d.rank[self._jobs[j].options[o].steps] for j, o in batch.members]
        counts = [sum(1 for level in levels if level >= i) for i in range(len(d.levels))]
        total = 0
        for i, size in enumerate(p.size):
            for n, v in size.items():
                self._set(v, n == counts[i])
            total += d.parts[i][counts[i]]
            self._set(p.finish[i], d.units.up(total - d.units.slack))
        if not levels:
            return batch.start
        shape = shape_of(d.levels[level] for level in levels)
        ends = dict(zip((s for s, _ in shape), clock.completions(shape), strict=True))
        for j, o in batch.members:
            self._done[j] = batch.start + ends[self._jobs[j].options[o].steps]
        return batch.start + clock.duration(shape)
