"""A plan as values of the model's variables: the complete hint CP-SAT starts from."""

from __future__ import annotations

from collections.abc import Sequence

from pats_opt.loss import is_late
from pats_opt.plan import Plan, PlannedBatch
from pats_opt.problem import Adapters
from pats_opt.timing import shape_of
from pats_solvers.cpsat.layout import normal, timed
from pats_solvers.cpsat.model import Model, Position, Var


def add_hint(model: Model, plan: Plan) -> None:
    """Hint ``plan``, in the model's order and timed as early as possible, for every variable."""
    _Hint(model).plan(timed(model.problem, normal(model.problem, plan, model.kept)))


class _Hint:
    def __init__(self, model: Model) -> None:
        self.model, self.site, self.jobs = model, model.problem.site, model.problem.jobs
        self.completion: dict[int, int] = {}

    def plan(self, plan: Plan) -> None:
        model = self.model
        for gpu, batches in enumerate(plan.gpus):
            self._row(gpu, batches)
        for job in self.jobs:
            done = self.completion.get(job.index, job.arrival)
            self._set(model.completion[job.index], done)
            if job.index in model.rejected:
                self._set(model.rejected[job.index], job.index not in self.completion)
            if job.index in model.late:
                self._set(model.late[job.index], is_late(job, done))
        for (j, g), flag in model.serves.items():
            self._set(flag, any(j == i for b in plan.gpus[g] for i, _ in b.members))

    def _set(self, variable: Var, value: int) -> None:
        self.model.cp.add_hint(variable, int(value))

    def _row(self, gpu: int, batches: Sequence[PlannedBatch]) -> None:
        held, previous, free = self.site.gpus[gpu].resident, None, 0
        for b, p in enumerate(self.model.rows[gpu]):
            batch = batches[b] if b < len(batches) else PlannedBatch(free, (), frozenset())
            active = frozenset(self.jobs[j].adapter for j, _ in batch.members)
            self._members(p, batch, active)
            self._switch(p, batch.resident, held, active, previous)
            free = self._times(p, batch)
            held, previous = batch.resident, active

    def _members(self, p: Position, batch: PlannedBatch, active: Adapters) -> None:
        members = dict(batch.members)
        self._set(p.used, bool(members))
        self._set(p.start, batch.start)
        for (j, o), v in p.x.items():
            self._set(v, members.get(j) == o)
        for a, v in p.active.items():
            self._set(v, a in active)
        if p.resident is not p.active:
            for a, v in p.resident.items():
                self._set(v, a in batch.resident)

    def _switch(
        self,
        p: Position,
        resident: Adapters,
        held: Adapters,
        active: Adapters,
        previous: Adapters | None,
    ) -> None:
        """The switch before the position; nothing is active where it is empty, and none is due."""
        for (source, a), v in p.enter.items():
            self._set(v, a in active and held == (frozenset() if source is None else {source}))
        for a, v in p.load.items():
            self._set(v, a in resident - held)
        switch = self.site.switch(held, resident, active, previous if active else None)
        if p.loads is not None:
            self._set(p.loads, bool(switch.load))
            self._set(p.activate, bool(active and not switch.load and active != previous))
        if p.switch_ticks is not None:
            self._set(p.switch_ticks, switch.ticks)

    def _times(self, p: Position, batch: PlannedBatch) -> int:
        """Sizes and offsets of the position; when its GPU is free again."""
        d, clock = self.model.durations, self.site.clock
        levels = [d.rank[self.jobs[j].options[o].steps] for j, o in batch.members]
        counts = [sum(1 for level in levels if level >= i) for i in range(len(d.levels))]
        for i, reach in enumerate(p.reach[1:], 1):
            self._set(reach, counts[i] > 0)
        total = 0
        for i, size in enumerate(p.size):
            for n, v in size.items():
                self._set(v, n == counts[i])
            total += d.parts[i][counts[i]]
            self._set(p.finish[i], max(0, -(-(total - d.ticks.slack) // d.ticks.unit)))
        if not levels:
            return batch.start
        shape = shape_of(d.levels[level] for level in levels)
        ends = dict(zip((s for s, _ in shape), clock.completions(shape), strict=True))
        for j, o in batch.members:
            self.completion[j] = batch.start + ends[self.jobs[j].options[o].steps]
        return batch.start + clock.duration(shape)
