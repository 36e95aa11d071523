"""A comparison in sentences, the main result first, and the notes that a reader needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from pats_opt.execute.compare.document import (
    ComparedFigure,
    ExecutionComparison,
    MissingRequests,
    TimesBySize,
    TimesLine,
)
from pats_opt.execute.compare.pairing import ExecutedBatch
from pats_opt.execute.compare.timeline import DurationFactors, needs_retiming
from pats_opt.execute.record import Execution, Phase
from pats_opt.model.problem import Problem
from pats_opt.wording import counted, number, percent


def sentences(comparison: ExecutionComparison) -> list[str]:
    """Return the results and the notes, compact enough for a terminal."""
    return [*results(comparison), *comparison.notes]


def results(comparison: ExecutionComparison) -> list[str]:
    """Return the results without the notes."""
    return [
        *_loss(comparison),
        *_times(comparison),
        *_batches(comparison),
        *_constants(comparison),
        *accuracy_sentence(comparison),
        *_live(comparison),
    ]


def named(figures: tuple[ComparedFigure, ...], name: str) -> ComparedFigure:
    """Return the figure of this name."""
    return next(figure for figure in figures if figure.name == name)


def promised(comparison: ExecutionComparison) -> str:
    """Return the name of the prediction."""
    return "simulated" if comparison.live else "predicted"


def _loss(comparison: ExecutionComparison) -> Iterator[str]:
    loss = named(comparison.loss, "loss")
    if not comparison.measured:
        yield f"Nothing was run; the predicted loss is {number(loss.predicted)}."
        return
    text = f"The loss was {number(loss.measured)}, {promised(comparison)} {number(loss.predicted)}"
    if not comparison.complete:
        yield f"{text}, but not every request counts in it."
        return
    assert loss.measured is not None
    assert loss.predicted is not None
    assert loss.unrounded is not None
    difference = loss.measured - loss.predicted
    if loss.ratio is not None and difference:
        text += f" ({change(loss.ratio)})"
    rounding = loss.unrounded - loss.predicted
    if rounding:
        text += (
            f": {signed(rounding)} because durations are not rounded up to ticks, "
            f"{signed(difference - rounding)} because they were not what the constants say"
        )
    yield f"{text}."


def _times(comparison: ExecutionComparison) -> Iterator[str]:
    if not comparison.measured:
        return
    side, parts = promised(comparison), []
    for name, what in (
        ("makespan_s", "The last batch ended"),
        ("serving_s", "serving took"),
        ("switching_s", "switching"),
    ):
        figure = named(comparison.totals, name)
        known = "" if figure.predicted is None else f" ({side} {number(figure.predicted)})"
        at = "at " if name == "makespan_s" else ""
        parts.append(f"{what} {at}{number(figure.measured)} s{known}")
    memory = named(comparison.totals, "peak_memory_gib")
    if memory.measured is not None:
        parts.append(
            f"memory peaked at {number(memory.measured, 3)} GiB "
            f"({side} {number(memory.predicted, 3)})"
        )
    yield f"{', '.join(parts)}."


def _batches(comparison: ExecutionComparison) -> Iterator[str]:
    ratios = [row.batch_ratio for row in comparison.batches if row.batch_ratio is not None]
    if ratios:
        yield (
            f"Batches took {number(median(ratios), 3)} times what the instance's constants predict "
            f"before rounding (median of {len(ratios)}; {number(min(ratios), 3)} to "
            f"{number(max(ratios), 3)})."
        )


def _constants(comparison: ExecutionComparison) -> Iterator[str]:
    steps = comparison.constants.steps
    if steps.sizes:
        yield f"A step takes {_fitted(steps)}."
    if (beside := comparison.constants.step_overhead) is not None:
        yield (
            f"Of a step, {number(1000 * beside.median_s, 3)} ms (median; p95 "
            f"{number(1000 * beside.p95_s, 3)}) are not the UNet."
        )
    if comparison.constants.overheads.gpu.sizes:
        yield f"Beside its steps, a batch takes {_fitted(comparison.constants.overheads.gpu)}."
    for kind in comparison.constants.switching:
        known = "" if kind.predicted_s is None else f"; the instance says {milli(kind.predicted_s)}"
        yield (
            f"To {kind.kind} takes {milli(kind.median_s)} (median of {kind.count}, p95 "
            f"{milli(kind.p95_s)}{known})."
        )


def _fitted(times: TimesBySize) -> str:
    """The line, or the one figure, with what the instance says where most was measured."""
    most = max(times.sizes, key=lambda size: size.count)
    known = f"; the instance says {milli(most.predicted_s)}" if most.predicted_s is not None else ""
    if times.line is None:
        return (
            f"{milli(most.median_s)} at batch size {most.n}, the only one measured (so no line can "
            f"be fitted){known}"
        )
    return (
        f"{line_text(times.line)} ({fit_text(times.line)}), {milli(most.median_s)} at n = {most.n}"
        f"{known}"
    )


def fit_text(line: TimesLine) -> str:
    """Return the quality of a line's fit."""
    if line.bounded:
        return f"the best line falls below 0 and was held there; {_r2(line)}"
    if line.sizes == 2:
        return "through two sizes a line always passes"
    return _r2(line)


def _r2(line: TimesLine) -> str:
    if line.r2 is None:
        return f"level over {line.sizes} sizes"
    share = "> 0.999" if line.r2 > 0.999 else number(line.r2, 3)
    return f"R² {share} over {line.sizes} sizes"


def line_text(line: TimesLine) -> str:
    """Return the formula of a line."""
    return f"{milli(line.base)} + {milli(line.per_sample)} * n"


def accuracy_sentence(comparison: ExecutionComparison) -> Iterator[str]:
    """Yield the accuracy of the old and new constants; nothing where none were measured."""
    if comparison.recalibrated is None:
        return
    accuracy = comparison.recalibrated.accuracy
    if accuracy.before_s is None:
        yield (
            f"The measured constants miss batches of {number(accuracy.mean_s, 3)} s by "
            f"{number(accuracy.after_s, 2)} s on average (fitted to these "
            f"{counted(accuracy.batches, 'batch', 'batches')})."
        )
        return
    yield (
        f"The instance's constants miss batch seconds by {number(accuracy.before_s, 3)} s on "
        f"average ({number(accuracy.grid_s, 3)} s in whole ticks), the measured ones by "
        f"{number(accuracy.after_s, 2)} s (fitted to these "
        f"{counted(accuracy.batches, 'batch', 'batches')} of {number(accuracy.mean_s, 3)} s)."
    )


def _live(comparison: ExecutionComparison) -> Iterator[str]:
    alike, apart = comparison.composition, comparison.differences
    if alike is not None:
        yield (
            f"{alike.same} of {counted(alike.live, 'live batch', 'live batches')} had the members "
            f"and options of one of the {alike.simulated} simulated."
        )
    if apart is not None:
        way = "longer" if apart.mean_s >= 0 else "shorter"
        yield (
            f"Latencies were {number(abs(apart.mean_s), 3)} s {way} on average than "
            f"{promised(comparison)} "
            f"(median {signed(apart.p50_s)}, 5 % to 95 %: {signed(apart.p5_s)} to "
            f"{signed(apart.p95_s)} s)."
        )


def change(ratio: float) -> str:
    """Return a ratio as a percentage more or less."""
    return f"{percent(abs(ratio - 1))} {'more' if ratio >= 1 else 'less'}"


def signed(value: float) -> str:
    """Return a figure with its sign."""
    return f"{'+' if value >= 0 else '-'}{number(abs(value), 3)}"


def milli(seconds: float) -> str:
    """Return seconds in the unit that reads best."""
    return f"{number(1000 * seconds, 3)} ms" if seconds < 1 else f"{number(seconds, 3)} s"


def schedule_notes(broken: int, gaps: MissingRequests) -> Iterator[str]:
    """Yield notes on violated rules and on requests that were not executed."""
    if broken:
        yield f"The schedule breaks {counted(broken, 'rule')}; 'check' lists them."
    yield from _missing_notes(gaps)


def run_notes(
    problem: Problem,
    execution: Execution,
    executed: Sequence[ExecutedBatch],
    factors: DurationFactors,
) -> Iterator[str]:
    """Yield notes on the run."""
    yield from _clock(execution)
    yield from _partial(executed, factors)
    yield from _meaning(problem, execution, executed)


def _missing_notes(gaps: MissingRequests) -> Iterator[str]:
    if gaps.failed:
        text = f"{counted(len(gaps.failed), 'request')} failed"
        if gaps.charged:
            text += f"; {gaps.charged} may be rejected and are charged that loss"
        if gaps.charged < len(gaps.failed):
            text += (
                f"; {len(gaps.failed) - gaps.charged} had to be served, so the measured loss lacks "
                "them"
            )
        yield f"{text}."
    if gaps.missing:
        yield (
            f"{counted(len(gaps.missing), 'request')} neither ran nor may be left out: the "
            "measured loss lacks them and totals are not compared."
        )
    if gaps.unrun:
        yield f"{counted(gaps.unrun, 'batch', 'batches')} of the schedule did not run."


def _clock(execution: Execution) -> Iterator[str]:
    if needs_retiming(execution):
        why = f"in {execution.sittings} sittings" if execution.sittings > 1 else "without waiting"
        yield (
            f"It ran {why}, so measured durations are put on the schedule's clock: each switch and "
            "batch begins when the schedule says, or when its GPU is free if that is later."
        )
    if execution.live:
        yield (
            "The policy decided while it ran. Predicted is what the same policy does in the "
            "simulator; each batch that ran is held against the constants for its own members."
        )
        if execution.sittings > 1:
            yield f"It ran in {execution.sittings} sittings; its clock stood still between them."


def _partial(executed: Sequence[ExecutedBatch], factors: DurationFactors) -> Iterator[str]:
    resumed = sum(batch.run.resumed for batch in executed)
    if resumed:
        yield (
            f"{counted(resumed, 'batch was', 'batches were')} resumed after an interruption: left "
            "out of fits and of batch-by-batch ratios. On the timeline such a batch takes its "
            f"prediction times {number(factors.batch, 3)} (its switch times "
            f"{number(factors.switch, 3)}), which is what the whole batches took by theirs."
        )
    split = sum(bool(batch.run.splits) for batch in executed)
    if split:
        yield (
            f"Memory ran out in {counted(split, 'batch', 'batches')}, which went on in parts; left "
            "out of fits."
        )
    failing = sum(bool(batch.failed) for batch in executed)
    if failing:
        yield f"{counted(failing, 'batch', 'batches')} with a failed request left out of fits."


def _meaning(
    problem: Problem, execution: Execution, executed: Sequence[ExecutedBatch]
) -> Iterator[str]:
    if problem.site.clock.slotted:
        yield (
            "The instance is of the slotted model, which predicts no seconds and counts latency to "
            "a batch's start; the measured loss counts it to the image."
        )
    if execution.model.shrink > 1:
        yield (
            f"Widths and heights were divided by {execution.model.shrink}: the times are not those "
            "of the instance's sizes."
        )
    sizes = {
        (r.width, r.height)
        for batch in executed
        for r in (problem.instance.requests[job.position] for job, _, _ in batch.members)
    }
    if len(sizes) > 1:
        yield f"Images of {len(sizes)} sizes; step times by batch size mix them."
    if executed and all(batch.run.peak_gib is None for batch in executed):
        yield "The device does not tell how much memory was in use."
    elif executed:
        yield "Measured memory is what was allocated, without the driver's own share."
    if any(s.phase is Phase.SAVE for batch in executed for s in batch.run.spans):
        yield (
            "Images are saved beside the GPU's work: latencies count saving, batch seconds do not."
        )
