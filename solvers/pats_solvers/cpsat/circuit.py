"""The circuit model: where every batch holds one job, a schedule is a path through the jobs.

One GPU, one resident adapter, batches of one. An arc from job i to job j says that j is the next
one served; it carries the switch between their adapters. The arcs form one circuit through a depot,
the GPU at tick 0, so CP-SAT's own subtour cuts bound what the switches cost: this is where its LP
is strong, also with ``pairs`` (sequence-dependent set-ups, the travelling salesman problem). What
waiting costs is bounded as poorly as in the model of positions.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import ClassVar

from typing_extensions import override

from pats_opt.model.loss import is_late, switching_loss
from pats_opt.model.plan import Plan, PlannedBatch
from pats_opt.model.problem import Adapters, Job, Problem, Switch
from pats_solvers.common.bounds import largest_batch
from pats_solvers.common.windows import latest_completions
from pats_solvers.cpsat.base import CpSatModel, Var
from pats_solvers.cpsat.layout import interchangeable, normal, timed

#: Where the circuit comes from and goes to; job j is node j + 1.
DEPOT = 0


class CircuitModel(CpSatModel):
    """A problem as a CP-SAT circuit.

    Attributes:
        arc: Whether job j comes right after job i; None is tick 0 as ``i``, the end as ``j``.
        x: Whether job j is served with option o.
        start: Start tick per job (anything where the job is rejected).
    """

    name: ClassVar[str] = "circuit"
    bytes_per_size: ClassVar[int] = 8_000
    linearization: ClassVar[int] = 2

    @override
    def __init__(
        self,
        problem: Problem,
        known_loss: float | None = None,
        stop: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(problem, known_loss, stop)
        self.latest = latest_completions(problem, known_loss)
        self.x: dict[tuple[int, int], Var] = {}
        self.arc: dict[tuple[int | None, int | None], Var] = {}
        self.start: list[Var] = []
        self.rejected: dict[int, Var] = {}
        self.late: dict[int, Var] = {}
        for job in problem.jobs:
            self._job(job)
        self._first_come_first_served()
        self._circuit()
        self._minimise()

    @classmethod
    @override
    def unfit(cls, problem: Problem) -> str | None:
        site = problem.site
        if len(site.gpus) != 1:
            return "several GPUs"
        if site.max_resident > 1:
            return "max_resident above 1"
        if site.channels is not None:
            return "overlap"
        return None if largest_batch(problem, 0) <= 1 else "batches of several requests"

    @classmethod
    @override
    def size(cls, problem: Problem) -> int:
        """Upper bound on the number of arcs."""
        return (len(problem.jobs) + 1) ** 2

    # -- jobs ------------------------------------------------------------------------------------

    def _offset(self, job: Job, option: int) -> int:
        """Return the ticks from the start to the completion of a job alone."""
        return self.problem.site.clock.completions(((job.options[option].steps, 1),))[0]

    def _duration(self, job: Job, option: int) -> int:
        return self.problem.site.clock.duration(((job.options[option].steps, 1),))

    def _job(self, job: Job) -> None:
        """Served once or rejected once, in its window, and what either costs."""
        cp, site, j = self.cp, self.problem.site, job.index
        servable = bool(self.problem.hosts(job))
        offsets = {
            o: offset
            for o, latest in enumerate(self.latest[j])
            if servable
            and latest is not None
            and job.arrival + (offset := self._offset(job, o)) <= latest
        }
        for o in offsets:
            self.x[j, o] = self._flag()
            self._pay(job.options[o].quality_loss, self.x[j, o])
        choices = [self.x[j, o] for o in offsets]
        if job.reject_loss is not None:
            self.rejected[j] = self._flag()
            choices.append(self.rejected[j])
            self._pay(job.reject_loss, self.rejected[j])
        cp.add_exactly_one(choices)
        starts = {o: (self.latest[j][o] or 0) - offset for o, offset in offsets.items()}
        last = max(starts.values(), default=job.arrival)
        start = cp.new_int_var(job.arrival, last, "")
        self.start.append(start)
        delay: Var = start - job.arrival
        for o, offset in offsets.items():
            if starts[o] < last:
                cp.add(start <= starts[o]).only_enforce_if(self.x[j, o])
            if site.horizon is not None:
                end = start + self._duration(job, o)
                cp.add(end <= site.horizon).only_enforce_if(self.x[j, o])
            delay += offset * self.x[j, o]
        self._delay(job, delay, last - job.arrival + max(offsets.values(), default=0))

    def _delay(self, job: Job, delay: Var, longest: int) -> None:
        """A job pays for its latency; a rejected one has none."""
        cp, site = self.cp, self.problem.site
        rejected = self.rejected.get(job.index)
        if rejected is not None:
            # Pinning the start makes the latency 0 and the start no choice.
            cp.add(self.start[job.index] == job.arrival).only_enforce_if(rejected)
        self._pay(site.latency_price_per_s * job.weight * site.tick_s, delay, longest)
        if job.deadline is not None and site.late_price * job.weight > 0:
            self.late[job.index] = late = self._flag()
            cp.add(delay <= job.deadline).only_enforce_if(late.negated())
            self._pay(site.late_price * job.weight, late)

    def _first_come_first_served(self) -> None:
        """Of two interchangeable jobs the one that arrives first starts first (see layout)."""
        for group in interchangeable(self.problem):
            may_be_rejected = group[0] in self.rejected  # then any of them may be missing
            pairs = (
                itertools.combinations(group, 2) if may_be_rejected else itertools.pairwise(group)
            )
            for i, j in pairs:
                both = [self.rejected[k].negated() for k in (i, j) if k in self.rejected]
                order = self.cp.add(self.start[i] < self.start[j])
                if both:
                    order.only_enforce_if(both)

    # -- the circuit -----------------------------------------------------------------------------

    def _switch(self, before: Job | None, job: Job) -> Switch:
        resident: Adapters = self.problem.site.gpus[0].resident
        if before is not None:
            resident = frozenset((before.adapter,))
        own = frozenset((job.adapter,))
        return self.problem.site.switch(resident, own, own, None if before is None else resident)

    def _followers(self) -> Iterator[tuple[Job | None, Job]]:
        """Yield which job may come right after which (None: first), first come first served."""
        passed = {
            (j, i)
            for group in interchangeable(self.problem)
            for i, j in itertools.combinations(group, 2)
        }
        for job in self.problem.jobs:
            self._go_on()
            yield None, job
            for before in self.problem.jobs:
                if before is not job and (before.index, job.index) not in passed:
                    yield before, job

    def _circuit(self) -> None:
        cp, site, jobs = self.cp, self.problem.site, self.problem.jobs
        ends = [
            self.start[job.index]
            + sum(
                self._duration(job, o) * self.x[job.index, o]
                for o in range(len(job.options))
                if (job.index, o) in self.x
            )
            for job in jobs
        ]
        for before, job in self._followers():
            switch = self._switch(before, job)
            taken = self._flag()
            self.arc[None if before is None else before.index, job.index] = taken
            free = 0 if before is None else ends[before.index]
            cp.add(self.start[job.index] >= free + switch.ticks).only_enforce_if(taken)
            self._pay(switching_loss(site, switch.seconds), taken)
        for i in (None, *range(len(jobs))):
            if i is not None or len(self.rejected) == len(jobs):
                self.arc[i, None] = self._flag()
        edges = [
            (DEPOT if i is None else i + 1, DEPOT if j is None else j + 1, taken)
            for (i, j), taken in self.arc.items()
        ]
        cp.add_circuit(edges + [(j + 1, j + 1, v) for j, v in self.rejected.items()])

    # -- plans -----------------------------------------------------------------------------------

    @override
    def plan(self, value: Callable[[Var], int]) -> Plan:
        option = {j: o for (j, o), v in self.x.items() if value(v)}
        after = {i: j for (i, j), v in self.arc.items() if value(v)}
        batches, j = [], after[None]
        while j is not None:
            adapter = self.problem.jobs[j].adapter
            batches.append(PlannedBatch(0, ((j, option[j]),), frozenset((adapter,))))
            j = after[j]
        return timed(self.problem, Plan((tuple(batches),)))

    @override
    def hint(self, plan: Plan) -> None:
        """Hint ``plan``, first come first served and timed early, for every variable."""
        everything = frozenset(range(len(self.problem.site.adapter_ids)))
        batches = timed(self.problem, normal(self.problem, plan, [everything])).gpus[0]
        served = [(batch.members[0], batch.start) for batch in batches]
        order = [None, *(j for (j, _), _ in served), None]
        taken = set(itertools.pairwise(order))
        chosen = {member for member, _ in served}
        starts = {j: start for (j, _), start in served}
        for key, v in self.x.items():
            self.cp.add_hint(v, key in chosen)
        for pair, v in self.arc.items():
            self.cp.add_hint(v, pair in taken)
        for job in self.problem.jobs:
            self.cp.add_hint(self.start[job.index], starts.get(job.index, job.arrival))
        for j, v in self.rejected.items():
            self.cp.add_hint(v, j not in starts)
        done = {j: starts[j] + self._offset(self.problem.jobs[j], o) for j, o in chosen}
        for j, v in self.late.items():
            job = self.problem.jobs[j]
            self.cp.add_hint(v, is_late(job, done.get(j, job.arrival)))
