"""A plan as values of the model's variables: the complete hint CP-SAT starts from."""

from __future__ import annotations

from collections.abc import Sequence

from pats_opt.model.loss import is_late
from pats_opt.model.plan import Plan, PlannedBatch
from pats_opt.model.problem import Adapters
from pats_opt.model.timing import shape_of
from pats_solvers.cpsat.build import Var
from pats_solvers.cpsat.layout import normal, timed
from pats_solvers.cpsat.model import Model, Position


def add_hint(model: Model, plan: Plan) -> None:
    """Hint ``plan``, in the model's order and timed as early as possible, for every variable."""
    hint = _Hint(model)
    hint.plan(timed(model.problem, normal(model.problem, plan, model.kept)))
    for variable, value in hint.values.values():
        model.cp.add_hint(variable, value)


class _Hint:
    def __init__(self, model: Model) -> None:
        self.model, self.site, self.jobs = model, model.problem.site, model.problem.jobs
        self.values: dict[int, tuple[Var, int]] = {}
        self.done: dict[int, int] = {}

    def plan(self, plan: Plan) -> None:
        """Values of all variables; the flags' follow from their members'."""
        for gpu, batches in enumerate(plan.gpus):
            self._row(gpu, batches)
        for job in self.jobs:
            done = self.done.get(job.index, job.arrival)
            self._set(self.model.delay[job.index], done - job.arrival)
            if job.index in self.model.rejected:
                self._set(self.model.rejected[job.index], job.index not in self.done)
            if job.index in self.model.late:
                self._set(self.model.late[job.index], is_late(job, done))
        for flag, members in self.model.flags:
            self._set(flag, any(self.values[m.index][1] for m in members))

    def _set(self, variable: Var, value: int) -> None:
        self.values[variable.index] = variable, int(value)

    def _row(self, gpu: int, batches: Sequence[PlannedBatch]) -> None:
        held, previous, free = self.site.gpus[gpu].resident, None, 0
        for b, p in enumerate(self.model.rows[gpu]):
            batch = batches[b] if b < len(batches) else PlannedBatch(free, (), frozenset())
            active = frozenset(self.jobs[j].adapter for j, _ in batch.members)
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
        """Residents and the switch before the position; none is due where it is empty."""
        if p.resident is not p.active:
            for a, v in p.resident.items():
                self._set(v, a in resident)
        for (s, a), v in p.enter.items():
            self._set(v, a in resident and held == (frozenset() if s is None else {s}))
        for a, v in p.load.items():
            self._set(v, a in resident - held)
        switch = self.site.switch(held, resident, active, previous if active else None)
        if p.activate is not None:
            self._set(p.activate, bool(active and not switch.load and active != previous))
        if p.switch_ticks is not None:
            self._set(p.switch_ticks, switch.ticks)

    def _times(self, p: Position, batch: PlannedBatch) -> int:
        """Sizes and offsets of the position; when its GPU is free again."""
        d, clock = self.model.durations, self.site.clock
        levels = [d.rank[self.jobs[j].options[o].steps] for j, o in batch.members]
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
            self.done[j] = batch.start + ends[self.jobs[j].options[o].steps]
        return batch.start + clock.duration(shape)
