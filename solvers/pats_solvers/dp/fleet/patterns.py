"""Patterns of batches: how many requests take each step count, where all batches are too many.

Where requests differ, an adapter has about as many batches as there are sets of requests. A pattern
says only how many take each step count. Who they are is decided when it is tried
(:mod:`.filling`): of those that wait the earliest, or those that lose least by few steps and those
that lose most. Other batches are left out, so a search over patterns proves no more than its
prices do, but it finds good schedules.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pats_opt.errors import InputError
from pats_opt.model.problem import Job, Problem
from pats_solvers.common.arrays import Floats, fields
from pats_solvers.common.classes import JobClass, Move, classes
from pats_solvers.dp.fleet.bound import QUEUED
from pats_solvers.lagrangian.gpu_kinds import gpu_kinds

#: Patterns of one adapter, at most.
MOST_PATTERNS = 400

#: Patterns: where their parts begin (they end where the next pattern's begin), members, members
#: that do not take the most steps, and whether those are chosen that lose least and most.
PATTERNS = fields("part_at members cut extreme")

#: Parts of a pattern: place of the step count among the adapter's, members, ticks to completion.
PATTERN_PARTS = fields("rank members ticks")


@dataclass(frozen=True, slots=True)
class PatternList:
    """Patterns of all adapters, by adapter, as batches of their adapter's first class.

    Attributes:
        moves: The batches; their parts are by step count, fewest first.
        extreme: By batch, whether members are those that lose least and most by few steps, or else
            the earliest.
    """

    moves: tuple[Move, ...]
    extreme: tuple[bool, ...]

    def arrays(self, kinds: Sequence[JobClass]) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """Return rows of :data:`PATTERNS`, with one that ends them, and of their parts."""
        rows, parts = np.zeros(len(self.moves) + 1, dtype=PATTERNS), list[tuple[int, int, int]]()
        for row, move, extreme in zip(rows, self.moves, self.extreme, strict=False):
            ranks = {o: rank for rank, o in enumerate(by_steps(kinds[move.takes[0][0]]))}
            row["part_at"], row["members"] = len(parts), move.takes[0][1]
            row["extreme"] = extreme
            row["cut"] = sum(n for _, o, n, _ in move.parts if ranks[o] < len(ranks) - 1)
            parts += [(ranks[o], n, ticks) for _, o, n, ticks in move.parts]
        rows["part_at"][-1] = len(parts)
        return rows, np.array(parts, dtype=PATTERN_PARTS)


def by_steps(kind: JobClass) -> list[int]:
    """Return the options of a class worth taking, fewest steps first."""
    return sorted(kind.ways, key=lambda o: kind.jobs[0].options[o].steps)


def losses_by_rank(kinds: Sequence[JobClass]) -> Floats:
    """Return quality losses by class and place of the step count."""
    found = np.zeros((len(kinds), max((len(kind.ways) for kind in kinds), default=1)))
    for q, kind in enumerate(kinds):
        ordered = by_steps(kind)
        found[q, : len(ordered)] = [kind.jobs[0].options[o].quality_loss for o in ordered]
    return found


def members_of(
    kinds: Sequence[JobClass], pattern: Move, taken: Sequence[tuple[int, Sequence[Job]]]
) -> list[tuple[int, int]]:
    """Return job and option of each member of a pattern, of the jobs taken by class.

    Jobs that lose least by few steps get the fewest.
    """
    ranks = {o: rank for rank, o in enumerate(by_steps(kinds[pattern.takes[0][0]]))}
    steps = [ranks[o] for _, o, n, _ in pattern.parts for _ in range(n)]
    losses = losses_by_rank(kinds)
    last = len(ranks) - 1
    order = sorted(
        (losses[q, 0] - losses[q, last], job.arrival, q, job.index)
        for q, jobs in taken
        for job in jobs
    )
    return sorted(
        (index, by_steps(kinds[q])[rank])
        for (_, _, q, index), rank in zip(order, steps, strict=True)
    )


def patterns_of(problem: Problem) -> PatternList:
    """Return the patterns of all adapters.

    Raises:
        InputError: Requests of an adapter differ in more than what they lose, or the patterns are
            too many.
    """
    kinds, gpus = classes(problem), [kind.gpus[0] for kind in gpu_kinds(problem)]
    moves, extreme = list[Move](), list[bool]()
    for a in sorted({kind.adapter for kind in kinds}):
        mine = [q for q, kind in enumerate(kinds) if kind.adapter == a]
        _refuse_more_differences(problem, [kinds[q] for q in mine])
        found = list(_patterns(problem, kinds, mine, gpus))
        if len(found) > MOST_PATTERNS:
            raise InputError(
                f"adapter {problem.site.adapter_ids[a]!r} has more than {MOST_PATTERNS} patterns "
                "of batches",
                hint="bound the batch size, or offer fewer options",
            )
        moves += [move for move in found for _ in (False, True)]
        extreme += [choice for _ in found for choice in (False, True)]
    return PatternList(tuple(moves), tuple(extreme))


def _refuse_more_differences(problem: Problem, kinds: Sequence[JobClass]) -> None:
    first = kinds[0].jobs[0]
    steps = {first.options[o].steps for o in kinds[0].ways}
    for kind in kinds:
        job = kind.jobs[0]
        same = job.demand == first.demand and {job.options[o].steps for o in kind.ways} == steps
        if not same or kind.late_loss > 0.0:
            raise InputError(
                f"requests of adapter {problem.site.adapter_ids[first.adapter]!r} differ in "
                "demands, step counts or priced deadlines, and have too many different batches",
                hint="use --solver lagrangian",
            )


def _patterns(
    problem: Problem, kinds: Sequence[JobClass], mine: Sequence[int], gpus: Sequence[int]
) -> Iterator[Move]:
    """Yield the patterns of one adapter."""
    clock, q = problem.site.clock, mine[0]
    jobs = sum(len(kinds[p].jobs) for p in mine)
    most = max(_largest(problem, kinds[q], gpu, jobs) for gpu in gpus)
    job, ordered = kinds[q].jobs[0], by_steps(kinds[q])
    for counts in itertools.product(range(most + 1), repeat=len(ordered)):
        if not 0 < sum(counts) <= most:
            continue
        chosen = [(o, n) for o, n in zip(ordered, counts, strict=True) if n]
        steps = [job.options[o].steps for o, n in chosen for _ in range(n)]
        ends, duration = clock.ends(tuple(steps))
        parts = tuple((q, o, n, ends[job.options[o].steps]) for o, n in chosen)
        yield Move(kinds[q].adapter, ((q, sum(counts)),), parts, duration)


def _largest(problem: Problem, kind: JobClass, gpu: int, jobs: int) -> int:
    """Return the most jobs of a batch, at most :data:`.QUEUED`."""
    site, most = problem.site, min(jobs, QUEUED)
    if site.clock.largest is not None:
        most = min(most, site.clock.largest)
    for free, need in zip(
        site.room(gpu, frozenset((kind.adapter,))), kind.jobs[0].demand, strict=True
    ):
        if free is not None and need > 0:
            most = min(most, free // need)
    return max(0, most)
