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
from pats_opt.wording import SAME, counted, number, percent, signed


def sentences(comparison: ExecutionComparison) -> list[str]:
    """Return the results and the notes, compact enough for a terminal."""
    return [*results(comparison), *comparison.notes]


def results(comparison: ExecutionComparison) -> list[str]:
    """Return the results without the notes."""
    found = [
        *_loss(comparison),
        *_times(comparison),
        *_batches(comparison),
        *_constants(comparison),
        *_loading(comparison),
        *_latents(comparison),
        accuracy_sentence(comparison),
        *_live(comparison),
    ]
    return [sentence for sentence in found if sentence]


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
        way = "more" if loss.ratio >= 1 else "less"
        text += f" ({percent(abs(loss.ratio - 1))} {way})"
    rounding = loss.unrounded - loss.predicted
    if abs(rounding) >= SAME:
        text += (
            f": {signed(rounding, 3)} because durations are not rounded up to ticks, "
            f"{signed(difference - rounding, 3)} because they were not what the constants say"
        )
    yield f"{text}."


def _times(comparison: ExecutionComparison) -> Iterator[str]:
    if not comparison.measured:
        return
    side, parts = promised(comparison), []
    for name, what, unit, digits in (
        ("makespan_s", "The last batch ended at", "s", 4),
        ("serving_s", "serving took", "s", 4),
        ("switching_s", "switching", "s", 4),
        ("peak_memory_gib", "memory peaked at", "GiB", 3),
    ):
        of = named(comparison.totals, name)
        if of.measured is not None:
            known = "" if of.predicted is None else f" ({side} {number(of.predicted, digits)})"
            parts.append(f"{what} {number(of.measured, digits)} {unit}{known}")
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


def _loading(comparison: ExecutionComparison) -> Iterator[str]:
    of = comparison.loading
    if of is None:
        return
    hidden = named(comparison.totals, "hidden_load_share")
    known = (
        "" if hidden.predicted is None else f" ({promised(comparison)} {percent(hidden.predicted)})"
    )
    beside = ""
    if of.slowdown is not None:
        beside = f"; a step beside a load took {number(of.slowdown, 3)} times one alone"
    yield (
        f"{counted(of.count, 'load')} beside serving took {number(of.seconds, 3)} s, "
        f"{percent(hidden.measured or 0.0)} of it hidden behind batches{known}{beside}."
    )


def _latents(comparison: ExecutionComparison) -> Iterator[str]:
    of = comparison.latents
    if of is None:
        return
    yield (
        f"{of.hits} of {counted(of.look_ups, 'request')} whose option skips steps started from an "
        f"earlier prompt's latents; {of.skipped} of the {counted(of.asked, 'step')} that their "
        f"options skip were skipped. Latents of {counted(of.stored, 'request')} were stored."
    )


def _fitted(times: TimesBySize) -> str:
    """The line, or the one figure, with what the instance says where most was measured."""
    most = times.most
    known = f"; the instance says {milli(most.predicted_s)}" if most.predicted_s is not None else ""
    if times.line is None:
        return (
            f"{milli(most.median_s)} at batch size {most.n}, the only one measured (so no line can "
            f"be fitted){known}"
        )
    line = f"{milli(times.line.base)} + {milli(times.line.per_sample)} * n"
    return f"{line} ({fit_text(times.line)}), {milli(most.median_s)} at n = {most.n}{known}"


def fit_text(line: TimesLine) -> str:
    """Return the quality of a line's fit."""
    if line.sizes == 2 and not line.bounded:
        return "through two sizes a line always passes"
    fit = "level"
    if line.r2 is not None:
        fit = f"R² {'> 0.999' if line.r2 > 0.999 else number(line.r2, 3)}"
    held = "the best line falls below 0 and was held there; " if line.bounded else ""
    return f"{held}{fit} over {line.sizes} sizes"


def accuracy_sentence(comparison: ExecutionComparison) -> str:
    """Return the accuracy of the old and new constants; empty where none were measured."""
    if comparison.recalibrated is None:
        return ""
    of = comparison.recalibrated.accuracy
    mean, after = number(of.mean_s, 3), number(of.after_s, 2)
    fitted = f"fitted to these {counted(of.batches, 'batch', 'batches')}"
    if of.before_s is None:
        return (
            f"The measured constants miss batches of {mean} s by {after} s on average ({fitted})."
        )
    return (
        f"The instance's constants miss batch seconds by {number(of.before_s, 3)} s on average "
        f"({number(of.grid_s, 3)} s in whole ticks), the measured ones by {after} s ({fitted} of "
        f"{mean} s)."
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
            f"(median {signed(apart.p50_s, 3)}, 5 % to 95 %: {signed(apart.p5_s, 3)} to "
            f"{signed(apart.p95_s, 3)} s)."
        )


def milli(seconds: float) -> str:
    """Return seconds in the unit that reads best."""
    return f"{number(1000 * seconds, 3)} ms" if seconds < 1 else f"{number(seconds, 3)} s"


def notes(
    problem: Problem,
    execution: Execution,
    executed: Sequence[ExecutedBatch],
    factors: DurationFactors,
    *,
    broken: int,
    gaps: MissingRequests,
) -> list[str]:
    """Return the notes that the figures need: on the schedule, the run, and what is missing."""
    failed, lacking = len(gaps.failed), len(gaps.failed) - gaps.charged
    charges = [
        (gaps.charged, f"; {gaps.charged} may be rejected and are charged that loss"),
        (lacking, f"; {lacking} had to be served, so the measured loss lacks them"),
    ]
    sittings, shrink = execution.sittings, execution.model.shrink
    paused = f"in {sittings} sittings" if sittings > 1 else "without waiting"
    resumed = sum(batch.run.resumed for batch in executed)
    split = sum(bool(batch.run.splits) for batch in executed)
    failing = sum(bool(batch.failed) for batch in executed)
    jobs = {job.position for batch in executed for job, _, _ in batch.members}
    sizes = {(r.width, r.height) for r in map(problem.instance.requests.__getitem__, jobs)}
    unmeasured = bool(executed) and all(batch.run.peak_gib is None for batch in executed)
    saved = any(s.phase is Phase.SAVE for batch in executed for s in batch.run.spans)
    table = (
        (broken, f"The schedule breaks {counted(broken, 'rule')}; 'check' lists them."),
        (
            failed,
            f"{counted(failed, 'request')} failed{''.join([text for n, text in charges if n])}.",
        ),
        (
            gaps.missing,
            f"{counted(len(gaps.missing), 'request')} neither ran nor may be left out: the "
            "measured loss lacks them and totals are not compared.",
        ),
        (gaps.unrun, f"{counted(gaps.unrun, 'batch', 'batches')} of the schedule did not run."),
        (
            needs_retiming(execution),
            f"It ran {paused}, so measured durations are put on the schedule's clock: each switch "
            "and batch begins when the schedule says, or when its GPU is free if that is later.",
        ),
        (
            execution.live,
            "The policy decided while it ran. Predicted is what the same policy does in the "
            "simulator; each batch that ran is held against the constants for its own members.",
        ),
        (
            execution.live and sittings > 1,
            f"It ran in {sittings} sittings; its clock stood still between them.",
        ),
        (
            resumed,
            f"{counted(resumed, 'batch was', 'batches were')} resumed after an interruption: left "
            "out of fits and of batch-by-batch ratios. On the timeline such a batch takes its "
            f"prediction times {number(factors.batch, 3)} (its switch times "
            f"{number(factors.switch, 3)}), which is what the whole batches took by theirs.",
        ),
        (
            split,
            f"Memory ran out in {counted(split, 'batch', 'batches')}, which went on in parts; left "
            "out of fits.",
        ),
        (
            failing,
            f"{counted(failing, 'batch', 'batches')} with a failed request left out of fits.",
        ),
        (
            problem.site.clock.slotted,
            "The instance is of the slotted model, which predicts no seconds and counts latency to "
            "a batch's start; the measured loss counts it to the image.",
        ),
        (
            shrink > 1,
            f"Widths and heights were divided by {shrink}: the times are not those of the "
            "instance's sizes.",
        ),
        (len(sizes) > 1, f"Images of {len(sizes)} sizes; step times by batch size mix them."),
        (unmeasured, "The device does not tell how much memory was in use."),
        (
            executed and not unmeasured,
            "Measured memory is what was allocated, without the driver's own share.",
        ),
        (
            saved,
            "Images are saved beside the GPU's work: latencies count saving, batch seconds do not.",
        ),
    )
    return [text for needed, text in table if needed]
