"""Constraints of loads beside serving (section 5a) in the model of positions.

A load belongs to the first position whose batch uses it, and may start long before. An adapter is
``resident`` at a position where it is on the GPU to the end of its batch, loaded in time for it or
held from the position before. What else a schedule may do is of no use (see
:mod:`pats_solvers.common.loading`): an adapter is resident from a load, or from tick 0, to the end
of the last batch that uses it. So one interval per position and adapter, from ``since`` to the end
of the batch, says who takes room when; within a tick, who leaves goes before who comes. A batch
takes the memory of all its members from its start to its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pats_solvers.common.bounds import largest_batch
from pats_solvers.cpsat.base import Var
from pats_solvers.cpsat.variables import Position, PositionVariables


class LoaderConstraints:
    """Adds the constraints on one GPU's loads to a native model."""

    def __init__(self, cp: Any, variables: PositionVariables, row: Sequence[Position]) -> None:
        self._cp, self._v, self._row = cp, variables, row
        self._problem, self._site = variables.problem, variables.problem.site
        self._loads: list[Var] = []  # intervals, by position and adapter
        self._stays: list[tuple[int, Var]] = []  # adapters and the intervals in which they are here

    def add(self) -> None:
        """Add all constraints."""
        if not self._row:
            return
        for p in self._row:
            for a in p.resident:
                self._resident(p, a)
        self._at_most(self._site.channels or 0, self._loads)
        self._at_most(self._site.max_resident, [stay for _, stay in self._stays])
        self._room_for_loads()
        self._memory()

    def _resident(self, p: Position, a: int) -> None:
        """An adapter is loaded by the start, or was there at the end of the batch before."""
        cp, resident, load, since = self._cp, p.resident[a], p.load[a], p.since[a]
        ticks = self._site.load_ticks(a)
        held = 0 if p.before is None else p.before.end
        cp.add_implication(load, resident)
        cp.add(since + ticks <= p.start).only_enforce_if(load)
        cp.add(since == held).only_enforce_if(resident, load.negated())
        cp.add(since == 0).only_enforce_if(resident.negated())
        cp.add(p.stay[a] == 0).only_enforce_if(resident.negated())
        stay = cp.new_optional_interval_var(since, p.stay[a], p.end, resident, "")
        self._stays.append((a, stay))
        if ticks:
            self._loads.append(cp.new_optional_fixed_size_interval_var(since, ticks, load, ""))

    def _at_most(self, most: int, intervals: Sequence[Var]) -> None:
        if most == 1:
            self._cp.add_no_overlap(intervals)
        elif most < len(intervals):
            self._cp.add_cumulative(intervals, [1] * len(intervals), most)

    def _room_for_loads(self) -> None:
        """By a position's start, its loads and those of all before it have ended.

        It follows from the intervals; this shows it where starts are not known yet.
        """
        total: Var = 0
        for p in self._row:
            total += sum(self._site.load_ticks(a) * load for a, load in p.load.items())
            self._cp.add(total <= (self._site.channels or 0) * p.start)

    def _memory(self) -> None:
        """Residents and all members of the batch in progress fit at any time."""
        cp, v, gpu = self._cp, self._v, self._row[0].gpu
        batches = []
        for p in self._row:
            cp.add(p.length == p.duration)
            members = sum(
                self._problem.jobs[j].demand[0] // v.memory_unit * x for (j, _), x in p.x.items()
            )
            cp.add(p.taken == members)
            batches.append(cp.new_interval_var(p.start, p.length, p.end, ""))
        free = self._site.room(gpu, frozenset())[0]
        if free is None or not self._binds(gpu, free):
            return
        amounts = [self._site.adapter_vram[a] // v.memory_unit for a, _ in self._stays]
        cp.add_cumulative(
            [stay for _, stay in self._stays] + batches,
            amounts + [p.taken for p in self._row],
            free // v.memory_unit,
        )

    def _binds(self, gpu: int, free: int) -> bool:
        """Return whether the largest residents and members may not fit."""
        adapters = sorted(self._site.adapter_vram, reverse=True)[: self._site.max_resident]
        demands = sorted((job.demand[0] for job in self._problem.jobs), reverse=True)
        return sum(adapters) + sum(demands[: largest_batch(self._problem, gpu)]) > free
