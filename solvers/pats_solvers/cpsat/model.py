"""The CP-SAT model: on each GPU a row of positions, each empty or holding one batch.

Its size depends on requests, options, GPUs and adapters, never on ticks. Position b of GPU g has

- ``x[j, o, g, b]``: job j runs there with option o; ``used``: somebody does (empty ones come last);
- ``active[l]``, ``resident[l]``: adapter l is used by a member, is held; ``load[l]``: loaded;
- ``start``, ``switch`` and ``finish[i]``, the offset at which members of step level i complete.

A constraint that only matters from one side (a finish is *at least* what rule 5 says) is stated
from that side alone: no loss term falls when something ends later.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

from pats_opt.loss import switching_loss
from pats_opt.problem import Adapters, Job, Problem
from pats_solvers.cpsat.durations import Durations, load_ticks
from pats_solvers.cpsat.layout import identical_gpus, interchangeable
from pats_solvers.cpsat.scaling import Losses
from pats_solvers.windows import earliest_completion, largest_batch, latest_completions

Var = Any  #: a CP-SAT variable or linear expression


class Position:
    """The variables of one position of one GPU."""

    def __init__(self) -> None:
        self.used: Var = None
        self.start: Var = None
        self.end: Var = None
        self.x: dict[tuple[int, int], Var] = {}
        self.active: dict[int, Var] = {}
        self.resident: dict[int, Var] = {}
        self.load: dict[int, Var] = {}
        self.enter: dict[tuple[int | None, int], Var] = {}
        self.reach: list[Var] = []
        self.size: list[dict[int, Var]] = []
        self.finish: list[Var] = []
        self.switch: Var = 0
        self.switch_ticks: Var = None
        self.loads: Var = None
        self.activate: Var = None


class Model:
    """A problem as a CP-SAT model.

    Attributes:
        cp: The ``CpModel``.
        rows: Positions per GPU.
        kept: Adapters that are worth holding, per GPU.
        losses: The integer objective's coefficients.
        exact: Whether durations are the clock's own in every case.
    """

    def __init__(self, problem: Problem, known_loss: float | None) -> None:
        from ortools.sat.python import cp_model

        self.cp: Any = cp_model.CpModel()
        self.problem = problem
        self.durations = Durations(problem)
        self.exact = self.durations.exact
        self.latest = latest_completions(problem, known_loss)
        self.hosts = [problem.hosts(job) for job in problem.jobs]
        self.kept = [self._kept(g.index) for g in problem.site.gpus]
        self.end_of_time = max((t for row in self.latest for t in row if t is not None), default=0)
        self._cost: list[tuple[float, Var, int]] = []
        self.rows = [self._row(g.index) for g in problem.site.gpus]
        self.completion: list[Var] = []
        self.rejected: dict[int, Var] = {}
        self.late: dict[int, Var] = {}
        self.serves: dict[tuple[int, int], Var] = {}  # (job, GPU), where GPUs are identical
        for job in problem.jobs:
            self._job(job)
        self._symmetries()
        self.losses = Losses.of([c for c, _, _ in self._cost], [most for _, _, most in self._cost])
        terms = [v for _, v, _ in self._cost]
        self.cp.minimize(
            sum(c * v for c, v in zip(self.losses.coefficients, terms, strict=True) if c)
        )

    # -- one GPU ---------------------------------------------------------------------------------

    def _kept(self, gpu: int) -> Adapters:
        """Adapters with requests for this GPU, and those whose load is cheaper than activation.

        Loading an adapter that nobody needs is of use only where it spares an activation (rule 4).
        """
        site = self.problem.site
        kept = {job.adapter for job in self.problem.jobs if gpu in self.hosts[job.index]}
        if site.max_resident > 1:
            kept |= {a for a, load_s in enumerate(site.load_s) if load_s < site.activate_s}
        return frozenset(kept)

    def _row(self, gpu: int) -> list[Position]:
        jobs = [job for job in self.problem.jobs if gpu in self.hosts[job.index]]
        row: list[Position] = []
        for b in range(len(jobs)):
            position = self._position(gpu, b, jobs)
            if not position.x:
                break
            self._residency(gpu, row[-1] if row else None, position)
            self._time(gpu, row[-1] if row else None, position)
            row.append(position)
        return row

    def _position(self, gpu: int, b: int, jobs: Sequence[Job]) -> Position:
        cp, site, p = self.cp, self.problem.site, Position()
        least = 1 if site.clock.slotted else min(self.durations.shortest, default=1)
        for job in jobs:
            for o, option in enumerate(job.options):
                latest = self.latest[job.index][o]
                offset = self.durations.shortest[self.durations.rank[option.steps]]
                # b batches come before it, each of which takes the least duration.
                if latest is not None and max(b * least, job.arrival) + offset <= latest:
                    p.x[job.index, o] = cp.new_bool_var(f"x{job.index}_{o}_{gpu}_{b}")
        p.used = cp.new_bool_var(f"used{gpu}_{b}")
        if not p.x:
            return p
        members = list(p.x.values())
        self._any(p.used, members)
        cp.add(sum(members) <= largest_batch(self.problem, gpu) * p.used)
        by_job = _grouped((j, v) for (j, _), v in p.x.items())
        by_adapter = _grouped((self.problem.jobs[j].adapter, v) for (j, _), v in p.x.items())
        for a, users in sorted(by_adapter.items()):
            p.active[a] = cp.new_bool_var(f"active{a}_{gpu}_{b}")
            self._any(p.active[a], users)
        for j, chosen in by_job.items():
            cp.add(sum(chosen) <= p.active[self.problem.jobs[j].adapter])
        if site.max_per_batch == 1:
            cp.add(sum(p.active.values()) == p.used)
        elif site.max_per_batch < len(p.active):
            cp.add(sum(p.active.values()) <= site.max_per_batch * p.used)
        return p

    def _residency(self, gpu: int, before: Position | None, p: Position) -> None:
        cp, site = self.cp, self.problem.site
        if site.max_resident == 1:
            p.resident = p.active
        else:
            for a in sorted(self.kept[gpu]):
                p.resident[a] = cp.new_bool_var("")
                if a in p.active:
                    cp.add_implication(p.active[a], p.resident[a])
                cp.add_implication(p.resident[a], p.used)
            if site.max_resident < len(p.resident):
                cp.add(sum(p.resident.values()) <= site.max_resident * p.used)
        self._memory(gpu, p)
        if before is not None:
            cp.add_implication(p.used, before.used)
        if site.pairs:
            self._enter(gpu, before, p)
        else:
            first = dict.fromkeys(site.gpus[gpu].resident, 1)
            held = before.resident if before is not None else first
            for a, resident in p.resident.items():
                p.load[a] = load = cp.new_bool_var("")
                # Both sides: a load costs, but it also spares the activation.
                cp.add(load >= resident - held.get(a, 0))
                cp.add_implication(load, resident)
                cp.add(load + held.get(a, 0) <= 1)
        self._switch(before, p)

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

    def _enter(self, gpu: int, before: Position | None, p: Position) -> None:
        """One transition into the position's adapter from the one before it (max_resident is 1)."""
        cp, site = self.cp, self.problem.site
        first = next(iter(site.gpus[gpu].resident), None)
        sources: dict[int | None, Var] = {first: 1}
        if before is not None:
            sources = dict(before.active.items())
        for a, s in itertools.product(p.active, sources):
            p.enter[s, a] = cp.new_bool_var("")
        for a, active in p.active.items():
            cp.add(sum(v for (_, to), v in p.enter.items() if to == a) == active)
        for s, active in sources.items():
            cp.add(sum(v for (source, _), v in p.enter.items() if source == s) <= active)

    def _switch(self, before: Position | None, p: Position) -> None:
        """Rule 4: ticks and price of the switch before the position."""
        cp, site = self.cp, self.problem.site
        nothing: Adapters = frozenset()
        if site.max_resident == 1:
            entries = (
                [
                    ((frozenset((s,)) if s is not None else nothing), a, v)
                    for (s, a), v in p.enter.items()
                ]
                if site.pairs
                else [(nothing, a, v) for a, v in p.load.items()]
            )
            for held, a, v in entries:
                after = frozenset((a,))
                change = site.switch(held, after, after, held or None)
                p.switch += change.ticks * v
                self._pay(switching_loss(site, change.seconds), v)
            return
        seconds = [site.load_s[a] for a in p.load]
        for a, v in p.load.items():
            self._pay(switching_loss(site, site.load_s[a]), v)
        if before is not None and site.activate_s > 0:
            self._activation(before, p)
        if site.clock.slotted or not any((*seconds, site.activate_s)):
            return
        ticks = load_ticks(self.problem, [*seconds, site.activate_s])
        parts = [(ticks.part(site.load_s[a] / site.tick_s), v) for a, v in p.load.items()]
        if p.activate is not None:
            parts.append((ticks.part(site.activate_s / site.tick_s), p.activate))
        longest = sum(
            sorted((-(-t // ticks.unit) for t, _ in parts), reverse=True)[: site.max_resident]
        )
        p.switch = p.switch_ticks = cp.new_int_var(0, max(longest, 0), "")
        self.exact &= ticks.slack == 0
        cp.add(ticks.unit * p.switch >= sum(t * v for t, v in parts) - ticks.slack)
        for t, v in parts:
            alone = -(-max(0, t - ticks.slack) // ticks.unit)
            if alone:
                cp.add(p.switch >= alone * v)

    def _activation(self, before: Position, p: Position) -> None:
        cp = self.cp
        p.loads = cp.new_bool_var("")
        p.activate = cp.new_bool_var("")
        cp.add(p.loads <= sum(p.load.values()))
        for a, now in p.active.items():
            then = before.active.get(a, 0)
            cp.add(p.activate + p.loads >= now - then)
            cp.add(p.activate + p.loads >= then - now + p.used - 1)
        self._pay(switching_loss(self.problem.site, self.problem.site.activate_s), p.activate)

    # -- time ------------------------------------------------------------------------------------

    def _time(self, gpu: int, before: Position | None, p: Position) -> None:
        cp, site, d = self.cp, self.problem.site, self.durations
        p.start = cp.new_int_var(0, self.end_of_time + 1, f"start{gpu}")
        self._reach(p)
        if site.clock.slotted:
            duration = p.used
        elif d.fixed is not None:
            rises = [t - s for s, t in zip((0, *d.fixed), d.fixed, strict=False)]
            duration = sum(rise * reach for rise, reach in zip(rises, p.reach, strict=True))
        else:
            self._finish(p)
            duration = p.finish[-1]
        p.end = p.start + duration
        if site.horizon is not None:
            cp.add(p.end <= site.horizon)
        free = before.end if before is not None else 0
        cp.add(p.start >= free + p.switch)
        if before is not None:
            cp.add(p.start == free).only_enforce_if(p.used.negated())
        for (j, _), v in p.x.items():
            cp.add(p.start >= self.problem.jobs[j].arrival).only_enforce_if(v)

    def _reach(self, p: Position) -> None:
        """``reach[i]``: some member runs at level i or above."""
        rank, jobs = self.durations.rank, self.problem.jobs
        at = _grouped((rank[jobs[j].options[o].steps], v) for (j, o), v in p.x.items())
        p.reach = [p.used]
        for i in range(1, len(self.durations.levels)):
            above = [v for level, vs in at.items() if level >= i for v in vs]
            reach = self.cp.new_bool_var("")
            self._any(reach, above)
            p.reach.append(reach)

    def _finish(self, p: Position) -> None:
        """``finish[i]``: ticks after the start at which members of level i complete (rule 5)."""
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
                p.size[i] = {n: cp.new_bool_var("") for n in range(most + 1)}
                cp.add_exactly_one(p.size[i].values())
                cp.add(sum(n * v for n, v in p.size[i].items()) == sum(members))
                total = total + sum(d.parts[i][n] * v for n, v in p.size[i].items())
            finish = cp.new_int_var(0, d.longest(i), "")
            cp.add(d.ticks.unit * finish >= total - d.ticks.slack)
            p.finish.append(finish)

    # -- one job ---------------------------------------------------------------------------------

    def _job(self, job: Job) -> None:
        cp, site, d, j = self.cp, self.problem.site, self.durations, job.index
        latest = max([job.arrival, *(t for t in self.latest[j] if t is not None)])
        places = [
            (o, p, p.x[j, o])
            for row in self.rows
            for p in row
            for o in range(len(job.options))
            if (j, o) in p.x
        ]
        chosen = _grouped((o, v) for o, _, v in places)
        served = {o: sum(vs) for o, vs in chosen.items()}
        done = cp.new_int_var(job.arrival, latest, f"C{j}")
        self.completion.append(done)
        if job.reject_loss is None:
            cp.add_exactly_one(v for _, _, v in places)
        else:
            self.rejected[j] = cp.new_bool_var(f"rejected{j}")
            cp.add_exactly_one([self.rejected[j], *(v for _, _, v in places)])
            self._pay(job.reject_loss, self.rejected[j])
        for o, p, v in places:
            level = d.rank[job.options[o].steps]
            offset = 0 if site.clock.slotted else d.fixed[level] if d.fixed else p.finish[level]
            cp.add(done >= p.start + offset).only_enforce_if(v)
        least = {o: earliest_completion(self.problem, job, o) - job.arrival for o in served}
        cp.add(done - job.arrival >= sum(least[o] * served[o] for o in served))
        cp.add(
            done - job.arrival
            <= sum(((self.latest[j][o] or 0) - job.arrival) * served[o] for o in served)
        )
        self._pay(
            site.latency_price_per_s * job.weight * site.tick_s,
            done - job.arrival,
            latest - job.arrival,
        )
        for o, chosen_o in served.items():
            self._pay(job.options[o].quality_loss, chosen_o)
        if job.deadline is not None and site.late_price * job.weight > 0:
            self.late[j] = late = cp.new_bool_var(f"late{j}")
            cp.add(done - job.arrival <= job.deadline).only_enforce_if(late.negated())
            self._pay(site.late_price * job.weight, late)

    def _pay(self, price: float, variable: Var, most: int = 1) -> None:
        if price:
            self._cost.append((price, variable, most))

    # -- symmetries ------------------------------------------------------------------------------

    def _symmetries(self) -> None:
        """Keep one of many equal schedules; see :mod:`pats_solvers.cpsat.layout` for the proofs."""
        for group in interchangeable(self.problem):
            for i, j in itertools.pairwise(group):
                for row in self.rows:
                    self._in_order(row, i, j)
        for alike in identical_gpus(self.problem):
            if len(alike) > 1:
                self._first_jobs_in_order(alike)

    def _in_order(self, row: Sequence[Position], i: int, j: int) -> None:
        """On one GPU, job j comes no earlier than job i, nor at fewer steps in the same batch."""
        options = self.problem.jobs[i].options
        order = sorted(range(len(options)), key=lambda o: (options[o].steps, o))
        keys = [(p, o) for p in row for o in order]
        later = [p.x[i, o] for p, o in keys if (i, o) in p.x]
        sooner: list[Var] = []
        for p, o in keys:
            if (i, o) in p.x:
                later.pop(0)
            if (j, o) in p.x:
                sooner.append(p.x[j, o])
                if later:
                    self.cp.add_at_most_one([*later, *sooner])

    def _first_jobs_in_order(self, gpus: Sequence[int]) -> None:
        """Of two neighbours, the right one serves a job only if the left serves an earlier one."""
        for g in gpus:
            places = _grouped((j, v) for p in self.rows[g] for (j, _), v in p.x.items())
            for j, variables in places.items():
                self.serves[j, g] = self.cp.new_bool_var("")
                self.cp.add(sum(variables) == self.serves[j, g])
        for left, right in itertools.pairwise(gpus):
            earlier: list[Var] = []
            for job in self.problem.jobs:
                if (job.index, right) in self.serves:
                    self.cp.add_bool_or([self.serves[job.index, right].negated(), *earlier])
                if (job.index, left) in self.serves:
                    earlier.append(self.serves[job.index, left])

    def _any(self, flag: Var, members: Sequence[Var]) -> None:
        """``flag`` is true exactly if one of the members is."""
        self.cp.add_bool_or([flag.negated(), *members])
        for member in members:
            self.cp.add_implication(member, flag)


def _grouped(pairs: Iterable[tuple[int, Var]]) -> dict[int, list[Var]]:
    groups: dict[int, list[Var]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups
