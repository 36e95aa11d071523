"""Measured constants in the form of an instance, and the accuracy of their predictions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import msgspec
from msgspec.structs import replace

from pats_opt.execute.compare.constants import loaded
from pats_opt.execute.compare.document import (
    MeasuredConstants,
    PredictionAccuracy,
    Recalibration,
    TimedLoad,
    TimesBySize,
)
from pats_opt.execute.compare.pairing import ExecutedBatch
from pats_opt.execute.compare.timeline import completions_s
from pats_opt.execute.record import Phase
from pats_opt.model.instance import (
    Adapter,
    Instance,
    Overhead,
    StepsService,
    StepTime,
)
from pats_opt.model.problem import Problem
from pats_opt.model.timing import BatchClock
from pats_opt.wording import counted


def recalibrated(
    problem: Problem,
    executed: Sequence[ExecutedBatch],
    beside: Sequence[TimedLoad],
    measured: MeasuredConstants,
) -> Recalibration | None:
    """Return the instance's constants as measured; None where no step was."""
    if not measured.steps.sizes:
        return None
    remarks: list[str] = []
    instance = replace(
        problem.instance,
        service=StepsService(
            step_s=_step_s(problem, measured.steps, remarks),
            overhead_s=_overhead_s(problem, measured.overheads.gpu, remarks),
        ),
        **_switching(problem, executed, beside, remarks),
    )
    fragment = {name: getattr(instance, name) for name in ("service", "switching", "adapters")}
    return Recalibration(
        text=msgspec.json.format(msgspec.json.encode(fragment), indent=1).decode(),
        remarks=tuple(remarks),
        accuracy=_accuracy(problem, instance, executed),
    )


def _step_s(problem: Problem, steps: TimesBySize, remarks: list[str]) -> StepTime:
    """The step time in the instance's form; a slotted instance's, which has none, as a line."""
    clock, form = problem.site.clock, problem.instance.service.step_s
    if clock.slotted:
        form = None
        if clock.largest is not None:
            remarks.append(f"This service does not keep batches to {clock.largest} members.")
    if form is not None and form.table is not msgspec.UNSET:
        return StepTime(table=_table(form.table, steps, remarks))
    found = _line(form, steps, "step time", "Steps were", remarks)
    if found is not None:
        return StepTime(**found)
    only = steps.sizes[0]
    remarks.append(
        f"Steps were measured at batch size {only.n} only: the step time holds at that size."
    )
    return StepTime(base=_short(only.median_s), per_sample=0.0)


def _line(
    form: Any, times: TimesBySize, name: str, subject: str, remarks: list[str]
) -> dict[str, Any] | None:
    """The fitted line; of one size only the instance's line ``form`` in proportion, or None."""
    only, line = times.sizes[0], times.line
    if line is not None:
        if line.bounded:
            remarks.append(f"The best line of the {name} had a figure below 0; it was held at 0.")
        return {"base": _short(line.base), "per_sample": _short(line.per_sample)}
    if not only.predicted_s or form is None:
        return None
    remarks.append(
        f"{subject} measured at batch size {only.n} only: base and per_sample are the "
        "instance's, both times what this size took by its prediction."
    )
    scale = only.median_s / only.predicted_s
    return {"base": _short(form.base * scale), "per_sample": _short(form.per_sample * scale)}


def _table(table: Sequence[float], steps: TimesBySize, remarks: list[str]) -> tuple[float, ...]:
    """The table with the medians measured; sizes in between by the line, or in proportion."""
    known = {size.n: size.median_s for size in steps.sizes}
    missing = [n for n in range(1, len(table) + 1) if n not in known]
    if missing:
        how = (
            "the line fitted to the others"
            if steps.line
            else "the instance's figure times what the measured size took by its prediction"
        )
        sizes = ", ".join(map(str, missing))
        remarks.append(f"Steps were not measured at batch sizes {sizes}: they are {how}.")
    only = steps.sizes[0]
    scale = only.median_s / only.predicted_s if only.predicted_s else 1.0
    return tuple(
        _short(known.get(n, steps.line(n) if steps.line else table[n - 1] * scale))
        for n in range(1, len(table) + 1)
    )


def _overhead_s(problem: Problem, beside: TimesBySize, remarks: list[str]) -> float | Overhead:
    """Seconds of a batch beside its steps; saving is left out, as no batch waits for it."""
    form = problem.instance.service.overhead_s
    line = form if isinstance(form, Overhead) else None
    found = _line(line, beside, "overhead", "The overhead was", remarks)
    if found is not None:
        return Overhead(**found)
    only = beside.sizes[0]
    remarks.append(
        f"The overhead was measured at batch size {only.n} only and is taken for all sizes."
    )
    return _short(only.median_s)


def _switching(
    problem: Problem,
    executed: Sequence[ExecutedBatch],
    beside: Sequence[TimedLoad],
    remarks: list[str],
) -> dict[str, Any]:
    """``switching`` and ``adapters`` with measured seconds."""
    instance, site = problem.instance, problem.site
    activations: list[float] = []
    loads: dict[str, list[float]] = defaultdict(list)
    pairs: dict[tuple[str | None, str], list[float]] = defaultdict(list)
    for load in beside:
        loads[load.adapter].append(load.seconds)
    for batch in (p for p in executed if not p.run.resumed):
        source = next(iter(batch.before), None)
        before = None if source is None else site.adapter_ids[source]
        for name, seconds in _loads(problem, batch):
            loads[name].append(seconds)
            pairs[before, name].append(seconds)
        if not any(span.phase is Phase.LOAD for span in batch.paid):
            each = max(1, len(batch.switch.activate))
            activations += [span.seconds / each for span in batch.paid]
    if not activations:
        remarks.append("No activation without a load was measured: activate_s is the instance's.")
    adapters = tuple(_adapters(instance.adapters, loads, remarks))
    load_s = {adapter.id: adapter.load_s for adapter in adapters}
    measured = {pair: _short(median(seconds)) for pair, seconds in pairs.items()}
    transitions = tuple(
        # Those not seen take what their target takes.
        replace(pair, load_s=measured.get((pair.source, pair.target), load_s[pair.target]))
        for pair in instance.switching.pairs
    )
    switching = replace(
        instance.switching,
        activate_s=_short(median(activations)) if activations else instance.switching.activate_s,
        pairs=transitions if loads else instance.switching.pairs,
    )
    return {"switching": switching, "adapters": adapters}


def _loads(problem: Problem, batch: ExecutedBatch) -> Iterator[tuple[str, float]]:
    """Seconds that each adapter took to load before a batch.

    By rule 4 an adapter that is loaded is not activated as well, so its share of the batch's
    activation is in its load. A span of several adapters is shared out evenly.
    """
    spans = [span for span in batch.paid if span.phase is Phase.LOAD]
    named = [(problem.site.adapter_ids[a], s) for s in spans for a in loaded(problem, s)]
    activation_s = batch.paid_s - sum([span.seconds for span in spans])
    for name, span in named:
        each_s = activation_s / (len(named) + len(batch.switch.activate))
        yield name, span.seconds / len(loaded(problem, span)) + each_s


def _adapters(
    adapters: Iterable[Adapter], loads: Mapping[str, Sequence[float]], remarks: list[str]
) -> Iterable[Adapter]:
    """Adapters with their own median, those not loaded with that of all loads."""
    if not loads:
        remarks.append("No load was measured: load_s is the instance's.")
        yield from adapters
        return
    typical = _short(median([s for seen in loads.values() for s in seen]))
    other = 0
    for adapter in adapters:
        if adapter.id in loads:
            yield replace(adapter, load_s=_short(median(loads[adapter.id])))
        elif adapter.load_s > 0:
            other += 1
            yield replace(adapter, load_s=typical)
        else:
            yield adapter
    if other:
        unseen = counted(other, "adapter was", "adapters were")
        remarks.append(f"{unseen} not loaded: load_s is the median of all loads there.")


def _accuracy(
    problem: Problem, instance: Instance, executed: Sequence[ExecutedBatch]
) -> PredictionAccuracy:
    """Mean error of predicted batch seconds, with the old and the new constants."""
    whole = [batch for batch in executed if batch.whole]
    site, new = problem.site, BatchClock(instance)

    def error_s(predicted: Iterable[float]) -> float:
        missed = [abs(p.batch_s - s) for p, s in zip(whole, predicted, strict=True)]
        return math.fsum(missed) / len(missed)

    def length_s(clock: BatchClock) -> Iterable[float]:
        return (max(completions_s(clock, batch.steps).values()) for batch in whole)

    ticks = (site.clock.ends(batch.steps)[1] * site.tick_s for batch in whole)
    return PredictionAccuracy(
        batches=len(whole),
        mean_s=math.fsum([batch.batch_s for batch in whole]) / len(whole),
        grid_s=None if site.clock.slotted else error_s(ticks),
        before_s=None if site.clock.slotted else error_s(length_s(site.clock)),
        after_s=error_s(length_s(new)),
    )


def _short(seconds: float) -> float:
    """Round to six digits, more than any measurement has."""
    return float(f"{seconds:.6g}")
