"""The model of positions: on each GPU a row of positions, the first ones filled with a batch each.

Its size depends on requests, options, GPUs and adapters, never on ticks. It states every problem.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from msgspec.structs import replace
from typing_extensions import override

from pats_opt.model.loss import is_late, switching_loss
from pats_opt.model.plan import Members, Plan, PlannedBatch, PlannedLoad, plan_of
from pats_opt.model.problem import Adapters, Problem
from pats_opt.model.timing import shape_of
from pats_solvers.common.loading import events
from pats_solvers.cpsat.base import CpSatModel, Var
from pats_solvers.cpsat.constraints import PositionConstraints
from pats_solvers.cpsat.layout import normal, timed
from pats_solvers.cpsat.variables import Position, PositionVariables


class PositionsModel(CpSatModel):
    """A problem as a CP-SAT model of positions.

    Attributes:
        variables: Its variables.
    """

    name: ClassVar[str] = "positions"
    bytes_per_size: ClassVar[int] = 12_000
    linearization: ClassVar[int] = 0

    @override
    def __init__(
        self,
        problem: Problem,
        known_loss: float | None = None,
        stop: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(problem, known_loss, stop)
        self.variables = PositionVariables(self.cp, problem, known_loss, self._go_on)
        self.exact = self.variables.exact
        PositionConstraints(self.cp, self.variables).add()
        self._objective()

    def _objective(self) -> None:
        """Price switches, rejections, options, latency and lateness."""
        v, site = self.variables, self.problem.site
        for row in v.rows:
            for p in row:
                for seconds, part in p.switch_parts:
                    self._pay(switching_loss(site, seconds), part)
        for job in self.problem.jobs:
            if job.reject_loss is not None:
                self._pay(job.reject_loss, v.rejected[job.index])
            for o, _, x in v.places(job):
                self._pay(job.options[o].quality_loss, x)
            price = site.latency_price_per_s * job.weight * site.tick_s
            self._pay(price, v.delay[job.index], v.longest_delay(job))
            if job.index in v.late:
                self._pay(site.late_price * job.weight, v.late[job.index])
        self._minimise()

    @classmethod
    @override
    def size(cls, problem: Problem) -> int:
        """Upper bound on the number of (job, option, GPU, position)."""
        hosts = [problem.hosts(job) for job in problem.jobs]
        positions = [sum(1 for h in hosts if gpu.index in h) for gpu in problem.site.gpus]
        return sum(
            len(job.options) * positions[g] for job in problem.jobs for g in hosts[job.index]
        )

    @override
    def plan(self, value: Callable[[Var], int]) -> Plan:
        used = [[p for p in row if value(p.used)] for row in self.variables.rows]
        batches = [
            [
                PlannedBatch(
                    value(p.start),
                    tuple(key for key, v in p.x.items() if value(v)),
                    frozenset(a for a, v in p.resident.items() if value(v)),
                )
                for p in row
            ]
            for row in used
        ]
        loads = [
            [
                PlannedLoad(a, value(since))
                for p in row
                for a, since in p.since.items()
                if value(p.load[a])
            ]
            for row in used
        ]
        return timed(self.problem, plan_of(batches, loads))

    @override
    def hint(self, plan: Plan) -> None:
        """Hint a plan in the model's order, timed as early as possible, for every variable."""
        hint = PositionHint(self.variables)
        hint.set_plan(timed(self.problem, normal(self.problem, plan, self.variables.kept)))
        for variable, value in hint.values.values():
            self.cp.add_hint(variable, value)


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
        for gpu in range(len(plan.gpus)):
            self._row(gpu, plan)
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

    def _row(self, gpu: int, plan: Plan) -> None:
        held, previous, free = self._site.gpus[gpu].resident, None, 0
        batches = list(plan.gpus[gpu])
        since: list[dict[int, int | None]] = []
        if self._site.channels is not None:
            since = self._residents(gpu, plan)
            batches = [
                replace(b, resident=frozenset(s)) for b, s in zip(batches, since, strict=True)
            ]
        for b, p in enumerate(self._v.rows[gpu]):
            batch = batches[b] if b < len(batches) else PlannedBatch(free, (), frozenset())
            active = self._used(batch.members)
            self._set(p.start, batch.start)
            for key, v in p.x.items():
                self._set(v, key in batch.members)
            self._switch(p, batch.resident, held, active, previous)
            end = self._times(p, batch)
            if self._site.channels is not None:
                self._beside_loads(p, batch, since[b] if b < len(since) else {}, free, end)
            held, previous, free = batch.resident, active, end

    def _used(self, members: Members) -> Adapters:
        return frozenset(self._jobs[j].adapter for j, _ in members)

    def _residents(self, gpu: int, plan: Plan) -> list[dict[int, int | None]]:
        """Section 5a: the residents at each position, with the start of a load that is its own."""
        starts = iter([load.start for load in plan.loads[gpu]])
        found: list[dict[int, int | None]] = []
        begun: dict[int, tuple[int | None, int]] = {}  # adapter -> start of its load, position
        for a in self._site.gpus[gpu].resident:
            begun[a] = None, 0
        for event in events(plan, gpu):
            if isinstance(event, int):
                begun[event] = next(starts), len(found)
                continue
            found.append({})
            for a in self._used(event):
                start, first = begun[a]
                if start is not None:
                    found[-1][a] = start
                else:
                    for residents in found[first:]:
                        residents[a] = None
                begun[a] = None, len(found)
        return found

    def _beside_loads(
        self,
        p: Position,
        batch: PlannedBatch,
        since: Mapping[int, int | None],
        free: int,
        end: int,
    ) -> None:
        """Section 5a: set what the intervals are made of."""
        self._set(p.end, end)
        self._set(p.length, end - batch.start)
        taken = sum(self._jobs[j].demand[0] for j, _ in batch.members)
        self._set(p.taken, taken // self._v.memory_unit)
        for a, v in p.since.items():
            start = since.get(a, 0)
            begun = free if start is None else start
            self._set(v, begun)
            self._set(p.stay[a], end - begun if a in since else 0)
            self._set(p.load[a], a in since and start is not None)

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
        if self._site.channels is None:
            switch = self._site.switch(held, resident, active, previous)
        else:
            switch = self._site.activation(active, previous)
        for a, v in p.activate.items():
            self._set(v, a in switch.activate)

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
