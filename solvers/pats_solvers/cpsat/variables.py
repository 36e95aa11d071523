"""Variables of the model of positions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pats_opt.model.problem import Adapters, Job, Problem
from pats_solvers.common.windows import latest_completions
from pats_solvers.cpsat.base import Var
from pats_solvers.cpsat.integers import Durations
from pats_solvers.cpsat.layout import by_steps


class Position:
    """Variables of one position; those that a problem has no use for stay empty.

    Attributes:
        before: The position before it, or None.
        x: Whether job j runs here with option o, by (j, o).
        used: Whether any job does.
        active: Whether a member uses an adapter.
        resident: Whether an adapter is resident.
        load: Whether an adapter is loaded.
        enter: Transitions from one adapter to another, where pairs count.
        activate: Whether an adapter is activated, where that can take time.
        switch_parts: What the switch, or the loader, may do: seconds and variable.
        switch: Ticks of the switch.
        reach: Whether a member has step level i or above.
        size: Members at each level, as flags by number, where their time is no straight line.
        finish: Ticks until each level is done, where they depend on the members.
        start: Start tick; an empty position starts when its GPU is free.
        duration: Ticks of the batch, 0 where there is none.
        end: End tick.
        since: Section 5a: tick from which an adapter that is resident is so, that of its load or
            the end of the position before; 0 for others.
        stay: Ticks from then to the end.
        length: The duration as a variable.
        taken: Memory of the members in :attr:`PositionVariables.memory_unit`.
    """

    def __init__(self, gpu: int, before: Position | None) -> None:
        self.gpu, self.before = gpu, before
        self.x: dict[tuple[int, int], Var] = {}
        self.used: Var = None
        self.active: dict[int, Var] = {}
        self.resident: dict[int, Var] = {}
        self.load: dict[int, Var] = {}
        self.enter: dict[tuple[int | None, int], Var] = {}
        self.activate: dict[int, Var] = {}
        self.switch_parts: list[tuple[float, Var]] = []
        self.switch: Var = 0
        self.reach: list[Var] = []
        self.size: list[dict[int, Var]] = []
        self.finish: list[Var] = []
        self.start: Var = None
        self.duration: Var = None
        self.end: Var = None
        self.since: dict[int, Var] = {}
        self.stay: dict[int, Var] = {}
        self.length: Var = None
        self.taken: Var = None


class PositionVariables:
    """Variables of all positions and jobs.

    Attributes:
        durations: Batch durations as integers.
        latest: The last completion per job and option, None where the option is of no use.
        hosts: The GPUs that can serve each job.
        kept: Adapters that requests need, per GPU.
        memory_unit: Quanta of memory of which all adapters and demands are multiples.
        rows: Positions per GPU.
        rejected: Per job that may be.
        delay: Per job, ticks from arrival to completion; 0 where it is rejected.
        late: Per job with a priced deadline.
        from_on: Per job and GPU, whether it is served at a position, or with an option, or later.
        flags: Variables that are true exactly if one of some others is, by index: the variable,
            those others, and whether at most one of these is.
        exact: Whether durations are the clock's in every case.
    """

    def __init__(
        self, cp: Any, problem: Problem, known_loss: float | None, go_on: Callable[[], None]
    ) -> None:
        self.problem, self.durations = problem, Durations(problem)
        self.exact = self.durations.exact
        self.latest = latest_completions(problem, known_loss)
        self.hosts = [frozenset(problem.hosts(job)) for job in problem.jobs]
        self.kept = [self._kept(gpu.index) for gpu in problem.site.gpus]
        self.memory_unit = memory_unit(problem)
        self.flags: dict[int, tuple[Var, list[Var], bool]] = {}
        self._cp, self._go_on = cp, go_on
        self._last_tick = max((t for row in self.latest for t in row if t is not None), default=0)
        self.rows = [self._row(gpu.index) for gpu in problem.site.gpus]
        self.rejected: dict[int, Var] = {}
        self.delay: list[Var] = []
        self.late: dict[int, Var] = {}
        self.from_on: dict[tuple[int, int], list[Var]] = {}
        for job in problem.jobs:
            go_on()
            self._job(job)

    def places(self, job: Job) -> list[tuple[int, Position, Var]]:
        """Return every option and position of a job, with the variable for both."""
        options = range(len(job.options))
        found = ((o, p, p.x.get((job.index, o))) for row in self.rows for p in row for o in options)
        return [(o, p, v) for o, p, v in found if v is not None]

    def shortest(self, job: Job, option: int) -> int:
        """Lower bound on the ticks from a batch's start to the job's completion."""
        return self.durations.shortest[self.durations.rank[job.options[option].steps]]

    def longest_delay(self, job: Job) -> int:
        """Upper bound on the ticks from a job's arrival to its completion."""
        return max([0, *(t - job.arrival for t in self.latest[job.index] if t is not None)])

    def is_late_priced(self, job: Job) -> bool:
        """Return whether a job has a deadline with a price."""
        return job.deadline is not None and self.problem.site.late_price * job.weight > 0

    def _kept(self, gpu: int) -> Adapters:
        """Return adapters with requests for this GPU."""
        jobs = (job for job in self.problem.jobs if gpu in self.hosts[job.index])
        return frozenset(job.adapter for job in jobs)

    # -- positions -------------------------------------------------------------------------------

    def _row(self, gpu: int) -> list[Position]:
        jobs = [job for job in self.problem.jobs if gpu in self.hosts[job.index]]
        slotted = self.problem.site.clock.slotted
        least = 1 if slotted else min(self.durations.shortest, default=1)
        row: list[Position] = []
        for b in range(len(jobs)):
            self._go_on()
            p = Position(gpu, row[-1] if row else None)
            # b batches come before it, each of which takes the least duration.
            p.x = {
                (job.index, o): self._flag()
                for job in jobs
                for o, latest in enumerate(self.latest[job.index])
                if latest is not None
                and max(b * least, job.arrival) + self.shortest(job, o) <= latest
            }
            if not p.x:
                break
            self._adapters(p)
            self._switch(p)
            p.start = self._cp.new_int_var(0, self._last_tick + 1, "")
            p.duration = self._duration(p)
            p.end = p.start + p.duration
            if self.problem.site.channels is not None:
                self._beside_loads(p)
            row.append(p)
        return row

    def _beside_loads(self, p: Position) -> None:
        """Section 5a: intervals want variables of their own for starts, sizes and ends."""

        def ticks() -> Var:
            return self._cp.new_int_var(0, self._last_tick + 1, "")

        p.end, p.length = ticks(), ticks()
        p.since = {a: ticks() for a in p.resident}
        p.stay = {a: ticks() for a in p.resident}
        most = sum(job.demand[0] for job in self.problem.jobs) // self.memory_unit
        p.taken = self._cp.new_int_var(0, most, "")

    def _adapters(self, p: Position) -> None:
        """Adapters that are used, resident and loaded."""
        site, jobs = self.problem.site, self.problem.jobs
        p.used = self._any_of(list(p.x.values()))
        for a, users in sorted(grouped((jobs[j].adapter, v) for (j, _), v in p.x.items()).items()):
            p.active[a] = self._any_of(users)
        if site.max_resident == 1:
            p.resident = p.active
        else:
            p.resident = {a: self._flag() for a in sorted(self.kept[p.gpu])}
        if site.pairs:
            sources: Iterable[int | None] = (next(iter(site.gpus[p.gpu].resident), None),)
            if p.before is not None:
                sources = p.before.active
            p.enter = {(s, a): self._flag() for s in sources for a in p.active}
        else:
            p.load = {a: self._flag() for a in p.resident}

    def _switch(self, p: Position) -> None:
        """Rule 4: a switch is the sum of its loads (or transitions) and activations."""
        site = self.problem.site
        beside = site.channels is not None  # then loads take none of the GPU's time
        if p.before is not None and site.activate_s > 0 and (site.max_resident > 1 or beside):
            p.activate = {a: self._flag() for a in p.active}
        loads = [(site.load_s[a], v) for a, v in p.load.items()]
        p.switch_parts = [(site.activate_s, v) for v in p.activate.values()]
        for (source, a), v in p.enter.items():
            held: Adapters = frozenset() if source is None else frozenset((source,))
            seconds = 0.0 if a in held else site.load_seconds(a, held)
            p.switch_parts.append((seconds, v))
        blocking = p.switch_parts if beside else loads + p.switch_parts
        p.switch = sum(site.switching_ticks(seconds) * v for seconds, v in blocking)
        p.switch_parts = loads + p.switch_parts

    def _duration(self, p: Position) -> Var:
        """Return the ticks of the batch, 0 where there is none (rule 5)."""
        if self.problem.site.clock.slotted:
            return p.used
        d, jobs = self.durations, self.problem.jobs
        at = grouped((d.rank[jobs[j].options[o].steps], v) for (j, o), v in p.x.items())
        p.reach = [p.used]
        for i in range(1, len(d.levels)):
            p.reach.append(self._any_of([v for level, vs in at.items() if level >= i for v in vs]))
        if d.fixed is not None:
            rises = [t - s for s, t in itertools.pairwise((0, *d.fixed))]
            return sum(rise * reach for rise, reach in zip(rises, p.reach, strict=True))
        most = min(d.most, len({j for j, _ in p.x}))
        for i in range(len(d.levels)):
            sizes = range(0 if d.affine(i) is not None else most + 1)
            p.size.append({n: self._flag() for n in sizes})
            p.finish.append(self._cp.new_int_var(0, d.longest(i), ""))
        return p.finish[-1]

    # -- jobs ------------------------------------------------------------------------------------

    def _job(self, job: Job) -> None:
        if job.reject_loss is not None:
            self.rejected[job.index] = self._flag()
        self.delay.append(self._cp.new_int_var(0, self.longest_delay(job), ""))
        for gpu in sorted(self.hosts[job.index]):
            keys = [(job.index, o) for o in by_steps(job)]
            places = [p.x.get(key) for p in self.rows[gpu] for key in keys]
            self.from_on[job.index, gpu] = self._from_on(places)
        if self.is_late_priced(job):
            self.late[job.index] = self._flag()

    def _from_on(self, places: Sequence[Var | None]) -> list[Var]:
        """Return, per place in order (None: not possible), whether it is that one or later."""
        flags: list[Var] = []
        after: list[Var] = []
        for place in reversed(places):
            if place is not None:
                after = [self._any_of([*after, place], exclusive=True)]
            flags.append(after[0] if after else 0)
        return flags[::-1]

    def _flag(self) -> Var:
        return self._cp.new_bool_var("")

    def _any_of(self, members: list[Var], exclusive: bool = False) -> Var:
        """Return a flag that is true exactly if a member is (at most one is, if exclusive)."""
        flag = self._flag()
        self.flags[flag.index] = flag, members, exclusive
        return flag


def memory_unit(problem: Problem) -> int:
    """Return the greatest common divisor of all amounts of memory, 1 where there are none."""
    amounts = [*problem.site.adapter_vram, *(job.demand[0] for job in problem.jobs)]
    return math.gcd(*amounts) or 1


def grouped(pairs: Iterable[tuple[int, Var]]) -> dict[int, list[Var]]:
    """Return the values by key."""
    groups: dict[int, list[Var]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups
