"""Constraints of the model of positions.

A constraint that only matters from one side (a finish is *at least* what rule 5 says) is stated
from that side alone: no loss term falls when something ends later.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

from pats_opt.model.problem import Job
from pats_solvers.common.bounds import earliest_completion, largest_batch
from pats_solvers.cpsat.base import Var
from pats_solvers.cpsat.layout import by_steps, identical_gpus, interchangeable
from pats_solvers.cpsat.loader import LoaderConstraints
from pats_solvers.cpsat.variables import Position, PositionVariables, grouped


class PositionConstraints:
    """Adds the constraints on a problem's variables to a native model."""

    def __init__(self, cp: Any, variables: PositionVariables) -> None:
        self._cp, self._v = cp, variables
        self._problem, self._site = variables.problem, variables.problem.site
        self._jobs, self._durations = variables.problem.jobs, variables.durations

    def add(self) -> None:
        """Add all constraints."""
        for row in self._v.rows:
            for p in row:
                self._members(p)
                self._adapters(p)
                self._used_positions_first(p)
                self._residents(p)
                self._capacity(p)
                self._transitions(p) if self._site.pairs else self._loads(p)
                self._activation(p)
                self._finish(p)
                self._one_activity_at_a_time(p)
                self._arrivals(p)
        for job in self._jobs:
            self._serve_or_reject(job)
            self._delay(job)
            self._waiting(job)
            self._deadline(job)
        self._first_come_first_served()
        for alike in identical_gpus(self._problem):
            self._first_jobs_in_order(alike)
        if self._site.channels is not None:
            for row in self._v.rows:
                LoaderConstraints(self._cp, self._v, row).add()

    def _define(self, flags: Iterable[Var]) -> None:
        """Each flag is true exactly if one of its members is."""
        for key in flags:
            flag, members, exclusive = self._v.flags[key.index]
            if exclusive:
                self._cp.add(sum(members) == flag)
                continue
            self._cp.add_bool_or([flag.negated(), *members])
            for member in members:
                self._cp.add_implication(member, flag)

    # -- positions -------------------------------------------------------------------------------

    def _used_positions_first(self, p: Position) -> None:
        if p.before is not None:
            self._cp.add_implication(p.used, p.before.used)

    def _members(self, p: Position) -> None:
        """Each job is at most once a member, and a batch no larger than it can be."""
        self._define([p.used])
        most = largest_batch(self._problem, p.gpu)
        if most < len({j for j, _ in p.x}):
            self._cp.add(sum(p.x.values()) <= most * p.used)
        self._define(p.active.values())
        for j, chosen in grouped((j, v) for (j, _), v in p.x.items()).items():
            self._cp.add(sum(chosen) <= p.active[self._jobs[j].adapter])

    def _adapters(self, p: Position) -> None:
        """Rule 2: a batch uses at most ``max_per_batch`` adapters."""
        if self._site.max_per_batch == 1:
            self._cp.add(sum(p.active.values()) == p.used)
        elif self._site.max_per_batch < len(p.active):
            self._cp.add(sum(p.active.values()) <= self._site.max_per_batch * p.used)

    def _residents(self, p: Position) -> None:
        """Rule 2: a batch's adapters are resident, and at most ``max_resident`` are."""
        most = self._site.max_resident
        if most == 1:
            return  # resident is active
        for a, resident in p.resident.items():
            if a in p.active:
                self._cp.add_implication(p.active[a], resident)
            self._cp.add_implication(resident, p.used)
        if most < len(p.resident):
            self._cp.add(sum(p.resident.values()) <= most * p.used)

    def _capacity(self, p: Position) -> None:
        """Rule 3, in quanta over their greatest common divisor."""
        for i, free in enumerate(self._site.room(p.gpu, frozenset())):
            if free is None:
                continue
            parts = [(self._jobs[j].demand[i], v) for (j, _), v in p.x.items()]
            if i == 0:
                parts += [(self._site.adapter_vram[a], r) for a, r in p.resident.items()]
            parts = [(amount, v) for amount, v in parts if amount]
            common = math.gcd(*(amount for amount, _ in parts))
            if parts:
                self._cp.add(sum(amount // common * v for amount, v in parts) <= free // common)

    def _loads(self, p: Position) -> None:
        """The switch loads those newly resident, and no others: a load spares the activation.

        Section 5a: nor does it help there to load what the position before holds to its end.
        """
        held = dict.fromkeys(self._site.gpus[p.gpu].resident, 1)
        if p.before is not None:
            held = p.before.resident
        for a, resident in p.resident.items():
            was, load = held.get(a, 0), p.load[a]
            self._cp.add(load >= resident - was)
            self._cp.add(load + was <= 1)

    def _transitions(self, p: Position) -> None:
        """One transition into the position's adapter from the one before it (max_resident is 1)."""
        sources: dict[int | None, Var] = {s: 1 for s, _ in p.enter}
        if p.before is not None:
            sources = dict(p.before.active.items())
        for a, active in p.active.items():
            self._cp.add(sum(v for (_, to), v in p.enter.items() if to == a) == active)
        for s, active in sources.items():
            self._cp.add(sum(v for (source, _), v in p.enter.items() if source == s) <= active)

    def _activation(self, p: Position) -> None:
        """Rule 4: what is used, not loaded, and not used by the batch before is activated.

        Section 5a: there a load spares no activation.
        """
        for a, activate in p.activate.items():
            before = p.before.active.get(a, 0) if p.before is not None else 0
            load = p.load[a] if self._site.channels is None else 0
            self._cp.add(activate + load + before >= p.active[a])

    def _one_activity_at_a_time(self, p: Position) -> None:
        """Rule 6: a batch follows the batch before it and the switch, within the horizon."""
        if self._site.horizon is not None:
            self._cp.add(p.end <= self._site.horizon)
        free = p.before.end if p.before is not None else 0
        self._cp.add(p.start >= free + p.switch)
        if p.before is not None:
            self._cp.add(p.start == free).only_enforce_if(p.used.negated())

    def _arrivals(self, p: Position) -> None:
        """Rule 1: members have arrived."""
        for (j, _), v in p.x.items():
            self._cp.add(p.start >= self._jobs[j].arrival).only_enforce_if(v)

    def _finish(self, p: Position) -> None:
        """Rule 5: which levels are reached, and when, where that depends on the batch's size."""
        self._define(p.reach[1:])
        d, total = self._durations, 0
        for i, finish in enumerate(p.finish):
            rank = d.rank
            members = [v for (j, o), v in p.x.items() if rank[self._jobs[j].options[o].steps] >= i]
            line = d.affine(i)
            if line is not None:
                total = total + line.base * p.reach[i] + line.each * sum(members)
            else:
                self._cp.add_exactly_one(p.size[i].values())
                self._cp.add(sum(n * v for n, v in p.size[i].items()) == sum(members))
                total = total + sum(d.parts[i][n] * v for n, v in p.size[i].items())
            self._cp.add(d.units.unit * finish >= total - d.units.slack)

    # -- jobs ------------------------------------------------------------------------------------

    def _serve_or_reject(self, job: Job) -> None:
        """Rule 1: each job is served once or rejected once."""
        served = [v for _, _, v in self._v.places(job)]
        rejected = self._v.rejected.get(job.index)
        self._cp.add_exactly_one(served if rejected is None else [*served, rejected])

    def _delay(self, job: Job) -> None:
        """A job's delay ends with its step level, and is within the window of its option."""
        d, delay, latest = self._durations, self._v.delay[job.index], self._v.latest[job.index]
        least: Var = 0
        most: Var = 0
        for o, p, v in self._v.places(job):
            level = d.rank[job.options[o].steps]
            offset = d.fixed[level] if d.fixed is not None else p.finish[level]
            self._cp.add(delay >= p.start + offset - job.arrival).only_enforce_if(v)
            least += (earliest_completion(self._problem, job, o) - job.arrival) * v
            most += ((latest[o] or 0) - job.arrival) * v
        self._cp.add(delay >= least)
        self._cp.add(delay <= most)

    def _waiting(self, job: Job) -> None:
        """A job that is served at a position or later is not done before that one's start.

        It follows from the constraints on each place, but only once the place is known; this shows
        the search what a job loses while it waits.
        """
        options = by_steps(job)
        least = min(self._v.shortest(job, o) for o in options)
        delay = self._v.delay[job.index]
        for gpu in sorted(self._v.hosts[job.index]):
            flags = self._v.from_on[job.index, gpu]
            self._define({f.index: f for f in reversed(flags) if not isinstance(f, int)}.values())
            for b, p in enumerate(self._v.rows[gpu]):
                flag = flags[b * len(options)]
                if not isinstance(flag, int):
                    self._cp.add(delay >= p.start + least - job.arrival).only_enforce_if(flag)

    def _deadline(self, job: Job) -> None:
        late = self._v.late.get(job.index)
        if late is not None:
            in_time = self._cp.add(self._v.delay[job.index] <= job.deadline)
            in_time.only_enforce_if(late.negated())

    # -- symmetries: one of many equal schedules; proofs in pats_solvers.cpsat.layout ------------

    def _first_come_first_served(self) -> None:
        """Of interchangeable jobs on one GPU, none is served before one that arrived earlier."""
        for group in interchangeable(self._problem):
            alone = len(self._v.rows) == 1
            must = alone and self._jobs[group[0]].reject_loss is None
            for i, j in itertools.pairwise(group):
                for gpu in self._v.hosts[i]:
                    if self._v.rows[gpu]:
                        self._in_order(self._v.from_on[i, gpu], self._v.from_on[j, gpu], must)

    def _in_order(self, first: Sequence[Var], second: Sequence[Var], must: bool) -> None:
        """Of two jobs that are both at one of the same places, one is not later than the other.

        Args:
            first: Of the job that is not later: whether it is at a place or later, by place.
            second: The same of the other job.
            must: Whether the other one has to be at one of these places.
        """
        here = 1 if must else second[0]
        for k, flag in enumerate(first):
            if k == len(first) - 1 or flag is not first[k + 1]:
                self._cp.add(flag + here <= second[k] + 1)

    def _first_jobs_in_order(self, gpus: Sequence[int]) -> None:
        """Of two neighbours, the right one serves a job only if the left serves an earlier one."""
        for left, right in itertools.pairwise(gpus):
            earlier: list[Var] = []
            for job in self._jobs:
                served = self._served(job, right)
                if served is not None:
                    self._cp.add_bool_or([served.negated(), *earlier])
                served = self._served(job, left)
                if served is not None:
                    earlier.append(served)

    def _served(self, job: Job, gpu: int) -> Var | None:
        """Return whether a GPU serves a job, None where it cannot."""
        flags = self._v.from_on.get((job.index, gpu))
        return None if not flags or isinstance(flags[0], int) else flags[0]
