"""The CP-SAT model: on each GPU a row of positions, the first ones filled with a batch each.

Its size depends on requests, options, GPUs and adapters, never on ticks. A position has

- ``x[j, o]``: job j runs there with option o; ``used``: somebody does;
- ``active[a]``: a member uses adapter a; ``resident[a]``: it is held; ``load[a]``: it is loaded;
- ``reach[i]``: a member has step level i or above; ``finish[i]``: ticks until that level is done;
- ``start`` and ``end`` in ticks, and ``switch``, the ticks of the switch before it.

A constraint that only matters from one side (a finish is *at least* what rule 5 says) is stated
from that side alone: no loss term falls when something ends later.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from pats_opt.model.loss import switching_loss
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Adapters, Job, Problem
from pats_solvers.common.bounds import earliest_completion, largest_batch
from pats_solvers.common.windows import latest_completions
from pats_solvers.cpsat.build import Builder, Var, grouped
from pats_solvers.cpsat.durations import Durations, load_units
from pats_solvers.cpsat.layout import Batch, by_steps, identical_gpus, interchangeable, timed


class Position:
    """The variables of one position; those that a problem has no use for stay empty."""

    def __init__(self) -> None:
        self.x: dict[tuple[int, int], Var] = {}
        self.used: Var = None
        self.active: dict[int, Var] = {}
        self.resident: dict[int, Var] = {}
        self.load: dict[int, Var] = {}
        self.enter: dict[tuple[int | None, int], Var] = {}  # transitions, where pairs count
        self.loads: Var = None
        self.activate: Var = None
        self.switch: Var = 0
        self.switch_ticks: Var = None  # ``switch`` where it is a variable of its own
        self.reach: list[Var] = []
        self.size: list[
            dict[int, Var]
        ] = []  # members at each level, where that is no straight line
        self.finish: list[Var] = []
        self.start: Var = None
        self.end: Var = None


class Model(Builder):
    """A problem as a CP-SAT model.

    Attributes:
        rows: Positions per GPU.
        kept: Adapters that are worth holding, per GPU.
        delay: Per job, ticks from arrival to completion; 0 where it is rejected.
        rejected: Per job that may be.
        late: Per job with a priced deadline.
        exact: Whether durations are the clock's own in every case.
    """

    def __init__(
        self,
        problem: Problem,
        known_loss: float | None,
        stop: Callable[[], object] = lambda: None,
    ) -> None:
        """Build the model of the schedules of at most ``known_loss``.

        Args:
            problem: What to solve.
            known_loss: Loss of a schedule, or None.
            stop: Asked now and then; building ends where it answers anything.

        Raises:
            BuildingStopped: ``stop`` answered.
        """
        super().__init__(stop)
        self.problem = problem
        self.durations = Durations(problem)
        self.exact = self.durations.exact
        self.latest = latest_completions(problem, known_loss)
        self.last_tick = max((t for row in self.latest for t in row if t is not None), default=0)
        self.hosts = [frozenset(problem.hosts(job)) for job in problem.jobs]
        self.kept = [self._kept(g.index) for g in problem.site.gpus]
        self.delay: list[Var] = []
        self.rejected: dict[int, Var] = {}
        self.late: dict[int, Var] = {}
        self._from_on: dict[tuple[int, int], list[Var]] = {}  # (job, GPU) -> per place in order
        self.rows = [self._row(g.index) for g in problem.site.gpus]
        for job in problem.jobs:
            self.go_on()
            self._job(job)
        self._first_come_first_served()
        for alike in identical_gpus(problem):
            self._first_jobs_in_order(alike)
        self.minimise()

    def _kept(self, gpu: int) -> Adapters:
        """Adapters with requests for this GPU, and those whose load is cheaper than activation.

        Loading an adapter that nobody needs is of use only where it spares an activation (rule 4).
        """
        site = self.problem.site
        kept = {job.adapter for job in self.problem.jobs if gpu in self.hosts[job.index]}
        if site.max_resident > 1:
            kept |= {a for a, load_s in enumerate(site.load_s) if load_s < site.activate_s}
        return frozenset(kept)

    def _shortest(self, job: Job, option: int) -> int:
        """Ticks from a batch's start to the job's completion, at least."""
        return self.durations.shortest[self.durations.rank[job.options[option].steps]]

    # -- one GPU ---------------------------------------------------------------------------------

    def _row(self, gpu: int) -> list[Position]:
        jobs = [job for job in self.problem.jobs if gpu in self.hosts[job.index]]
        slotted = self.problem.site.clock.slotted
        least = 1 if slotted else min(self.durations.shortest, default=1)
        row: list[Position] = []
        for b in range(len(jobs)):
            self.go_on()
            p, before = Position(), row[-1] if row else None
            # b batches come before it, each of which takes the least duration.
            p.x = {
                (job.index, o): self.flag()
                for job in jobs
                for o, latest in enumerate(self.latest[job.index])
                if latest is not None
                and max(b * least, job.arrival) + self._shortest(job, o) <= latest
            }
            if not p.x:
                break
            self._members(gpu, p)
            if before is not None:
                self.cp.add_implication(p.used, before.used)
            self._residents(gpu, p)
            self._memory(gpu, p)
            self._loads(gpu, before, p)
            self._switch(before, p)
            self._time(before, p)
            row.append(p)
        return row

    def _members(self, gpu: int, p: Position) -> None:
        """Which adapters the members use, and rule 2."""
        cp, site, jobs = self.cp, self.problem.site, self.problem.jobs
        p.used = self.any_of(list(p.x.values()))
        most = largest_batch(self.problem, gpu)
        if most < len({j for j, _ in p.x}):
            cp.add(sum(p.x.values()) <= most * p.used)
        for a, users in sorted(grouped((jobs[j].adapter, v) for (j, _), v in p.x.items()).items()):
            p.active[a] = self.any_of(users)
        for j, chosen in grouped((j, v) for (j, _), v in p.x.items()).items():
            cp.add(sum(chosen) <= p.active[jobs[j].adapter])
        if site.max_per_batch == 1:
            cp.add(sum(p.active.values()) == p.used)
        elif site.max_per_batch < len(p.active):
            cp.add(sum(p.active.values()) <= site.max_per_batch * p.used)

    def _residents(self, gpu: int, p: Position) -> None:
        cp, most = self.cp, self.problem.site.max_resident
        if most == 1:
            p.resident = p.active
            return
        for a in sorted(self.kept[gpu]):
            p.resident[a] = self.flag()
            if a in p.active:
                cp.add_implication(p.active[a], p.resident[a])
            cp.add_implication(p.resident[a], p.used)
        if most < len(p.resident):
            cp.add(sum(p.resident.values()) <= most * p.used)

    def _memory(self, gpu: int, p: Position) -> None:
        """Rule 3, in quanta over their greatest common divisor."""
        site, jobs = self.problem.site, self.problem.jobs
        for i, free in enumerate(site.room(gpu, frozenset())):
            if free is None:
                continue
            parts = [(jobs[j].demand[i], v) for (j, _), v in p.x.items()]
            if i == 0:
                parts += [(site.adapter_vram[a], r) for a, r in p.resident.items()]
            parts = [(amount, v) for amount, v in parts if amount]
            common = math.gcd(*(amount for amount, _ in parts))
            if parts:
                self.cp.add(sum(amount // common * v for amount, v in parts) <= free // common)

    # -- switches --------------------------------------------------------------------------------

    def _loads(self, gpu: int, before: Position | None, p: Position) -> None:
        """Which adapters the switch loads: exactly those newly resident.

        Both sides matter: a load costs, but it also spares the activation.
        """
        cp, site = self.cp, self.problem.site
        if site.pairs:
            self._transitions(gpu, before, p)
            return
        held = before.resident if before is not None else dict.fromkeys(site.gpus[gpu].resident, 1)
        for a, resident in p.resident.items():
            was = held.get(a, 0)
            p.load[a] = load = self.flag()
            cp.add(load >= resident - was)
            cp.add_implication(load, resident)
            cp.add(load + was <= 1)

    def _transitions(self, gpu: int, before: Position | None, p: Position) -> None:
        """One transition into the position's adapter from the one before it (max_resident is 1)."""
        first = next(iter(self.problem.site.gpus[gpu].resident), None)
        sources: dict[int | None, Var] = {first: 1}
        if before is not None:
            sources = dict(before.active.items())
        p.enter = {(s, a): self.flag() for s in sources for a in p.active}
        for a, active in p.active.items():
            self.cp.add(sum(v for (_, to), v in p.enter.items() if to == a) == active)
        for s, active in sources.items():
            self.cp.add(sum(v for (source, _), v in p.enter.items() if source == s) <= active)

    def _switch(self, before: Position | None, p: Position) -> None:
        """Rule 4: ticks and price of the switch."""
        site = self.problem.site
        if site.max_resident == 1:
            nothing: Adapters = frozenset()
            entries = [(nothing, a, v) for a, v in p.load.items()]
            entries += [
                (nothing if s is None else frozenset((s,)), a, v) for (s, a), v in p.enter.items()
            ]
            for held, a, v in entries:
                after = frozenset((a,))
                change = site.switch(held, after, after, None)
                p.switch += change.ticks * v
                self.pay(switching_loss(site, change.seconds), v)
            return
        parts = [(site.load_s[a], v) for a, v in p.load.items()]
        if before is not None and site.activate_s > 0:
            self._activation(before, p)
            parts.append((site.activate_s, p.activate))
        for seconds, v in parts:
            self.pay(switching_loss(site, seconds), v)
        if not site.clock.slotted:
            self._switch_ticks(p, parts)

    def _activation(self, before: Position, p: Position) -> None:
        """``activate``: nothing is loaded, but the batch before used other adapters."""
        p.loads, p.activate = self.any_of(list(p.load.values())), self.flag()
        spared = p.loads + (1 - p.used)
        for a in sorted({*p.active, *before.active}):
            now, then = p.active.get(a, 0), before.active.get(a, 0)
            self.cp.add(p.activate + spared >= now - then)
            self.cp.add(p.activate + spared >= then - now)

    def _switch_ticks(self, p: Position, parts: Sequence[tuple[float, Var]]) -> None:
        """The ceil of the sum of what the switch does."""
        cp, site = self.cp, self.problem.site
        units = load_units(self.problem, [seconds for seconds, _ in parts])
        self.exact &= units.slack == 0
        amounts = [(units.part(seconds / site.tick_s), v) for seconds, v in parts]
        longest = sum(sorted(units.up(amount) for amount, _ in amounts)[-site.max_resident :])
        if longest == 0:
            return
        p.switch = p.switch_ticks = cp.new_int_var(0, longest, "")
        cp.add(units.unit * p.switch >= sum(t * v for t, v in amounts) - units.slack)
        for amount, v in amounts:
            cp.add(p.switch >= units.up(amount - units.slack) * v)

    # -- time ------------------------------------------------------------------------------------

    def _time(self, before: Position | None, p: Position) -> None:
        cp, site = self.cp, self.problem.site
        # An empty position starts when its GPU is free, which may be the last tick's end.
        p.start = cp.new_int_var(0, self.last_tick + 1, "")
        p.end = p.start + self._duration(p)
        if site.horizon is not None:
            cp.add(p.end <= site.horizon)
        free = before.end if before is not None else 0
        cp.add(p.start >= free + p.switch)
        if before is not None:
            cp.add(p.start == free).only_enforce_if(p.used.negated())
        for (j, _), v in p.x.items():
            cp.add(p.start >= self.problem.jobs[j].arrival).only_enforce_if(v)

    def _duration(self, p: Position) -> Var:
        """Ticks of the batch, 0 where there is none."""
        if self.problem.site.clock.slotted:
            return p.used
        rank, jobs, fixed = self.durations.rank, self.problem.jobs, self.durations.fixed
        at = grouped((rank[jobs[j].options[o].steps], v) for (j, o), v in p.x.items())
        p.reach = [p.used]
        for i in range(1, len(self.durations.levels)):
            p.reach.append(self.any_of([v for level, vs in at.items() if level >= i for v in vs]))
        if fixed is None:
            self._finish(p)
            return p.finish[-1]
        rises = [t - s for s, t in itertools.pairwise((0, *fixed))]
        return sum(rise * reach for rise, reach in zip(rises, p.reach, strict=True))

    def _finish(self, p: Position) -> None:
        """Rule 5, where step time or overhead depends on the batch's size."""
        cp, d, jobs = self.cp, self.durations, self.problem.jobs
        total: Var = 0
        for i in range(len(d.levels)):
            members = [v for (j, o), v in p.x.items() if d.rank[jobs[j].options[o].steps] >= i]
            line = d.affine(i)
            p.size.append({})
            if line is not None:
                total = total + line.base * p.reach[i] + line.each * sum(members)
            else:
                most = min(d.most, len({j for j, _ in p.x}))
                p.size[i] = {n: self.flag() for n in range(most + 1)}
                cp.add_exactly_one(p.size[i].values())
                cp.add(sum(n * v for n, v in p.size[i].items()) == sum(members))
                total = total + sum(d.parts[i][n] * v for n, v in p.size[i].items())
            finish = cp.new_int_var(0, d.longest(i), "")
            cp.add(d.units.unit * finish >= total - d.units.slack)
            p.finish.append(finish)

    # -- jobs ------------------------------------------------------------------------------------

    def _job(self, job: Job) -> None:
        """Served once or rejected once, and what either costs."""
        cp, site, d, j = self.cp, self.problem.site, self.durations, job.index
        places = [(o, p, v) for row in self.rows for p in row for o, v in _options(p, job)]
        choices = [v for _, _, v in places]
        if job.reject_loss is not None:
            self.rejected[j] = self.flag()
            choices.append(self.rejected[j])
            self.pay(job.reject_loss, self.rejected[j])
        cp.add_exactly_one(choices)
        longest = max([0, *(t - job.arrival for t in self.latest[j] if t is not None)])
        delay = cp.new_int_var(0, longest, "")
        self.delay.append(delay)
        least: Var = 0
        most: Var = 0
        for o, p, v in places:
            level = d.rank[job.options[o].steps]
            offset = d.fixed[level] if d.fixed is not None else p.finish[level]
            cp.add(delay >= p.start + offset - job.arrival).only_enforce_if(v)
            least += (earliest_completion(self.problem, job, o) - job.arrival) * v
            most += ((self.latest[j][o] or 0) - job.arrival) * v
            self.pay(job.options[o].quality_loss, v)
        cp.add(delay >= least)
        cp.add(delay <= most)
        for g in sorted(self.hosts[j]):
            self._waiting(job, g)
        self.pay(site.latency_price_per_s * job.weight * site.tick_s, delay, longest)
        if job.deadline is not None and site.late_price * job.weight > 0:
            self.late[j] = late = self.flag()
            cp.add(delay <= job.deadline).only_enforce_if(late.negated())
            self.pay(site.late_price * job.weight, late)

    def _waiting(self, job: Job, g: int) -> None:
        """A job that is served at a position or later is not done before that one's start.

        It follows from the constraints on each place, but only once the place is known; this tells
        the search what a job loses while it waits.
        """
        row, options = self.rows[g], by_steps(job)
        flags = self.from_on([p.x.get((job.index, o)) for p in row for o in options])
        self._from_on[job.index, g] = flags
        least = min(self._shortest(job, o) for o in options)
        for b, p in enumerate(row):
            flag = flags[b * len(options)]
            if not isinstance(flag, int):
                delay = self.delay[job.index]
                self.cp.add(delay >= p.start + least - job.arrival).only_enforce_if(flag)

    # -- symmetries: one of many equal schedules; proofs in pats_solvers.cpsat.layout ------------

    def _first_come_first_served(self) -> None:
        for group in interchangeable(self.problem):
            alone = len(self.rows) == 1
            must = alone and self.problem.jobs[group[0]].reject_loss is None
            for i, j in itertools.pairwise(group):
                for g in self.hosts[i]:
                    if self.rows[g]:
                        self.in_order(self._from_on[i, g], self._from_on[j, g], must)

    def _first_jobs_in_order(self, gpus: Sequence[int]) -> None:
        """Of two neighbours, the right one serves a job only if the left serves an earlier one."""
        for left, right in itertools.pairwise(gpus):
            earlier: list[Var] = []
            for job in self.problem.jobs:
                served = self._served(job, right)
                if served is not None:
                    self.cp.add_bool_or([served.negated(), *earlier])
                served = self._served(job, left)
                if served is not None:
                    earlier.append(served)

    def _served(self, job: Job, gpu: int) -> Var | None:
        """Whether a GPU serves a job, None where it cannot."""
        flags = self._from_on.get((job.index, gpu))
        return None if not flags or isinstance(flags[0], int) else flags[0]

    # -- plans -----------------------------------------------------------------------------------

    def plan(self, value: Callable[[Var], int]) -> Plan:
        """The plan of a solution's values."""
        gpus = [
            [
                Batch(
                    tuple(key for key, v in p.x.items() if value(v)),
                    frozenset(a for a, v in p.resident.items() if value(v)),
                )
                for p in row
                if value(p.used)
            ]
            for row in self.rows
        ]
        return timed(self.problem, gpus)


def _options(p: Position, job: Job) -> list[tuple[int, Var]]:
    places = ((o, p.x.get((job.index, o))) for o in range(len(job.options)))
    return [(o, v) for o, v in places if v is not None]
