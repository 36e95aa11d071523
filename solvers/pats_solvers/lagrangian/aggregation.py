"""Classes and batches of one adapter that a chain can tell apart.

Classes are kept where their backlogs and batches are few enough. Else they are merged, and what
jobs of a merged class differ in is priced (:mod:`pats_solvers.lagrangian.merging`). Jobs that offer
other step counts stay apart where that is possible: options there decide the class, and counting
is exact where prices are not.
"""

from __future__ import annotations

import contextlib
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

#: Batches by backlog told apart up to which merged classes are parted.
MOVES_PER_STATE = 10

#: Batches of merged classes up to which levels of demand are told apart.
LEVEL_MOVES = 600


class ChainClasses(NamedTuple):
    """Batches of the classes of one adapter, and the caps of their backlogs.

    Where the classes are lanes, ``lanes`` has what their jobs differ in.
    """

    kinds: tuple[JobClass, ...]
    moves: tuple[Move, ...]
    caps: Ints
    lanes: tuple[MergedClass, ...] = ()


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
    problem: Problem,
    kinds: Sequence[JobClass],
    jobs: Mapping[int, set[int]],
    states: int,
    lanes: bool = False,
) -> tuple[dict[int, ChainClasses], tuple[MergedClass, ...]]:
    """Return classes and batches of one adapter by GPU, and the merged ones among the classes.

    Classes are kept where the states and the batches can be told apart. Else they are merged into
    as many as backlogs of all their jobs can be told apart, with levels of demand where there are
    few batches.

    Args:
        problem: The problem.
        kinds: The classes.
        jobs: Indices of the jobs looked at, by GPU.
        states: Backlogs told apart, at most.
        lanes: Whether classes that are too many are parted into lanes in place of that.
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
    if lanes:
        mine = {
            gpu: here
            for gpu, here in jobs.items()
            if here & {j.index for k in kinds for j in k.jobs}
        }
        return {gpu: in_lanes(problem, kinds, gpu, here, states) for gpu, here in mine.items()}, ()
    members = max(_members(problem, kinds, gpu) for gpu in jobs)
    for parts in _partitions(problem, kinds, members, states):
        for levels in (3, 2, 1):
            merged = tuple(merged_class(problem, part, levels) for part in parts)
            found = listed([each.kind for each in merged])
            few = found and max(len(each.moves) for each in found.values()) <= LEVEL_MOVES
            if found is not None and (few or levels == 1):
                return found, merged
    raise AssertionError("one class can always be listed")


def in_lanes(
    problem: Problem, kinds: Sequence[JobClass], gpu: int, jobs: set[int], states: int
) -> ChainClasses:
    """Return the jobs of one adapter in lanes, taken in turns in the order of arrival.

    A job in a lane waits only until the next one of its lane arrives, then it is cut. So a chain
    tells the latest jobs apart, whatever they differ in, in one backlog for each set of them.
    """
    mine = sorted(
        ((job, kind) for kind in kinds for job in kind.jobs if job.index in jobs),
        key=lambda each: (each[0].arrival, each[0].index),
    )
    single = [alone for job, kind in mine if (alone := restricted(kind, {job.index})) is not None]
    price = min(kind.price for kind in kinds)  # the same on all GPUs
    for width in range(min(len(mine), int(math.log2(max(2, states)))), 0, -1):
        lanes = [merged_class(problem, single[k::width], 1, price) for k in range(width)]
        latest = [replace(lane.kind, jobs=lane.kind.jobs[:1]) for lane in lanes]
        with contextlib.suppress(InputError):  # more batches than can be listed, but of one lane
            found = undominated(latest, moves(problem, latest, kinds[0].adapter, gpu))
            caps = np.ones(width, dtype=np.int64)
            return ChainClasses(
                tuple(lane.kind for lane in lanes), tuple(found), caps, tuple(lanes)
            )
    raise AssertionError("the batches of one lane can always be listed")


def _partitions(
    problem: Problem, kinds: Sequence[JobClass], members: int, states: int
) -> list[list[Sequence[JobClass]]]:
    """Return ways to part classes, the finest first, the last one into a single part.

    Classes that offer other step counts are in other parts. The part that loses most in being
    merged is halved as long as backlogs can be told apart, and batches of up to ``members`` are
    few beside them.
    """
    groups: dict[frozenset[int], list[JobClass]] = {}
    for kind in kinds:
        groups.setdefault(frozenset(o.steps for o in kind.jobs[0].options), []).append(kind)
    found: list[list[Sequence[JobClass]]] = [[list(kinds)]]
    parts = [_Part(problem, group) for group in groups.values()]
    while math.prod(part.jobs + 1 for part in parts) <= states:
        ways = sum(part.ways for part in parts)
        if math.comb(members + ways, ways) > min(MOST_MOVES, MOVES_PER_STATE * states):
            break
        found.append([part.kinds for part in parts])
        widest = max(parts, key=lambda part: part.loss)
        if widest.loss == 0.0:
            break
        parts = [part for part in parts if part is not widest]
        parts += [_Part(problem, half) for half in widest.halves()]
    return found[::-1]


class _Part:
    """Classes that may be merged.

    Attributes:
        kinds: The classes, along what they differ in most.
        jobs: How many jobs they have.
        ways: How many step counts.
        loss: Rough loss of merging them, over all jobs.
    """

    def __init__(self, problem: Problem, kinds: Sequence[JobClass]) -> None:
        sizes = np.array([len(kind.jobs) for kind in kinds])
        features = np.array([_features(problem, kind) for kind in kinds])
        apart = features - np.average(features, axis=0, weights=sizes)
        spread = sizes @ np.abs(apart)
        widest = int(np.argmax(spread))
        self.kinds = [kinds[i] for i in np.argsort(features[:, widest], kind="stable")]
        self.ways = len({option.steps for kind in kinds for option in kind.jobs[0].options})
        self.jobs, self.loss = int(sizes.sum()), float(spread[widest]) if len(kinds) > 1 else 0.0

    def halves(self) -> tuple[list[JobClass], list[JobClass]]:
        """Return the classes with less and with more, as many jobs in each as can be."""
        count = np.cumsum([len(kind.jobs) for kind in self.kinds])
        middle = 1 + int(np.abs(count[:-1] - self.jobs / 2).argmin())
        return self.kinds[:middle], self.kinds[middle:]


def _features(problem: Problem, kind: JobClass) -> list[float]:
    """Return what tells classes of the same step counts apart, in loss: options, weight, deadline.

    Demand comes last: levels of it are told apart anyway.
    """
    job, clock = kind.jobs[0], problem.site.clock
    losses: dict[int, float] = {}
    for option in job.options:
        losses[option.steps] = min(option.quality_loss, losses.get(option.steps, math.inf))
    typical = 10 * max(clock.quickest(steps) for steps in losses)
    reject = 0.0 if kind.reject_loss is None else kind.reject_loss
    due = kind.late_loss * min(1.0, (job.deadline or 0) / typical)
    demand = [0.01 * need / (1 + need) for need in job.demand]
    options = [losses[steps] for steps in sorted(losses)]
    return [*options, typical * kind.price, kind.late_loss, due, reject, *demand]


def _members(problem: Problem, kinds: Sequence[JobClass], gpu: int) -> int:
    """Return the most jobs of classes of one adapter that a batch can have, or more."""
    site = problem.site
    room = site.room(gpu, frozenset((kinds[0].adapter,)))
    largest = [sum(len(kind.jobs) for kind in kinds)]
    largest += [] if site.clock.largest is None else [site.clock.largest]
    demands = [kind.demand(option) for kind in kinds for option in kind.ways]
    for free, *needs in zip(room, *demands, strict=True):
        if free is not None and min(needs) > 0:
            largest.append(max(0, free // min(needs)))
    return min(largest)


def _listable(problem: Problem, kind: JobClass, gpu: int) -> int:
    """The backlog up to which the batches of one class can all be listed."""
    ways, members = len(kind.ways), _members(problem, (kind,), gpu)
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
