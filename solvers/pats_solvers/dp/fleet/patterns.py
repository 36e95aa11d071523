"""Patterns of batches: how many requests take each step count, where all batches are too many.

Where requests differ, an adapter has about as many batches as there are sets of requests. A pattern
says only how many take each step count. Who they are is decided when it is tried
(:mod:`.filling`): of those that wait the earliest, or those that lose least by few steps and those
that lose most. Other batches are left out, so a search over patterns proves no more than its
prices do, but it finds good schedules.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pats_opt.errors import InputError
from pats_opt.model.problem import Job, Problem
from pats_solvers.common.arrays import MOVES, UNLIMITED, Floats, Ints, fields
from pats_solvers.common.classes import JobClass, classes
from pats_solvers.dp.fleet.bound import QUEUED
from pats_solvers.lagrangian.gpu_kinds import gpu_kinds

#: Patterns of one adapter, at most.
MOST_PATTERNS = 400

#: Patterns: where their parts begin (they end where the next pattern's begin), members, members
#: that do not take the most steps, and whether those are chosen that lose least and most.
PATTERNS = fields("part_at members cut extreme")

#: Parts of a pattern: place of the step count among the adapter's, members, ticks to completion.
PATTERN_PARTS = fields("rank members ticks")

#: Priced deadlines by class: last tick that is not late, and loss beyond it.
DUES = fields("due", "late")


@dataclass(frozen=True, slots=True)
class Pattern:
    """How many members of a batch of one adapter take each of its step counts.

    Attributes:
        parts: ``(place of the step count among the adapter's, members, ticks to completion)``,
            fewest steps first.
        duration: Ticks until the batch ends.
        cut: Members that do not take the most steps.
        extreme: Whether members are those that lose least and most by few steps, or else the
            earliest.
    """

    adapter: int
    parts: tuple[tuple[int, int, int], ...]
    duration: int
    cut: int
    extreme: bool

    @property
    def members(self) -> int:
        """Members of the batch."""
        return sum(n for _, n, _ in self.parts)


@dataclass(frozen=True, slots=True)
class PatternArrays:
    """Patterns as rows of arrays, by adapter.

    Attributes:
        moves: :data:`.MOVES`; a last row ends them. What they cost is filled in when it is tried.
        rows: :data:`PATTERNS`; a last row ends them.
        parts: :data:`PATTERN_PARTS`.
    """

    moves: NDArray[np.void]
    rows: NDArray[np.void]
    parts: NDArray[np.void]

    @classmethod
    def of(cls, patterns: Sequence[Pattern]) -> PatternArrays:
        """Return the arrays of patterns."""
        moves = np.zeros(len(patterns) + 1, dtype=MOVES)
        rows, parts = np.zeros(len(patterns) + 1, dtype=PATTERNS), list[tuple[int, int, int]]()
        for move, row, pattern in zip(moves, rows, patterns, strict=False):
            move["duration"] = pattern.duration
            row["part_at"], row["members"] = len(parts), pattern.members
            row["cut"], row["extreme"] = pattern.cut, pattern.extreme
            parts += pattern.parts
        rows["part_at"][-1] = len(parts)
        return cls(moves, rows, np.array(parts, dtype=PATTERN_PARTS))


def step_counts(kinds: Sequence[JobClass], adapter: int) -> list[int]:
    """Return the step counts that requests of an adapter offer, rising."""
    mine = [kind for kind in kinds if kind.adapter == adapter]
    return sorted({kind.jobs[0].options[o].steps for kind in mine for o in kind.ways})


def losses_by_rank(kinds: Sequence[JobClass]) -> Floats:
    """Return quality losses by class and place of the step count, infinity where it has none."""
    counts = {a: step_counts(kinds, a) for a in {kind.adapter for kind in kinds}}
    widest = max((len(each) for each in counts.values()), default=1)
    found = np.full((len(kinds), widest), math.inf)
    for q, kind in enumerate(kinds):
        steps = counts[kind.adapter]
        for o in kind.ways:
            option = kind.jobs[0].options[o]
            found[q, steps.index(option.steps)] = option.quality_loss
        found[q, len(steps) :] = found[q, len(steps) - 1]
    return found


def gains(losses: Floats) -> Floats:
    """Return by class what the fewest steps lose beyond the most; infinity without the fewest."""
    few, most = losses[:, 0], losses[:, -1]
    known = np.where(np.isinf(few), math.inf, few) - np.where(np.isinf(most), 0.0, most)
    return np.where(np.isinf(most) & ~np.isinf(few), -math.inf, known)


def dues(kinds: Sequence[JobClass]) -> NDArray[np.void]:
    """Return :data:`DUES` of the classes."""
    rows = np.zeros(len(kinds), dtype=DUES)
    rows["due"] = UNLIMITED
    for row, kind in zip(rows, kinds, strict=True):
        deadline = kind.jobs[0].deadline
        if kind.late_loss > 0.0 and deadline is not None:
            row["due"], row["late"] = int(kind.arrivals[0]) + deadline, kind.late_loss
    return rows


def rooms(problem: Problem) -> Ints:
    """Return what members may use by GPU kind, adapter and resource, no other one resident."""
    site = problem.site
    return np.array(
        [
            [
                [UNLIMITED if free is None else free for free in site.room(gpu, frozenset((a,)))]
                for a in range(len(site.adapter_ids))
            ]
            for gpu in (kind.gpus[0] for kind in gpu_kinds(problem))
        ],
        dtype=np.int64,
    )


def members_of(
    kinds: Sequence[JobClass],
    losses: Floats,
    pattern: Pattern,
    taken: Sequence[tuple[int, Sequence[Job]]],
) -> list[tuple[int, int]]:
    """Return job and option of each member of a pattern.

    Args:
        kinds: The classes.
        losses: Those of :func:`losses_by_rank`.
        pattern: The pattern.
        taken: The jobs that take part, by class. Those that lose least by few steps get the fewest.
    """
    steps, gain = step_counts(kinds, pattern.adapter), gains(losses)
    ranks = [rank for rank, n, _ in pattern.parts for _ in range(n)]
    order = sorted((gain[q], job.arrival, q, job.index) for q, jobs in taken for job in jobs)
    members = []
    for (_, _, q, index), rank in zip(order, ranks, strict=True):
        options = kinds[q].jobs[0].options
        members.append((index, next(o for o in kinds[q].ways if options[o].steps == steps[rank])))
    return sorted(members)


def patterns_of(problem: Problem) -> list[Pattern]:
    """Return the patterns of all adapters, by adapter.

    Raises:
        InputError: One has too many.
    """
    kinds, found = classes(problem), list[Pattern]()
    for a in sorted({kind.adapter for kind in kinds}):
        mine = list(itertools.islice(_patterns(problem, kinds, a), MOST_PATTERNS + 1))
        if len(mine) > MOST_PATTERNS:
            raise InputError(
                f"adapter {problem.site.adapter_ids[a]!r} has too many different batches, and more "
                f"than {MOST_PATTERNS} patterns of them",
                hint="bound the batch size, offer fewer options, or use --solver lagrangian",
            )
        found += mine
    return found


def _patterns(problem: Problem, kinds: Sequence[JobClass], adapter: int) -> Iterator[Pattern]:
    """Yield the patterns of one adapter."""
    clock, steps = problem.site.clock, step_counts(kinds, adapter)
    mine = [kind for kind in kinds if kind.adapter == adapter]
    most = max(_largest(problem, mine, kind.gpus[0]) for kind in gpu_kinds(problem))
    for counts in itertools.product(range(most + 1), repeat=len(steps)):
        if not 0 < sum(counts) <= most:
            continue
        members = [s for s, n in zip(steps, counts, strict=True) for _ in range(n)]
        ends, duration = clock.ends(tuple(members))
        parts = tuple((rank, n, ends[steps[rank]]) for rank, n in enumerate(counts) if n)
        for extreme in (False, True):
            yield Pattern(adapter, parts, duration, sum(counts[:-1]), extreme)


def _largest(problem: Problem, kinds: Sequence[JobClass], gpu: int) -> int:
    """Return the most jobs of a batch of one adapter, or more; at most :data:`.QUEUED`."""
    site, most = problem.site, min(sum(len(kind.jobs) for kind in kinds), QUEUED)
    if site.clock.largest is not None:
        most = min(most, site.clock.largest)
    room = site.room(gpu, frozenset((kinds[0].adapter,)))
    for free, *needs in zip(room, *(kind.jobs[0].demand for kind in kinds), strict=True):
        if free is not None and min(needs) > 0:
            most = min(most, free // min(needs))
    return max(0, most)
