"""Constants of the cost model, fitted to the spans of an execution."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

from pats_opt.execute.compare.document import (
    MeasuredConstants,
    OverheadTimes,
    SizeTimes,
    StepOverhead,
    SwitchTimes,
    TimesBySize,
    TimesLine,
)
from pats_opt.execute.compare.pairing import ExecutedBatch
from pats_opt.execute.record import Execution, Phase, Span
from pats_opt.model.problem import Problem
from pats_opt.tables.statistics import fit_line, rank, ratio


def constants(
    problem: Problem, execution: Execution, executed: Sequence[ExecutedBatch]
) -> MeasuredConstants:
    """Return the measured constants of an execution, each beside that of the instance."""
    clock = problem.site.clock
    whole = [batch for batch in executed if batch.whole]
    steps = [s for batch in whole for s in batch.run.spans if s.phase is Phase.STEP]

    def step_s(n: int) -> float | None:
        known = not clock.slotted and (clock.largest is None or n <= clock.largest)
        return clock.step_s(n) if known else None

    return MeasuredConstants(
        batches=len(whole),
        steps=times(grouped((s.n, s.seconds) for s in steps), step_s),
        step_overhead=_step_overhead(steps),
        switching=tuple(_switching(problem, execution, executed)),
        overheads=_overheads(problem, whole),
        priming_s=math.fsum([s.seconds for gpu in execution.gpus for s in gpu.primed]),
    )


def grouped(pairs: Iterable[tuple[int, float]]) -> dict[int, list[float]]:
    """Return values by n, n rising."""
    found = defaultdict(list)
    for n, value in pairs:
        found[n].append(value)
    return dict(sorted(found.items()))


def times(
    values: Mapping[int, Sequence[float]], predicted: Callable[[int], float | None] = lambda _: None
) -> TimesBySize:
    """Return medians and quartiles of seconds by n, and the line through them."""
    import numpy as np

    sizes = []
    for n, seconds in values.items():
        q25, q75 = np.quantile(seconds, (0.25, 0.75)).tolist()
        sizes.append(
            SizeTimes(
                n=n,
                count=len(seconds),
                median_s=median(seconds),
                q25_s=q25,
                q75_s=q75,
                predicted_s=predicted(n),
            )
        )
    return TimesBySize(sizes=tuple(sizes), line=line(sizes))


def line(sizes: Sequence[SizeTimes]) -> TimesLine | None:
    """Return the line through the medians, weighted by count; None through fewer than two.

    Medians, because the first step on a device may take a hundred times a later one.
    """
    import numpy as np

    if len(sizes) < 2:
        return None
    n = np.array([s.n for s in sizes], dtype=np.float64)
    y = np.array([s.median_s for s in sizes])
    weight = np.array([s.count for s in sizes], dtype=np.float64)
    base, slope, bounded = fit_line(n, y, weight)
    missed = np.average((y - base - slope * n) ** 2, weights=weight)
    spread = np.average((y - np.average(y, weights=weight)) ** 2, weights=weight)
    return TimesLine(
        base=base,
        per_sample=slope,
        r2=float(1 - missed / spread) if spread > 0 else None,
        rms_s=float(np.sqrt(missed)),
        sizes=len(sizes),
        bounded=bounded,
    )


def _step_overhead(steps: Sequence[Span]) -> StepOverhead | None:
    rest = sorted([s.seconds - s.unet_s for s in steps if s.unet_s is not None])
    if not rest:
        return None
    p95 = rest[rank(len(rest), 0.95)]
    return StepOverhead(count=len(rest), median_s=median(rest), p95_s=p95)


def _switching(
    problem: Problem, execution: Execution, executed: Sequence[ExecutedBatch]
) -> Iterable[SwitchTimes]:
    """Kinds of switching seen, loads after activations."""
    site = problem.site
    seen: dict[str, list[tuple[Span, float | None]]] = defaultdict(list)
    for batch in executed:
        for span in () if batch.run.resumed else batch.paid:
            expected = (
                site.activate_s * max(1, len(batch.switch.activate))
                if span.phase is Phase.ACTIVATE
                else math.fsum([site.load_seconds(a, batch.before) for a in loaded(problem, span)])
            )
            seen[_kind(span)].append((span, None if site.clock.slotted else expected))
    for load in [load for gpu in execution.gpus for load in gpu.loads]:
        span = Span(
            phase=Phase.LOAD,
            start_s=load.start_s,
            seconds=load.seconds,
            ids=(load.adapter,),
            tier=load.tier,
            mib=load.mib,
        )
        expected = math.fsum([site.load_s[a] for a in loaded(problem, span)])
        seen[f"{_kind(span)} beside serving"].append((span, expected))
    for kind, spans in sorted(seen.items()):
        yield _kind_times(kind, spans)


def loaded(problem: Problem, span: Span) -> list[int]:
    """Return the indices of the adapters of a load, of those that the instance has."""
    index = problem.site.adapter_index
    return [index[name] for name in span.ids if name in index]


def _kind(span: Span) -> str:
    if span.phase is Phase.ACTIVATE:
        return "activate"
    return "load" if span.tier is None else f"load from {span.tier.value}"


def _kind_times(kind: str, spans: Sequence[tuple[Span, float | None]]) -> SwitchTimes:
    seconds = sorted([span.seconds for span, _ in spans])
    noted = [(span.mib, span.seconds) for span, _ in spans if span.mib is not None]
    expected = [known for _, known in spans if known is not None]
    copying_s = math.fsum([s for _, s in noted])
    predicted = median(expected) if expected else None
    return SwitchTimes(
        kind=kind,
        count=len(seconds),
        median_s=median(seconds),
        p95_s=seconds[rank(len(seconds), 0.95)],
        mib=median([mib for mib, _ in noted]) if noted else None,
        mib_per_s=math.fsum([mib for mib, _ in noted]) / copying_s if copying_s else None,
        predicted_s=predicted,
        ratio=ratio(predicted, median(seconds)),
    )


def _overheads(problem: Problem, whole: Sequence[ExecutedBatch]) -> OverheadTimes:
    """Seconds of each batch beside its steps, by its size."""
    clock = problem.site.clock

    def overhead_s(n: int) -> float | None:
        return None if clock.slotted else clock.overhead_s(n)

    def by_size(*phases: Phase) -> dict[int, list[float]]:
        spans = ((p, [s.seconds for s in p.run.spans if s.phase in phases]) for p in whole)
        return grouped((len(p.members), math.fsum(seconds)) for p, seconds in spans if seconds)

    stepped = [p for p in whole if any(s.phase is Phase.STEP for s in p.run.spans)]
    beyond = grouped((len(p.members), _beside_steps_s(p)) for p in stepped)
    return OverheadTimes(
        encode=times(by_size(Phase.ENCODE)),
        decode=times(by_size(Phase.DECODE)),
        save=times(by_size(Phase.SAVE)),
        all=times(by_size(Phase.ENCODE, Phase.DECODE, Phase.SAVE), overhead_s),
        gpu=times(beyond, overhead_s),
    )


def _beside_steps_s(batch: ExecutedBatch) -> float:
    """Seconds of a batch in which no step and no activation was under way."""
    run = batch.run
    known = [
        s.seconds
        for s in run.spans
        if s.phase is Phase.STEP or (s.phase is Phase.ACTIVATE and s.start_s >= run.start_s)
    ]
    return max(0.0, batch.batch_s - math.fsum(known))
