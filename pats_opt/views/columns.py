"""A replayed schedule as plain columns in seconds, from which every picture of it is drawn.

The static figures (:mod:`schedule`) and the interactive ones (:mod:`interactive`) read the same
numbers, so they cannot tell two stories. Lanes count from 0 downwards, one a GPU; a bar's ``top``
is therefore below its ``bottom`` as a number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from pats_opt.core.prices import prices_of
from pats_opt.model.checker import ReplayedBatch
from pats_opt.model.loss import late_loss, latency_loss
from pats_opt.model.problem import Job, Problem, Switch, ids
from pats_opt.model.schedule import Schedule
from pats_opt.tables.queue import steps as queue_of
from pats_opt.tables.request_table import played

if TYPE_CHECKING:
    from pats_opt.tables.request_table import Floats, Ints, Played

#: What a batch without a switch has in its place.
NO_SWITCH = Switch(frozenset(), frozenset(), 0.0, 0)

LANE = 0.84  #: height of a GPU's lane, of 1


class Steps(NamedTuple):
    """A step function: the level ``y[k]`` holds from ``x[k]`` seconds on, the last one for ever."""

    x: Floats
    y: Floats


@dataclass(frozen=True, slots=True)
class Members:
    """One entry a served request, by start; seconds, and heights of the lanes.

    Attributes:
        jobs: The requests.
        options: The option that each is run with.
        batch: Place of its batch among :class:`Batches`.
        gpu: Index of its GPU.
        adapter: Index of its adapter.
        arrival: When it arrives.
        start: When its batch starts.
        end: When its bar ends: its own completion, or the slot's end where the model is slotted.
        done: When it is complete.
        bottom: Lower edge of its bar; the longest lies lowest.
        top: Upper edge of its bar.
    """

    jobs: list[Job]
    options: list[int]
    batch: Ints
    gpu: Ints
    adapter: Ints
    arrival: Floats
    start: Floats
    end: Floats
    done: Floats
    bottom: Floats
    top: Floats


@dataclass(frozen=True, slots=True)
class Batches:
    """One entry a batch, by start; seconds, and heights of the lanes.

    Attributes:
        gpu: Index of its GPU.
        start: When it starts.
        end: When its last member ends.
        size: Its members.
        adapter: The adapter that most members use, -1 where nobody is in it (an invalid one).
        top: Upper edge of its block, as high as it has members.
        first: When its switch starts, or it does where there is none.
    """

    gpu: Ints
    start: Floats
    end: Floats
    size: Ints
    adapter: Ints
    top: Floats
    first: Floats

    @property
    def bottom(self) -> Floats:
        """Lower edge of each block."""
        return self.gpu.astype(float) + LANE


@dataclass(frozen=True, slots=True)
class Switches:
    """One entry a switch that loads, evicts or costs time, by start.

    Attributes:
        batch: Place of the batch that it is for among :class:`Batches`.
        gpu: Index of its GPU.
        start: When it starts; where it takes no time, when its batch does.
        end: When it ends, in whole ticks.
        seconds: Seconds of load and activation paid, before rounding to ticks.
        load: Adapters loaded.
        evict: Adapters evicted.
    """

    batch: Ints
    gpu: Ints
    start: Floats
    end: Floats
    seconds: Floats
    load: list[str]
    evict: list[str]


class PriceLine(NamedTuple):
    """What holding one of these GPUs for a second, or a place in its cache, is worth in loss."""

    gpus: tuple[str, ...]
    hold: Steps
    keep: Steps | None


class Lost(NamedTuple):
    """What one request loses, by term."""

    job: Job
    quality: float
    latency: float
    late: float
    rejection: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.quality + self.latency + self.late + self.rejection


@dataclass(frozen=True)
class Columns:
    """Everything that is drawn of one schedule.

    Attributes:
        problem: The instance on the grid.
        end: Seconds to the last batch's end.
        members: Who is served when.
        batches: The batches.
        switches: The switches.
        memory: GiB in use on each GPU.
        queue: Requests that wait.
        prices: Prices of GPU time, one line for each kind of GPU; empty where there are none.
        rejected: Requests that the schedule rejects.
    """

    problem: Problem
    end: float
    members: Members
    batches: Batches
    switches: Switches
    memory: tuple[Steps, ...]
    queue: Steps
    prices: tuple[PriceLine, ...]
    rejected: tuple[Job, ...]

    @cached_property
    def lost(self) -> tuple[Lost, ...]:
        """What each request loses that is served or rejected, the largest loss first."""
        site, members = self.problem.site, self.members
        ticks = [round(done / site.tick_s) for done in members.done.tolist()]
        served = [
            Lost(
                job,
                job.options[option].quality_loss,
                latency_loss(site, job, done),
                late_loss(site, job, done),
                0.0,
            )
            for job, option, done in zip(members.jobs, members.options, ticks, strict=True)
        ]
        given_up = [Lost(job, 0.0, 0.0, 0.0, job.reject_loss or 0.0) for job in self.rejected]
        return tuple(sorted([*served, *given_up], key=lambda one: (-one.total, one.job.index)))


def columns_of(
    problem: Problem, batches: Sequence[ReplayedBatch], schedule: Schedule | None = None
) -> Columns:
    """The columns of a replayed schedule (see :func:`pats_opt.model.checker.check`).

    Args:
        problem: The instance on the grid.
        batches: What was replayed; a schedule that breaks rules is drawn as far as it can be read.
        schedule: Where it is given, what it says beside its batches: prices and who is rejected.
    """
    import numpy as np

    tick_s = problem.site.tick_s
    ordered = sorted(batches, key=lambda b: (b.batch.start, b.gpu))
    columns = played(problem, ordered)
    ticks, levels = queue_of(columns)
    return Columns(
        problem=problem,
        end=columns.makespan * tick_s,
        members=_members(problem, ordered, columns),
        batches=_batches(problem, ordered),
        switches=_switches(problem, ordered),
        memory=tuple(
            _memory(problem, gpu.index, [b for b in batches if b.gpu == gpu.index])
            for gpu in problem.site.gpus
        ),
        queue=Steps(ticks * tick_s, levels.astype(np.float64)),
        prices=() if schedule is None else tuple(_prices(problem, schedule)),
        rejected=() if schedule is None else tuple(_rejected(problem, schedule)),
    )


def _members(problem: Problem, batches: Sequence[ReplayedBatch], columns: Played) -> Members:
    import numpy as np

    tick_s, slotted = problem.site.tick_s, problem.site.clock.slotted
    batch = columns.batch
    gpu = np.array([b.gpu for b in batches], dtype=np.int64)[batch]
    ends = np.array([b.end for b in batches], dtype=np.float64)[batch]
    # Within a batch the longest lies lowest: rank 0.
    order = np.lexsort((-columns.completion, batch))
    firsts = np.concatenate(([0], np.cumsum(columns.sizes)[:-1])).astype(np.int64)
    rank = np.empty(len(batch), dtype=np.int64)
    rank[order] = np.arange(len(batch)) - firsts[batch[order]]
    height = _heights(problem, batches)[gpu]
    bottom = gpu + LANE - rank * height
    return Members(
        jobs=columns.jobs,
        options=columns.options,
        batch=batch,
        gpu=gpu,
        adapter=columns.adapter,
        arrival=columns.arrival * tick_s,
        start=columns.start * tick_s,
        end=(ends if slotted else columns.completion) * tick_s,
        done=columns.completion * tick_s,
        bottom=bottom,
        top=bottom - height,
    )


def _heights(problem: Problem, batches: Iterable[ReplayedBatch]) -> Floats:
    """The height of a member on each GPU: its largest batch fills the lane."""
    import numpy as np

    largest = np.ones(len(problem.site.gpus))
    for batch in batches:
        largest[batch.gpu] = max(largest[batch.gpu], len(batch.members))
    return LANE / largest


def _batches(problem: Problem, batches: Sequence[ReplayedBatch]) -> Batches:
    import numpy as np

    tick_s = problem.site.tick_s
    gpu = np.array([b.gpu for b in batches], dtype=np.int64)
    size = np.array([len(b.members) for b in batches], dtype=np.int64)
    starts = [(b.batch.start, min(b.batch.switch_start, b.batch.start)) for b in batches]
    ticks = np.array(starts, dtype=np.float64).reshape(-1, 2)
    return Batches(
        gpu=gpu,
        start=ticks[:, 0] * tick_s,
        end=np.array([max(b.end, b.batch.start) for b in batches], dtype=np.float64) * tick_s,
        size=size,
        adapter=np.array([_most(b) for b in batches], dtype=np.int64),
        top=gpu + LANE - size * _heights(problem, batches)[gpu],
        first=ticks[:, 1] * tick_s,
    )


def _most(batch: ReplayedBatch) -> int:
    """The adapter that most members use; -1 where there are none."""
    used = Counter([job.adapter for job, _, _ in batch.members])
    return used.most_common(1)[0][0] if used else -1


def _switches(problem: Problem, batches: Sequence[ReplayedBatch]) -> Switches:
    import numpy as np

    site, tick_s = problem.site, problem.site.tick_s
    places = [k for k, b in enumerate(batches) if b.switch != NO_SWITCH]
    some = [batches[k] for k in places]
    ticks = [b.batch.switch_start if b.switch.ticks else b.batch.start for b in some]
    order = sorted(range(len(some)), key=ticks.__getitem__)
    some = [some[k] for k in order]
    start = np.array([ticks[k] for k in order], dtype=np.float64)
    return Switches(
        batch=np.array([places[k] for k in order], dtype=np.int64),
        gpu=np.array([b.gpu for b in some], dtype=np.int64),
        start=start * tick_s,
        end=(start + np.array([b.switch.ticks for b in some], dtype=np.float64)) * tick_s,
        seconds=np.array([b.switch.seconds for b in some], dtype=np.float64),
        load=[", ".join(ids(site, b.switch.load)) for b in some],
        evict=[", ".join(ids(site, b.switch.evict)) for b in some],
    )


def _memory(problem: Problem, gpu: int, batches: Iterable[ReplayedBatch]) -> Steps:
    """GiB in use: residents from a switch's start on, members from their start to their own end."""
    import numpy as np

    site = problem.site
    held = site.base_vram + sum(site.adapter_vram[a] for a in site.gpus[gpu].resident)
    changes = {0: held}  # by tick: what holds from then on
    for batch in batches:
        held = site.base_vram + sum(site.adapter_vram[a] for a in batch.resident)
        changes[batch.batch.switch_start] = held
        used = held + sum(job.demand[0] for job, _, _ in batch.members)
        changes[batch.batch.start] = used
        for job, _, completion in sorted(batch.members, key=lambda member: member[2]):
            used -= job.demand[0]
            changes[batch.end if site.clock.slotted else completion] = used
    ticks = sorted(changes)
    return Steps(
        np.array(ticks, dtype=np.float64) * site.tick_s,
        np.array([changes[tick] for tick in ticks], dtype=np.float64) / 1e9,
    )


def _prices(problem: Problem, schedule: Schedule) -> Iterable[PriceLine]:
    """The prices that a schedule carries, as loss per second; free after their end."""
    import numpy as np

    prices = prices_of(schedule)
    if prices is None:
        return

    def line(values: tuple[float, ...]) -> Steps:
        starts = np.arange(len(values) + 1, dtype=np.float64) * prices.tick_s
        return Steps(starts, np.array([*values, 0.0]) / problem.site.tick_s)

    for kind in prices.gpus:
        yield PriceLine(kind.gpus, line(kind.hold), line(kind.keep) if kind.keep else None)


def _rejected(problem: Problem, schedule: Schedule) -> Iterable[Job]:
    known: Mapping[str, Any] = problem.job_index()
    return (problem.jobs[known[name]] for name in schedule.rejected if name in known)
