"""A comparison in sentences, the main result first; computed from it and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from pats_opt.execute.compare.document import Comparison, Figure, Line, Times
from pats_opt.execute.compare.notes import counted
from pats_opt.wording import number, percent


def sentences(comparison: Comparison) -> list[str]:
    """What the comparison says, compact enough for a terminal."""
    return [*results(comparison), *comparison.notes]


def results(comparison: Comparison) -> list[str]:
    """The same without the notes."""
    return [
        *_loss(comparison),
        *_times(comparison),
        *_batches(comparison),
        *_constants(comparison),
        *accuracy_sentence(comparison),
        *_live(comparison),
    ]


def named(figures: tuple[Figure, ...], name: str) -> Figure:
    """The figure of this name."""
    return next(figure for figure in figures if figure.name == name)


def promised(comparison: Comparison) -> str:
    """What the prediction is called."""
    return "simulated" if comparison.live else "predicted"


def _loss(comparison: Comparison) -> Iterator[str]:
    loss = named(comparison.loss, "loss")
    if not comparison.measured:
        yield f"Nothing was run; the predicted loss is {number(loss.predicted)}."
        return
    told = f"The loss was {number(loss.measured)}, {promised(comparison)} {number(loss.predicted)}"
    if not comparison.complete:
        yield f"{told}, but not every request counts in it."
        return
    assert loss.measured is not None
    assert loss.predicted is not None
    assert loss.unrounded is not None
    difference = loss.measured - loss.predicted
    if loss.ratio is not None and difference:
        told += f" ({change(loss.ratio)})"
    rounding = loss.unrounded - loss.predicted
    if rounding:
        told += (
            f": {signed(rounding)} because durations are not rounded up to ticks, "
            f"{signed(difference - rounding)} because they were not what the constants say"
        )
    yield f"{told}."


def _times(comparison: Comparison) -> Iterator[str]:
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


def _batches(comparison: Comparison) -> Iterator[str]:
    ratios = [row.batch_ratio for row in comparison.batches if row.batch_ratio is not None]
    if ratios:
        yield (
            f"Batches took {number(median(ratios), 3)} times what the instance's constants predict "
            f"before rounding (median of {len(ratios)}; {number(min(ratios), 3)} to "
            f"{number(max(ratios), 3)})."
        )


def _constants(comparison: Comparison) -> Iterator[str]:
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


def _fitted(times: Times) -> str:
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


def fit_text(line: Line) -> str:
    """How well a line fits."""
    if line.bounded:
        return f"the best line falls below 0 and was held there; {_r2(line)}"
    if line.sizes == 2:
        return "through two sizes a line always passes"
    return _r2(line)


def _r2(line: Line) -> str:
    if line.r2 is None:
        return f"level over {line.sizes} sizes"
    share = "> 0.999" if line.r2 > 0.999 else number(line.r2, 3)
    return f"R² {share} over {line.sizes} sizes"


def line_text(line: Line) -> str:
    """A line as it is read."""
    return f"{milli(line.base)} + {milli(line.per_sample)} * n"


def accuracy_sentence(comparison: Comparison) -> Iterator[str]:
    """How well the constants predict, old and new; nothing where none were measured."""
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


def _live(comparison: Comparison) -> Iterator[str]:
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
    """A ratio as so much more or less."""
    return f"{percent(abs(ratio - 1))} {'more' if ratio >= 1 else 'less'}"


def signed(value: float) -> str:
    """A figure with its sign."""
    return f"{'+' if value >= 0 else '-'}{number(abs(value), 3)}"


def milli(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    return f"{number(1000 * seconds, 3)} ms" if seconds < 1 else f"{number(seconds, 3)} s"
