"""Parts that all formulations share: the batches of a family as columns and rows, and rule 1.

Per start tick t: ``start_t`` (batches that start), one column per mode (``z_{k,t}``), one per way
for a job to join (``x_{j,s,t}``), and the rows that tie them together:

* ``start_t = sum_k z_{k,t}``;
* members against the modes' counts, per step level (and completion offset);
* ``sum_s x_{j,s,t} <= start_t``, which the counts imply for whole numbers and the LP needs;
* capacity, ``sum_j demand_j x_{j,t} <= room start_t``, where the counts do not decide it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from pats_opt.errors import SolverError
from pats_opt.model.plan import Plan, PlannedBatch
from pats_opt.model.problem import Problem
from pats_solvers.milp.family import BatchFamily, JoinOption, TimeWindows
from pats_solvers.milp.model import INF, Floats, Ints, ModelSize
from pats_solvers.milp.modes import BatchMode

#: Job and option.
Member = tuple[int, int]


class UnmodelledPlanError(Exception):
    """A plan does something that the model has no column for: it cannot be part of an optimum."""


def column_at(columns: Ints, index: int) -> int:
    """Return the column at an index.

    Raises:
        UnmodelledPlanError: There is none.
    """
    if not 0 <= index < len(columns):
        raise UnmodelledPlanError
    return int(columns[index])


@dataclass(frozen=True, slots=True)
class JoinColumns:
    """Columns of one way to join: column i joins the batch that starts at ``way.first + i``."""

    way: JoinOption
    columns: Ints


class BatchColumns:
    """Columns and rows of a family's batches; index i is the start tick ``family.first + i``.

    Attributes:
        modes: Batches by mode, in the family's order; a long mode has fewer starts.
        joins: Members.
    """

    def __init__(
        self, problem: Problem, family: BatchFamily, units: int, model: ModelSize, margin: float
    ) -> None:
        """Add columns and rows for up to ``units`` batches at a time.

        Args:
            problem: The problem.
            family: The family.
            units: How many GPUs may start a batch at one tick.
            model: The model to add to.
            margin: Share of the room that every batch leaves unused.
        """
        self.family, self._model = family, model
        count = family.last - family.first + 1
        self.start = model.add_columns(count, upper=units)
        self.modes = self._one_mode_per_batch(units)
        self.joins = tuple(
            JoinColumns(way, model.add_columns(way.last - way.first + 1, cost=cost))
            for way, cost in ((way, partial(way.costs, problem)) for way in family.ways)
        )
        self._members_within_modes()
        self._members_need_a_batch()
        self._capacity(margin)

    def span(self, joins: JoinColumns) -> slice:
        """Return the indices of a way's ticks among the start ticks."""
        first = joins.way.first - self.family.first
        return slice(first, first + len(joins.columns))

    def _one_mode_per_batch(self, units: int) -> tuple[Ints, ...]:
        family, model, count = self.family, self._model, len(self.start)
        total = model.add_rows(count, 0.0, 0.0)
        model.add(total, self.start, -1.0)
        modes = []
        for mode in family.modes.modes:
            z = model.add_columns(
                max(0, min(count, family.end - mode.duration - family.first + 1)),
                cost=family.unit_price * mode.ticks if family.priced else 0.0,
                upper=units,
            )
            model.add(total[: len(z)], z)
            modes.append(z)
        return tuple(modes)

    def _members_within_modes(self) -> None:
        """No more members than the modes that run have room for, per level (and offset)."""
        modes = self.family.modes
        for level in range(len(modes.levels)):
            offsets = modes.offsets(level)
            if modes.capped:
                self._members_within(level, [j for j in self.joins if j.way.level >= level], None)
            if len(offsets) > 1 or not modes.capped:
                for offset in [None] if self.family.priced else offsets:
                    here = [j for j in self.joins if (j.way.level, j.way.offset) == (level, offset)]
                    self._members_within(level, here, offset)

    def _members_within(self, level: int, joins: Iterable[JoinColumns], offset: int | None) -> None:
        """Add a row per tick: ``joins`` against the counts at ``level`` (with ``offset``)."""
        modes, model = self.family.modes, self._model
        rows = model.add_rows(len(self.start), -INF if modes.capped else 0.0, 0.0)
        for mode, z in zip(modes.modes, self.modes, strict=True):
            if mode.counts[level] and offset in (None, mode.offsets[level]):
                model.add(rows[: len(z)], z, -float(mode.counts[level]))
        for j in joins:
            model.add(rows[self.span(j)], j.columns)

    def _members_need_a_batch(self) -> None:
        family, model = self.family, self._model
        for place in range(len(family.jobs)):
            mine = [j for j in self.joins if j.way.place == place]
            if mine:
                first = min(j.way.first for j in mine)
                last = max(j.way.last for j in mine)
                rows = model.add_rows(last - first + 1, -INF, 0.0)
                span = slice(first - family.first, last + 1 - family.first)
                model.add(rows, self.start[span], -1.0)
                for j in mine:
                    at = j.way.first - first
                    model.add(rows[at : at + len(j.columns)], j.columns)

    def _capacity(self, margin: float) -> None:
        """Rule 3 (vector bin packing), where the counts do not imply it."""
        for capacity in self.family.capacities:
            rows = self._model.add_rows(len(self.start), -INF, 0.0)
            self._model.add(rows, self.start, -capacity.room * (1.0 - margin))
            for j in self.joins:
                self._model.add(rows[self.span(j)], j.columns, capacity.demands[j.way.place])

    def no_empty_batch(self) -> None:
        """Add the rows that forbid empty batches, for where one could be of use."""
        if self.family.modes.capped:
            rows = self._model.add_rows(len(self.start), 0.0, INF)
            self._model.add(rows, self.start, -1.0)
            for j in self.joins:
                self._model.add(rows[self.span(j)], j.columns)

    # -- plans -----------------------------------------------------------------------------------

    def members(self, counts: Ints) -> dict[tuple[int, int], list[list[Member]]]:
        """Return the members of every batch at an integral point, by (start tick, mode).

        Where several batches start at one tick, the highest levels are placed first: with nested
        caps, and with exact counts, the remaining members then always find room.
        """
        family, modes = self.family, self.family.modes
        found: dict[tuple[int, int], list[list[Member]]] = {}
        room: dict[int, list[tuple[BatchMode, list[int], list[Member]]]] = {}
        for k, (mode, z) in enumerate(zip(modes.modes, self.modes, strict=True)):
            for i in map(int, np.flatnonzero(counts[z])):
                tick = family.first + i
                for _ in range(int(counts[z[i]])):
                    group: list[Member] = []
                    found.setdefault((tick, k), []).append(group)
                    room.setdefault(tick, []).append((mode, list(mode.counts), group))
        for tick, ways in self._joined(counts).items():
            for way in sorted(ways, key=lambda w: -w.level):
                counted = range(way.level + 1) if modes.capped else (way.level,)
                for mode, left, group in room.get(tick, ()):
                    at = mode.offsets[way.level]
                    timed = at is not None and way.offset in (None, at)
                    if timed and min(left[i] for i in counted):
                        group.append((way.job.index, way.option))
                        for i in counted:
                            left[i] -= 1
                        break
                else:
                    raise SolverError(f"no batch at tick {tick} has room for {way.job.id!r}")
        return found

    def _joined(self, counts: Ints) -> dict[int, list[JoinOption]]:
        """Return the ways taken at an integral point, by start tick."""
        found: dict[int, list[JoinOption]] = {}
        for j in self.joins:
            for i in np.flatnonzero(counts[j.columns]):
                found.setdefault(j.way.first + int(i), []).append(j.way)
        return found

    def add_to_point(self, problem: Problem, batch: PlannedBatch, x: Floats) -> int:
        """Add a batch to a point, and return its duration in ticks.

        Raises:
            UnmodelledPlanError: The model has no column for it.
        """
        family, modes = self.family, self.family.modes
        steps = [problem.jobs[j].options[o].steps for j, o in batch.members]
        k = modes.mode_of(problem.site.clock, steps)
        if k is None:
            raise UnmodelledPlanError
        mode = modes.modes[k]
        x[column_at(self.start, batch.start - family.first)] += 1
        x[column_at(self.modes[k], batch.start - family.first)] += 1
        for (job, _), s in zip(batch.members, steps, strict=True):
            level = modes.levels.index(s)
            wanted = job, level, None if family.priced else mode.offsets[level]
            for j in self.joins:
                if (j.way.job.index, j.way.level, j.way.offset) == wanted:
                    x[column_at(j.columns, batch.start - j.way.first)] += 1
                    break
            else:
                raise UnmodelledPlanError
        return mode.duration


class Formulation(ABC):
    """Adds a problem's columns and rows to a model, and keeps the columns by meaning.

    Attributes:
        rejected: Column by job: whether the job is rejected.
    """

    problem: Problem
    rejected: dict[int, int]

    @abstractmethod
    def __init__(
        self, problem: Problem, windows: TimeWindows, model: ModelSize, margin: float = 0.0
    ) -> None:
        """State a problem.

        Args:
            problem: The problem.
            windows: Ticks worth considering.
            model: The model to add to.
            margin: Share of the room, and of a tick, that batches and switches leave unused, so
                that a solver's tolerance cannot break a rule. With 0 the bound is a bound.
        """

    @abstractmethod
    def plan(self, x: Floats) -> Plan:
        """Return the plan of an integral point."""

    @abstractmethod
    def point(self, plan: Plan, columns: int) -> Floats | None:
        """Return the point of a plan, or None where the model has no column for it.

        Args:
            plan: A valid plan.
            columns: How many columns the model has.
        """

    def _serve_once(self, parts: Iterable[BatchColumns], model: ModelSize) -> dict[int, int]:
        """Add rule 1, every job joins once or is rejected; return the rejection column by job."""
        row = model.add_rows(len(self.problem.jobs), 1.0, 1.0)
        for batches in parts:
            for j in batches.joins:
                model.add(row[j.way.job.index], j.columns)
        rejected = {}
        for job in self.problem.jobs:
            if job.reject_loss is not None:
                column = model.add_columns(1, cost=job.reject_loss)
                model.add(row[job.index], column)
                rejected[job.index] = int(column[0])
        return rejected

    def _rejections(self, plan: Plan, columns: int) -> Floats:
        """Return the point of a plan with nothing set but the rejections."""
        x = np.zeros(columns)
        served = {j for gpu in plan.gpus for b in gpu for j, _ in b.members}
        for job, column in self.rejected.items():
            x[column] = job not in served
        return x
