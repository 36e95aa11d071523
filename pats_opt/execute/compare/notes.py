"""What a reader has to know of a comparison's figures, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pats_opt.execute.compare.document import Gaps
from pats_opt.execute.compare.plays import Play
from pats_opt.execute.compare.timeline import Factors, needs_retiming
from pats_opt.execute.record import Execution, Phase
from pats_opt.model.problem import Problem
from pats_opt.wording import number


def schedule_notes(broken: int, gaps: Gaps) -> Iterator[str]:
    """What is said of the schedule (rules it breaks), and of what of it is missing."""
    if broken:
        yield f"The schedule breaks {counted(broken, 'rule')}; 'check' lists them."
    yield from _missing(gaps)


def run_notes(
    problem: Problem, execution: Execution, played: Sequence[Play], factors: Factors
) -> Iterator[str]:
    """What is said of the run."""
    yield from _clock(execution)
    yield from _partial(played, factors)
    yield from _meaning(problem, execution, played)


def counted(n: int, what: str, many: str | None = None) -> str:
    """``1 batch``, ``2 batches``."""
    return f"{n} {what if n == 1 else many or what + 's'}"


def _missing(gaps: Gaps) -> Iterator[str]:
    if gaps.failed:
        told = f"{counted(len(gaps.failed), 'request')} failed"
        if gaps.charged:
            told += f"; {gaps.charged} may be rejected and are charged that loss"
        if gaps.charged < len(gaps.failed):
            told += (
                f"; {len(gaps.failed) - gaps.charged} had to be served, so the measured loss lacks "
                "them"
            )
        yield f"{told}."
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


def _partial(played: Sequence[Play], factors: Factors) -> Iterator[str]:
    resumed = sum(play.run.resumed for play in played)
    if resumed:
        yield (
            f"{counted(resumed, 'batch was', 'batches were')} resumed after an interruption: left "
            "out of fits and of batch-by-batch ratios. On the timeline such a batch takes its "
            f"prediction times {number(factors.batch, 3)} (its switch times "
            f"{number(factors.switch, 3)}), which is what the whole batches took by theirs."
        )
    split = sum(bool(play.run.splits) for play in played)
    if split:
        yield (
            f"Memory ran out in {counted(split, 'batch', 'batches')}, which went on in parts; left "
            "out of fits."
        )
    failing = sum(bool(play.failed) for play in played)
    if failing:
        yield f"{counted(failing, 'batch', 'batches')} with a failed request left out of fits."


def _meaning(problem: Problem, execution: Execution, played: Sequence[Play]) -> Iterator[str]:
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
        for play in played
        for r in (problem.instance.requests[job.position] for job, _, _ in play.members)
    }
    if len(sizes) > 1:
        yield f"Images of {len(sizes)} sizes; step times by batch size mix them."
    if played and all(play.run.peak_gib is None for play in played):
        yield "The device does not tell how much memory was in use."
    elif played:
        yield "Measured memory is what was allocated, without the driver's own share."
    if any(s.phase is Phase.SAVE for play in played for s in play.run.spans):
        yield (
            "Images are saved beside the GPU's work: latencies count saving, batch seconds do not."
        )
