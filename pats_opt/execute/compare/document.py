"""Documents of a comparison, as plain data that goes into JSON.

All times are seconds on the schedule's clock. A ratio is measured by predicted (see
:func:`pats_opt.tables.statistics.ratio`).
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from pats_opt.execute.compare.distances import LatentDistances
from pats_opt.execute.record import LatentHits, LoadingCost
from pats_opt.tables.schedule_table import TimedBatch


class ComparedFigure(Struct, frozen=True, kw_only=True):
    """One figure, predicted and measured.

    Attributes:
        name: Its name: of a term of the loss, or of :data:`pats_opt.tables.METRICS`.
        predicted: On the tick grid, as the checker has it.
        unrounded: Predicted for the same batches, with durations not rounded up to ticks.
        measured: As it was.
        ratio: Measured by ``predicted``.
        unrounded_ratio: Measured by ``unrounded``.
    """

    name: str
    predicted: float | None = None
    unrounded: float | None = None
    measured: float | None = None
    ratio: float | None = None
    unrounded_ratio: float | None = None


class BatchRow(Struct, frozen=True, kw_only=True):
    """One batch that was run, against what the instance's constants say of its composition.

    Attributes:
        gpu: Id of its GPU.
        index: Its place in the GPU's list of batches.
        members: Requests in it.
        failed: Those that have no image.
        splits: How often memory ran out and a part of it was split.
        resumed: Whether a part of it was made before an interruption; then its times are not those
            of the whole batch, and there is no ratio.
        switch_predicted_s: Seconds of loading and activation, before rounding to ticks.
        switch_s: Those that were measured.
        switch_ratio: Measured by predicted.
        batch_predicted_s: Seconds from its start to its end, in whole ticks.
        batch_unrounded_s: The same before rounding.
        batch_s: Those that were measured.
        batch_ratio: Measured by ``batch_unrounded_s``.
        end_predicted_s: When the schedule ends it; None in a live run.
        end_s: When it ended.
        peak_predicted_gib: Base model, residents and members.
        peak_gib: Most device memory allocated; None where the device does not report it.
    """

    gpu: str
    index: int
    members: int
    failed: int
    splits: int
    resumed: bool
    switch_predicted_s: float | None
    switch_s: float
    switch_ratio: float | None
    batch_predicted_s: float | None
    batch_unrounded_s: float | None
    batch_s: float
    batch_ratio: float | None
    end_predicted_s: float | None
    end_s: float
    peak_predicted_gib: float
    peak_gib: float | None


class TimedLoad(Struct, frozen=True, kw_only=True):
    """One load beside serving, in seconds on the schedule's clock.

    Attributes:
        index: Its place in the GPU's list of loads.
        evict: Adapters that leave as it starts.
        hidden: Share of its seconds in which the GPU serves a batch.
    """

    gpu: str
    index: int
    adapter: str
    evict: tuple[str, ...] = ()
    start_s: float
    seconds: float
    hidden: float = 0.0

    @property
    def end_s(self) -> float:
        """When batches can use the adapter."""
        return self.start_s + self.seconds


class TimesLine(Struct, frozen=True, kw_only=True):
    """``base + per_sample * n``, fitted by least squares to the median at each n.

    Each median weighs as many measurements as it is of. Neither figure is below 0: an instance
    could not state it.

    Attributes:
        base: Seconds whatever n.
        per_sample: Seconds for each of the n.
        r2: Share of the weighted variance that it explains; None where the medians are all alike.
        rms_s: Root of the weighted mean square of what it misses.
        sizes: Different n; through two of them a line always passes.
        bounded: Whether the best line would have had a figure below 0.
    """

    base: float
    per_sample: float
    r2: float | None
    rms_s: float
    sizes: int
    bounded: bool = False

    def __call__(self, n: int) -> float:
        """Seconds at ``n``."""
        return self.base + self.per_sample * n


class SizeTimes(Struct, frozen=True, kw_only=True):
    """Seconds measured at one n (of a step: the active batch size); quartiles are of those seen.

    ``predicted_s`` is None where the instance says nothing of this n.
    """

    n: int
    count: int
    median_s: float
    q25_s: float
    q75_s: float
    predicted_s: float | None = None


class TimesBySize(Struct, frozen=True, kw_only=True):
    """Seconds by n, and the line through them; None where only one n was measured."""

    sizes: tuple[SizeTimes, ...]
    line: TimesLine | None

    @property
    def most(self) -> SizeTimes:
        """The size that was measured most often."""
        return max(self.sizes, key=lambda size: size.count)


class SwitchTimes(Struct, frozen=True, kw_only=True):
    """Switching of one kind.

    Attributes:
        kind: ``activate``, ``load from host``, ``load from disk`` or ``load``; with
            ``beside serving`` where it was.
        count: How often.
        median_s: Median seconds.
        p95_s: Their 95 % quantile.
        mib: Median MiB copied; None where that was not noted.
        mib_per_s: All MiB by all seconds of the spans that noted them.
        predicted_s: Median of what the instance says for the same adapters.
        ratio: ``median_s`` by ``predicted_s``.
    """

    kind: str
    count: int
    median_s: float
    p95_s: float
    mib: float | None
    mib_per_s: float | None
    predicted_s: float | None
    ratio: float | None


class StepOverhead(Struct, frozen=True, kw_only=True):
    """Seconds of a step outside the UNet: the scheduler's and the engine's."""

    count: int
    median_s: float
    p95_s: float


class OverheadTimes(Struct, frozen=True, kw_only=True):
    """Seconds a batch spends beside its steps, each by the batch's size n.

    Attributes:
        encode: Prompts to embeddings, initial noise.
        decode: Latents to images.
        save: Images to files; beside the GPU's work.
        all: The three together, the instance's ``overhead_s``.
        gpu: What a batch takes beyond its steps, whatever it goes to (saving and activation left
            out): by it the constants predict batch seconds.
    """

    encode: TimesBySize
    decode: TimesBySize
    save: TimesBySize
    all: TimesBySize
    gpu: TimesBySize


class MeasuredConstants(Struct, frozen=True, kw_only=True):
    """The constants of the cost model, as measured.

    Attributes:
        batches: Batches that they are from: those run whole, with no failure.
        steps: Seconds a step by active batch size.
        step_overhead: What of it is not the UNet; None where that was not noted.
        switching: Kinds of switching seen.
        overheads: Seconds beside the steps.
        priming_s: Seconds of latents made before the run, which no batch pays.
    """

    batches: int
    steps: TimesBySize
    step_overhead: StepOverhead | None
    switching: tuple[SwitchTimes, ...]
    overheads: OverheadTimes
    priming_s: float


class PredictionAccuracy(Struct, frozen=True, kw_only=True):
    """Mean absolute error of batch seconds, over the batches run whole, with no failure.

    Attributes:
        mean_s: Mean measured seconds of these batches.
        grid_s: Error of the instance's constants, in whole ticks; None of a slotted instance.
        before_s: The same before rounding to ticks.
        after_s: Error of the measured constants before rounding. They were fitted to these batches.
    """

    batches: int
    mean_s: float
    grid_s: float | None
    before_s: float | None
    after_s: float


class Recalibration(Struct, frozen=True, kw_only=True):
    """The instance's constants as measured.

    Attributes:
        text: JSON object with ``service``, ``switching`` and ``adapters``, to paste into the
            instance.
        remarks: What was not measured and how it was filled in, a sentence each.
        accuracy: How well they predict.
    """

    text: str
    remarks: tuple[str, ...]
    accuracy: PredictionAccuracy


class LatencyDifferences(Struct, frozen=True, kw_only=True):
    """Measured less predicted latency, over the requests that both serve; quantiles by name."""

    count: int
    mean_s: float
    min_s: float
    p5_s: float
    p25_s: float
    p50_s: float
    p75_s: float
    p95_s: float
    max_s: float


class BatchComposition(Struct, frozen=True, kw_only=True):
    """Similarity of the batches of a live run to the simulated ones.

    Attributes:
        live: Batches run.
        same: Batches run whose members and options are those of a simulated batch.
        same_options: Requests that both serve with the same option.
        both: Requests that both serve.
    """

    simulated: int
    live: int
    same: int
    same_options: int
    both: int


class MissingRequests(Struct, frozen=True, kw_only=True):
    """Requests and batches without which a measured loss is not one of all requests.

    Attributes:
        failed: Requests without an image, by id; those that may be rejected are charged as such.
        charged: How many of ``failed`` are.
        missing: Requests in no batch that was run and not rejected, by id.
        unrun: Batches of the schedule that were not run.
    """

    failed: tuple[str, ...]
    charged: int
    missing: tuple[str, ...]
    unrun: int

    @property
    def none(self) -> bool:
        """True where the measured loss counts every request."""
        return len(self.failed) == self.charged and not self.missing


class ExecutionComparison(Struct, frozen=True, kw_only=True):
    """Comparison of an execution with its prediction.

    Attributes:
        live: Whether a policy decided while it ran; then "predicted" is its simulation, and batches
            of the two need not match.
        slotted: Whether the instance is of the slotted model, which predicts no seconds.
        retimed: Whether measured durations were put on the schedule's clock (see :mod:`timeline`).
        complete: Whether the measured loss counts every request.
        gaps: What is missing of it where it does not.
        totals: Makespan, serving, switching, memory.
        loss: The terms of the loss, and their sum, ``loss``.
        service: Latencies, waits, batches.
        batches: Every batch that was run.
        constants: The measured constants.
        recalibrated: The instance with them; None where nothing was measured.
        differences: Of latencies; None where no request is served by both.
        composition: Of a live run, how alike the batches are.
        predicted: The predicted batches, on the grid.
        measured: The batches as they were run, on the schedule's clock.
        predicted_loads: The predicted loads beside serving, on the grid.
        measured_loads: Those that were run, on the schedule's clock.
        loading: What they did to the steps beside them; None where there were none.
        latents: Look-ups in a folder of latents; None where the run has none.
        distances: Images that used them against a reference run; None where none is named.
        notes: What a reader has to know of these figures, a sentence each.
    """

    format: Literal["pats-opt/comparison"] = "pats-opt/comparison"
    version: Literal[1] = 1
    live: bool
    slotted: bool
    retimed: bool
    complete: bool
    gaps: MissingRequests
    totals: tuple[ComparedFigure, ...]
    loss: tuple[ComparedFigure, ...]
    service: tuple[ComparedFigure, ...]
    batches: tuple[BatchRow, ...]
    constants: MeasuredConstants
    recalibrated: Recalibration | None
    differences: LatencyDifferences | None
    composition: BatchComposition | None
    predicted: tuple[TimedBatch, ...]
    measured: tuple[TimedBatch, ...]
    predicted_loads: tuple[TimedLoad, ...] = ()
    measured_loads: tuple[TimedLoad, ...] = ()
    loading: LoadingCost | None = None
    latents: LatentHits | None = None
    distances: LatentDistances | None = None
    notes: tuple[str, ...]
