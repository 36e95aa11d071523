"""The batches of a family as columns and rows: the part that both formulations share.

Per start tick t of the family: ``start`` (batches that start), one column per mode (z_{k,t}), one
per way for a job to join (x_{j,s,t}), and the rows that tie them together:

* ``start_t = sum_k z_{k,t}``;
* members against the modes' counts, per step level (and completion offset);
* ``sum_s x_{j,s,t} <= start_t``, which the counts imply for whole numbers and the LP needs;
* packing, ``sum_j demand_j x_{j,t} <= room start_t``, where counts do not decide it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from pats_opt.errors import SolverError
from pats_opt.model.problem import Problem
from pats_solvers.milp.family import Choice, Family
from pats_solvers.milp.model import INF, Ints, Sheet
from pats_solvers.milp.modes import Mode

#: Job and option.
Member = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Joins:
    """Columns of one choice: column i joins the batch of tick ``choice.first + i``."""

    choice: Choice
    columns: Ints


@dataclass(frozen=True, slots=True)
class Batches:
    """Columns of a family; index i is the start tick ``family.first + i``.

    Attributes:
        family: What they are for.
        start: Batches that start.
        modes: Batches by mode, in the family's order; a long mode has fewer starts.
        joins: Members.
    """

    family: Family
    start: Ints
    modes: tuple[Ints, ...]
    joins: tuple[Joins, ...]

    def span(self, joins: Joins) -> slice:
        """The places of a choice's ticks among the start ticks."""
        first = joins.choice.first - self.family.first
        return slice(first, first + len(joins.columns))


def add_batches(
    problem: Problem, family: Family, units: int, sheet: Sheet, margin: float
) -> Batches:
    """Add a family's columns and rows for up to ``units`` batches at a time.

    ``margin`` is the share of the room that batches leave unused.
    """
    count = family.last - family.first + 1
    start = sheet.columns(count, upper=units)
    total = sheet.rows(count, 0.0, 0.0)
    sheet.add(total, start, -1.0)
    modes = []
    for mode in family.modes.modes:
        z = sheet.columns(
            max(0, min(count, family.end - mode.duration - family.first + 1)),
            cost=family.unit_price * mode.ticks if family.priced else 0.0,
            upper=units,
        )
        sheet.add(total[: len(z)], z)
        modes.append(z)
    joins = tuple(
        Joins(c, sheet.columns(c.last - c.first + 1, cost=partial(c.costs, problem)))
        for c in family.choices
    )
    batches = Batches(family, start, tuple(modes), joins)
    _counts(batches, sheet)
    _links(batches, sheet)
    for packing in family.packings:
        rows = sheet.rows(count, -INF, 0.0)
        sheet.add(rows, start, -packing.room * (1.0 - margin))
        for j in joins:
            sheet.add(rows[batches.span(j)], j.columns, packing.demands[j.choice.place])
    return batches


def add_members(batches: Batches, sheet: Sheet) -> None:
    """Rows that no batch is empty, where an empty one could be of use."""
    if batches.family.modes.capped:
        rows = sheet.rows(len(batches.start), 0.0, INF)
        sheet.add(rows, batches.start, -1.0)
        for j in batches.joins:
            sheet.add(rows[batches.span(j)], j.columns)


def serve_once(problem: Problem, parts: Iterable[Batches], sheet: Sheet) -> dict[int, int]:
    """Rule 1: every job joins once or is rejected; returns the rejection column by job."""
    row = sheet.rows(len(problem.jobs), 1.0, 1.0)
    for batches in parts:
        for j in batches.joins:
            sheet.add(row[j.choice.job.index], j.columns)
    rejected = {}
    for job in problem.jobs:
        if job.reject_loss is not None:
            column = sheet.columns(1, cost=job.reject_loss)
            sheet.add(row[job.index], column)
            rejected[job.index] = int(column[0])
    return rejected


def _counts(batches: Batches, sheet: Sheet) -> None:
    """Members against the counts of the modes that run."""
    modes = batches.family.modes
    for level in range(len(modes.levels)):
        offsets = modes.offsets(level)
        if modes.capped:
            here = [j for j in batches.joins if j.choice.level >= level]
            _count(batches, level, here, None, sheet)
        if len(offsets) > 1 or not modes.capped:
            for offset in [None] if batches.family.priced else offsets:
                here = [
                    j for j in batches.joins if (j.choice.level, j.choice.offset) == (level, offset)
                ]
                _count(batches, level, here, offset, sheet)


def _count(
    batches: Batches, level: int, joins: Iterable[Joins], offset: int | None, sheet: Sheet
) -> None:
    """One row per tick: members of ``joins`` against counts at ``level`` (with ``offset``)."""
    modes = batches.family.modes
    rows = sheet.rows(len(batches.start), -INF if modes.capped else 0.0, 0.0)
    for mode, z in zip(modes.modes, batches.modes, strict=True):
        if mode.counts[level] and offset in (None, mode.offsets[level]):
            sheet.add(rows[: len(z)], z, -float(mode.counts[level]))
    for j in joins:
        sheet.add(rows[batches.span(j)], j.columns)


def _links(batches: Batches, sheet: Sheet) -> None:
    """No job joins more than the batches that start."""
    for place in range(len(batches.family.jobs)):
        mine = [j for j in batches.joins if j.choice.place == place]
        if mine:
            first = min(j.choice.first for j in mine)
            last = max(j.choice.last for j in mine)
            rows = sheet.rows(last - first + 1, -INF, 0.0)
            span = slice(first - batches.family.first, last + 1 - batches.family.first)
            sheet.add(rows, batches.start[span], -1.0)
            for j in mine:
                at = j.choice.first - first
                sheet.add(rows[at : at + len(j.columns)], j.columns)


def members_at(batches: Batches, counts: Ints) -> dict[int, list[Choice]]:
    """The choices taken at a whole-numbered point, by start tick."""
    found: dict[int, list[Choice]] = {}
    for j in batches.joins:
        for i in np.flatnonzero(counts[j.columns]):
            found.setdefault(j.choice.first + int(i), []).append(j.choice)
    return found


def place(batches: Batches, counts: Ints) -> dict[tuple[int, int], list[list[Member]]]:
    """The members of every batch at a whole-numbered point, by (start tick, mode).

    Where several batches start at one tick, the highest levels are placed first: with nested caps,
    and with exact counts, whoever is left then always finds room.
    """
    family, modes = batches.family, batches.family.modes
    found: dict[tuple[int, int], list[list[Member]]] = {}
    room: dict[int, list[tuple[Mode, list[int], list[Member]]]] = {}
    for k, (mode, z) in enumerate(zip(modes.modes, batches.modes, strict=True)):
        for i in map(int, np.flatnonzero(counts[z])):
            tick = family.first + i
            for _ in range(int(counts[z[i]])):
                group: list[Member] = []
                found.setdefault((tick, k), []).append(group)
                room.setdefault(tick, []).append((mode, list(mode.counts), group))
    for tick, choices in members_at(batches, counts).items():
        for choice in sorted(choices, key=lambda c: -c.level):
            counted = range(choice.level + 1) if modes.capped else (choice.level,)
            for mode, left, group in room.get(tick, ()):
                at = mode.offsets[choice.level]
                if at is not None and choice.offset in (None, at) and min(left[i] for i in counted):
                    group.append((choice.job.index, choice.option))
                    for i in counted:
                        left[i] -= 1
                    break
            else:
                raise SolverError(f"no batch at tick {tick} has room for {choice.job.id!r}")
    return found
