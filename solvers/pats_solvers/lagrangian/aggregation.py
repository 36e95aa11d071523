"""Classes and batches of one adapter that a chain can tell apart.

Classes are kept where their backlogs and batches are few enough. Else they are merged, and what
jobs of a merged class differ in is priced (:mod:`pats_solvers.lagrangian.merging`). Jobs that offer
other step counts stay apart where that is possible: options there decide the class, and counting
is exact where prices are not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from pats_opt.errors import InputError
from pats_opt.model.problem import Problem
from pats_solvers.common.arrays import Ints
from pats_solvers.common.classes import MOST_MOVES as LISTED
from pats_solvers.common.classes import JobClass, Move, moves, undominated
from pats_solvers.lagrangian.merging import MergedClass, merged_class, restricted

#: Batches of one adapter beyond which its classes are merged.
MOST_MOVES = 4000

#: Batches of merged classes up to which levels of demand are told apart.
LEVEL_MOVES = 600


class ChainClasses(NamedTuple):
    """Batches of the classes of one adapter, and the caps of their backlogs."""

    kinds: tuple[JobClass, ...]
    moves: tuple[Move, ...]
    caps: Ints


def listed_moves(
    problem: Problem, kinds: Sequence[JobClass], gpu: int, states: int
) -> ChainClasses | None:
    """Return the batches of classes of one adapter, or None where these should be merged.

    Batches that take more than a cap are left out: what is beyond the cap has been cut before.

    Args:
        problem: The problem.
        kinds: The classes; those that do not fit the GPU may be among them.
        gpu: The GPU.
        states: Backlogs told apart, at most; one of one job in each class is told apart at least.
    """
    if len(kinds) > max(1, int(math.log2(max(2, states)))):
        return None
    # The longest runs of backlogs are innermost in the arrays.
    ordered = sorted(kinds, key=lambda kind: len(kind.jobs))
    jobs = np.array([len(kind.jobs) for kind in ordered])
    if len(kinds) == 1:
        jobs = np.minimum(jobs, _listable(problem, ordered[0], gpu))
    caps = _caps(jobs, states)
    capped = [replace(kind, jobs=kind.jobs[:cap]) for kind, cap in zip(ordered, caps, strict=True)]
    try:
        found = undominated(capped, moves(problem, capped, kinds[0].adapter, gpu))
    except InputError:  # more than can be listed; of one class they never are
        return None
    if len(found) > MOST_MOVES and len(kinds) > 1:
        return None
    return ChainClasses(tuple(ordered), tuple(found), caps)


def aggregated(
    problem: Problem, kinds: Sequence[JobClass], jobs: Mapping[int, set[int]], states: int
) -> tuple[dict[int, ChainClasses], tuple[MergedClass, ...]]:
    """Return classes and batches of one adapter by GPU, and the merged ones among the classes.

    Classes are kept where the states and the batches can be told apart. Else those that offer the
    same step counts are merged, with levels of demand where batches are few enough; and all of
    them, where that is too much still.

    Args:
        problem: The problem.
        kinds: The classes.
        jobs: Indices of the jobs looked at, by GPU.
        states: Backlogs told apart, at most.
    """

    def listed(chosen: Sequence[JobClass]) -> dict[int, ChainClasses] | None:
        found = {}
        for gpu, mine in jobs.items():
            here = [kind for each in chosen if (kind := restricted(each, mine)) is not None]
            if here:
                moves = listed_moves(problem, here, gpu, states)
                if moves is None:
                    return None
                found[gpu] = moves
        return found

    if (found := listed(kinds)) is not None:
        return found, ()
    groups: dict[frozenset[int], list[JobClass]] = {}
    for kind in kinds:
        groups.setdefault(frozenset(o.steps for o in kind.jobs[0].options), []).append(kind)
    apart = list(groups.values())
    for levels, parts in [(3, apart), (2, apart), (1, apart), (1, [list(kinds)])]:
        merged = tuple(merged_class(problem, part, levels) for part in parts)
        found = listed([each.kind for each in merged])
        if found is not None and (
            levels == 1 or max(len(each.moves) for each in found.values()) <= LEVEL_MOVES
        ):
            return found, merged
    raise AssertionError("one class can always be listed")


def _listable(problem: Problem, kind: JobClass, gpu: int) -> int:
    """The backlog up to which the batches of one class can all be listed."""
    site, ways = problem.site, len(kind.ways)
    room = site.room(gpu, frozenset((kind.adapter,)))
    largest = [len(kind.jobs), *([] if site.clock.largest is None else [site.clock.largest])]
    least = [min(needs) for needs in zip(*map(kind.demand, kind.ways), strict=True)]
    for free, need in zip(room, least, strict=True):
        if free is not None and need > 0:
            largest.append(max(0, free // need))
    members = min(largest)
    if math.comb(members + ways, ways) <= LISTED:
        return len(kind.jobs)
    while math.comb(members + ways, ways) > LISTED:
        members -= 1
    return members


def _caps(jobs: Ints, states: int) -> Ints:
    """Backlog caps whose backlogs number at most ``states``, about equal in all classes."""
    caps = np.minimum(jobs, 1)
    growing = True
    while growing:
        growing = False
        for q in np.argsort(caps, kind="stable"):
            if caps[q] < jobs[q]:
                more = caps.copy()
                more[q] += 1
                if np.prod(more + 1) <= states:
                    caps, growing = more, True
                    break
    return caps.astype(np.int64)
