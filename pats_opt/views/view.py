"""A checked schedule with its metrics and drawing data, which all pictures and pages read.

Times are seconds. Lanes count from 0 downwards, one per GPU; the ``top`` of a bar is therefore
below its ``bottom`` as a number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from pats_opt.core.prices import prices_of
from pats_opt.model.checker import Verdict, check
from pats_opt.model.problem import Adapters, Job, Problem
from pats_opt.model.schedule import Schedule
from pats_opt.tables import Metrics, ScheduleTable, bound_on_waiting, measure, queue_steps
from pats_opt.tables.levels import allocation_steps, levels_of, quality_steps
from pats_opt.tables.loader import hidden, memory_steps
from pats_opt.views.bars import BarStyle, bar_style
from pats_opt.wording import counted, label, number

if TYPE_CHECKING:
    from pats_opt.tables.statistics import Flags, Floats, Ints

LANE = 0.84  #: height of a GPU's lane, of 1

#: Where loads run beside serving: height of a GPU's lane, and bounds of its loader's lane below it.
SERVING, LOADER = 0.6, (0.64, 0.88)


#: Spans of time over each of which the quality of what is done is averaged.
QUALITY_SPANS = 60


class StepSeries(NamedTuple):
    """A step function: the level ``y[k]`` holds from ``x[k]`` seconds on, the last one for ever."""

    x: Floats
    y: Floats


class AllocationSeries(NamedTuple):
    """GPUs at each level: the counts ``y[k]``, one per level, hold from ``x[k]`` seconds on."""

    x: Floats
    y: Floats


class LaneBoxes(NamedTuple):
    """Rectangles in the lanes of GPUs: seconds from left to right, heights from top to bottom."""

    left: Floats
    right: Floats
    top: Floats
    bottom: Floats

    @property
    def corners(self) -> Any:
        """The corners, one row per rectangle."""
        import numpy as np

        left, right, top, bottom = self
        x, y = (left, right, right, left), (bottom, bottom, top, top)
        return np.stack((np.stack(x, axis=-1), np.stack(y, axis=-1)), axis=-1)

    def where(self, mask: Flags) -> LaneBoxes:
        """Some of the rectangles."""
        return LaneBoxes(*(side[mask] for side in self))


class GpuPrices(NamedTuple):
    """Price of holding one of these GPUs, and of a place in its cache, as loss per second."""

    gpus: tuple[str, ...]
    hold: StepSeries
    keep: StepSeries | None


class RequestLoss(NamedTuple):
    """Loss of one request, by term."""

    job: Job
    quality: float
    latency: float
    late: float
    rejection: float
    total: float


@dataclass(frozen=True)
class Chart:
    """Drawing data of one schedule.

    Attributes:
        table: What the schedule does, batches by start.
        schedule: The schedule, where its prices and rejected requests are drawn too.
    """

    table: ScheduleTable
    schedule: Schedule | None = None

    @classmethod
    def of(cls, table: ScheduleTable, schedule: Schedule | None = None) -> Chart:
        """Return the chart of a table, whatever the order of its batches."""
        return cls(table.by_start(), schedule)

    @property
    def problem(self) -> Problem:
        """The instance on the grid."""
        return self.table.problem

    @cached_property
    def seconds(self) -> ScheduleTable:
        """The table with its times in seconds."""
        return self.table.in_seconds()

    @property
    def end(self) -> float:
        """Seconds to the end of the last batch or load."""
        loads = self.seconds.loads
        last = 0.0 if loads is None else float(loads.end.max(initial=0.0))
        return max(self.seconds.makespan, last)

    @property
    def lane(self) -> float:
        """Height of a GPU's lane."""
        return LANE if self.table.loads is None else SERVING

    @cached_property
    def loads(self) -> LaneBoxes | None:
        """A bar per load beside serving, from start to end, in a row per channel; None without."""
        import numpy as np

        loads = self.seconds.loads
        if loads is None:
            return None
        free: dict[int, list[float]] = {}  # when each row of a GPU's loader ends
        rows = []
        for gpu, start, end in zip(
            loads.gpu.tolist(), loads.start.tolist(), loads.end.tolist(), strict=True
        ):
            ends = free.setdefault(gpu, [])
            row = next((k for k, busy in enumerate(ends) if busy <= start), len(ends))
            ends[row : row + 1] = [end]
            rows.append(row)
        many = max([self.problem.site.channels or 1, *map(len, free.values())])
        height = (LOADER[1] - LOADER[0]) / many
        top = loads.gpu + LOADER[0] + np.array(rows, dtype=np.float64) * height
        return LaneBoxes(loads.start, loads.end, top, top + height)

    @cached_property
    def hidden(self) -> Floats:
        """Seconds of each load beside serving in which its GPU serves a batch."""
        return hidden(self.seconds)

    @cached_property
    def requests(self) -> LaneBoxes:
        """A bar per request, to its own completion or the end of its slot; the longest lowest."""
        import numpy as np

        requests, batches = self.seconds.requests, self.seconds.batches
        batch, gpu = requests.batch, batches.gpu[requests.batch]
        order = np.lexsort((-requests.completion, batch))
        rank = np.empty(len(batch), dtype=np.int64)
        rank[order] = np.arange(len(batch)) - (np.cumsum(batches.size) - batches.size)[batch[order]]
        height = self._heights[gpu]
        bottom = gpu + self.lane - rank * height
        slotted = self.problem.site.clock.slotted
        end = batches.end[batch] if slotted else requests.completion
        return LaneBoxes(requests.start, end, bottom - height, bottom)

    @cached_property
    def batches(self) -> LaneBoxes:
        """A block per batch, as high as it has members."""
        batches = self.seconds.batches
        bottom = batches.gpu.astype(float) + self.lane
        top = bottom - batches.size * self._heights[batches.gpu]
        return LaneBoxes(batches.start, batches.end, top, bottom)

    @cached_property
    def style(self) -> BarStyle:
        """Colours of the bars."""
        return bar_style(self.table)

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """Levels of approximate caching (steps skipped), shallowest first; none without."""
        return levels_of(self.problem)

    @cached_property
    def allocation(self) -> AllocationSeries:
        """GPUs at each level, by the last batch that each has started."""
        import numpy as np

        times, gpus = allocation_steps(self.table, self.levels)
        return AllocationSeries(times * self.table.unit_s, gpus.astype(np.float64))

    @cached_property
    def quality(self) -> StepSeries:
        """Mean quality of the requests completed in each span of :data:`QUALITY_SPANS`."""
        times, means = quality_steps(self.table, QUALITY_SPANS)
        return StepSeries(times * self.table.unit_s, means)

    @cached_property
    def _heights(self) -> Floats:
        """Height of a request's bar on each GPU: its largest batch fills the lane."""
        import numpy as np

        largest = np.ones(len(self.problem.site.gpus))
        np.maximum.at(largest, self.table.batches.gpu, self.table.batches.size)
        return self.lane / largest

    @cached_property
    def queue(self) -> StepSeries:
        """Requests that wait."""
        times, levels = queue_steps(self.table)
        return StepSeries(times * self.table.unit_s, levels.astype(float))

    @cached_property
    def memory(self) -> tuple[StepSeries, ...]:
        """GiB in use on each GPU."""
        gpus = self.problem.site.gpus
        if self.table.loads is not None:
            return tuple(_last(*memory_steps(self.seconds, gpu.index)) for gpu in gpus)
        return tuple(self._memory(gpu.index, gpu.resident) for gpu in gpus)

    def _memory(self, gpu: int, resident: Adapters) -> StepSeries:
        """GiB in use: residents from a switch's start on, members from their start to their end."""
        import numpy as np

        site, batches, requests = self.problem.site, self.table.batches, self.table.requests

        def held(adapters: Iterable[int]) -> int:
            return site.base_vram + sum(site.adapter_vram[a] for a in adapters)

        known = {some: held(some) for some in set(batches.resident)}  # few sets recur
        mine = np.flatnonzero(batches.gpu == gpu)
        base = np.array([known[batches.resident[k]] for k in mine.tolist()], dtype=np.int64)
        inside = np.flatnonzero(batches.gpu[requests.batch] == gpu)
        inside = inside[np.lexsort((requests.completion[inside], requests.batch[inside]))]
        batch = np.searchsorted(mine, requests.batch[inside])
        demand = np.array([self.problem.jobs[j].demand[0] for j in requests.job[inside].tolist()])
        freed = np.cumsum(demand, dtype=np.int64)
        full = np.zeros(len(mine) + 1, dtype=np.int64)  # demand of all batches before each
        np.add.at(full[1:], batch, demand.astype(np.int64))
        full = np.cumsum(full)
        end = batches.end[requests.batch] if site.clock.slotted else requests.completion
        own = np.arange(len(mine))
        time = np.concatenate(([0.0], batches.switch_start[mine], batches.start[mine], end[inside]))
        level = np.concatenate(
            ([held(resident)], base, base + np.diff(full), (base + full[1:])[batch] - freed)
        )
        order = np.lexsort((np.concatenate(([-1], own, own, batch)), time))
        return _last(time[order] * self.table.unit_s, level[order])

    @cached_property
    def prices(self) -> tuple[GpuPrices, ...]:
        """Prices of GPU time per kind of GPU; none where the schedule carries none."""
        import numpy as np

        prices = None if self.schedule is None else prices_of(self.schedule)
        if prices is None:
            return ()

        def series(values: tuple[float, ...]) -> StepSeries:
            """Loss per second; free after the end."""
            starts = np.arange(len(values) + 1, dtype=np.float64) * prices.tick_s
            return StepSeries(starts, np.array([*values, 0.0]) / self.problem.site.tick_s)

        return tuple(
            GpuPrices(kind.gpus, series(kind.hold), series(kind.keep) if kind.keep else None)
            for kind in prices.gpus
        )

    @cached_property
    def rejected(self) -> tuple[Job, ...]:
        """Requests that the schedule rejects."""
        names = () if self.schedule is None else self.schedule.rejected
        known = self.problem.job_index()
        return tuple(self.problem.jobs[known[name]] for name in names if name in known)

    def losses(self) -> list[RequestLoss]:
        """Return the losses of the served and the rejected requests, the largest first."""
        terms, nothing = self.table.losses, [0.0] * len(self.table.jobs)
        columns = (*(term.tolist() for term in terms), nothing, terms.total.tolist())
        lost = [RequestLoss(*row) for row in zip(self.table.jobs, *columns, strict=True)]
        for job in self.rejected:
            loss = job.reject_loss or 0.0
            lost.append(RequestLoss(job, 0.0, 0.0, 0.0, loss, loss))
        return sorted(lost, key=lambda one: (-one.total, one.job.index))


def _last(time: Floats, level: Ints) -> StepSeries:
    """GiB over time, of quanta: what is changed last at a time holds."""
    import numpy as np

    last = np.append(time[1:] != time[:-1], [True])
    return StepSeries(time[last], level[last] / 1e9)


class NamedChart(NamedTuple):
    """A chart in a picture: its name, where there are several, and the title above its lanes."""

    name: str
    chart: Chart
    title: str = ""

    @property
    def letter(self) -> str:
        """A or B."""
        return self.name.partition(":")[0]


@dataclass(frozen=True)
class ScheduleView:
    """A checked schedule and everything that pages and pictures show of it."""

    problem: Problem
    schedule: Schedule
    verdict: Verdict

    @classmethod
    def of(cls, problem: Problem, schedule: Schedule) -> ScheduleView:
        """Check and replay a schedule.

        Raises:
            InputError: It was made for another instance.
        """
        return cls(problem, schedule, check(problem, schedule))

    @cached_property
    def table(self) -> ScheduleTable:
        """The table of the schedule."""
        return ScheduleTable.from_replay(self.problem, self.verdict.replayed, self.verdict.loads)

    @cached_property
    def chart(self) -> Chart:
        """Its drawing data."""
        return Chart.of(self.table, self.schedule)

    @cached_property
    def metrics(self) -> Metrics:
        """Its metrics."""
        return measure(self.table, max_wait_s=bound_on_waiting(self.schedule.solver.params))

    @property
    def title(self) -> str:
        """Solver and loss in one line, and a warning where the schedule is not valid."""
        wrong = len(self.verdict.violations)
        return f"{label(self.schedule.solver.name)}: loss {number(self.verdict.loss)}" + (
            f", NOT VALID ({counted(wrong, 'violation')})" if wrong else ""
        )

    @property
    def heading(self) -> str:
        """The title, after the instance's name."""
        return f"{label(self.schedule.instance.name, 60)}, {self.title}"
