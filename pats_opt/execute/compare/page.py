"""Page of a comparison: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pats_opt import __version__
from pats_opt.execute.compare.distances import distance_sentence
from pats_opt.execute.compare.document import (
    BatchRow,
    ComparedFigure,
    ExecutionComparison,
    TimedLoad,
    TimesBySize,
)
from pats_opt.execute.compare.pictures import pictures
from pats_opt.execute.compare.sentences import accuracy_sentence, fit_text, results
from pats_opt.execute.record import Execution
from pats_opt.model.files import StrPath, replace_bytes
from pats_opt.model.problem import Problem
from pats_opt.tables import METRICS
from pats_opt.tables.statistics import ratio
from pats_opt.views.page import environment
from pats_opt.wording import counted, number

#: Batches that a page lists; of more, those farthest from their prediction.
MOST_BATCHES = 200

#: Loads beside serving that a page lists.
MOST_LOADS = 200

#: Failed requests that a page lists.
MOST_FAILURES = 50

#: Names of terms of the loss, and of metrics whose own is not plain beside them.
NAMES = {
    "quality": "loss by quality",
    "latency": "loss by latency",
    "late": "loss by late requests",
    "switching": "loss by switching",
    "rejection": "loss by rejections",
    "serving_s": "serving, s (all GPUs)",
    "switching_s": "switching, s (all GPUs)",
    "switches": "switches that load",
    "loading_s": "loads beside serving, s (all GPUs)",
    "hidden_load_share": "share of loads hidden behind batches",
}


def write_page(
    comparison: ExecutionComparison, execution: Execution, problem: Problem, path: StrPath
) -> None:
    """Write the page, in the place of whatever has this name: a link is not followed.

    Raises:
        InputError: It cannot be written.
    """
    replace_bytes(path, page(comparison, execution, problem).encode("utf-8", "backslashreplace"))


def page(comparison: ExecutionComparison, execution: Execution, problem: Problem) -> str:
    """Return the page: one file, nothing fetched, no script."""
    shown, failed = listed(comparison), failures(comparison, execution)
    return (
        environment("pats_opt.execute.compare")
        .get_template("comparison.html.j2")
        .render(
            c=comparison,
            title=execution.instance.name,
            sentences=results(comparison),
            pictures={picture.name: picture for picture in pictures(comparison, problem)},
            figures=[
                ("Time and memory", _known(comparison.totals)),
                ("Loss", _known(comparison.loss)),
                ("Service", _known(comparison.service)),
            ],
            name=lambda figure: NAMES.get(figure.name) or METRICS[figure.name].heading,
            batches=shown,
            more_batches=len(comparison.batches) - len(shown),
            marks=marks,
            loads=list(_load_rows(comparison, problem)),
            more_loads=max(0, len(comparison.measured_loads) - MOST_LOADS),
            distance=distance_sentence,
            steps=comparison.constants.steps,
            overheads=_overheads(comparison),
            fit=fit_text,
            ratio=ratio,
            recalibrated=accuracy_sentence(comparison),
            failures=failed[:MOST_FAILURES],
            more_failures=max(0, len(failed) - MOST_FAILURES),
            run=list(_run(execution)),
            version=__version__,
            digest=execution.instance.sha256[:12],
        )
    )


def listed(comparison: ExecutionComparison) -> list[BatchRow]:
    """Return the batches that the page lists, in their order."""
    rows = comparison.batches
    if len(rows) <= MOST_BATCHES:
        return list(rows)

    def far(k: int) -> float:
        ratio = rows[k].batch_ratio
        return max(ratio, 1 / ratio) if ratio else float("inf")

    return [rows[k] for k in sorted(sorted(range(len(rows)), key=far)[-MOST_BATCHES:])]


def marks(row: BatchRow) -> str:
    """Return remarks on a batch."""
    found = (
        (row.failed, f"{row.failed} failed"),
        (row.splits, f"out of memory {counted(row.splits, 'time')}"),
        (row.resumed, "resumed"),
    )
    return ", ".join([remark for applies, remark in found if applies])


def failures(comparison: ExecutionComparison, execution: Execution) -> list[tuple[str, str]]:
    """Return the requests without an image, with the reason."""
    reasons = {
        member.id: member.error or ""
        for _, batch in execution.batches()
        for member in batch.members
        if member.error is not None
    }
    return [(name, reasons.get(name, "")) for name in comparison.gaps.failed]


class LoadRow(NamedTuple):
    """One load beside serving, against its prediction: the schedule's start and hidden share."""

    load: TimedLoad
    start_predicted_s: float | None
    predicted_s: float
    hidden_predicted: float | None


def _load_rows(comparison: ExecutionComparison, problem: Problem) -> Iterator[LoadRow]:
    """The first loads; those of a live run have no counterpart in the simulation."""
    site = problem.site
    paired = () if comparison.live else comparison.predicted_loads
    planned = {(load.gpu, load.index): load for load in paired}
    for load in comparison.measured_loads[:MOST_LOADS]:
        known = planned.get((load.gpu, load.index))
        yield LoadRow(
            load,
            None if known is None else known.start_s,
            site.load_s[site.adapter_index[load.adapter]],
            None if known is None else known.hidden,
        )


def _known(figures: tuple[ComparedFigure, ...]) -> list[ComparedFigure]:
    """The figures that are known or not 0 anywhere."""
    return [f for f in figures if any((f.predicted, f.unrounded, f.measured))]


def _overheads(comparison: ExecutionComparison) -> list[tuple[str, TimesBySize]]:
    of = comparison.constants.overheads
    known = {
        "encode": of.encode,
        "decode": of.decode,
        "save (beside the GPU)": of.save,
        "encode, decode and save": of.all,
        "all of a batch but its steps": of.gpu,
    }
    return [(name, times) for name, times in known.items() if times.sizes]


def _run(execution: Execution) -> Iterator[tuple[str, Any]]:
    """Facts of the run."""
    model = execution.model
    devices = dict.fromkeys(gpu.device for gpu in execution.gpus)
    yield "device", ", ".join(devices) or "none"
    yield (
        "model",
        f"{model.name}, {model.dtype}, guidance {number(model.guidance)}, {model.scheduler}"
        + (f", sizes divided by {model.shrink}" if model.shrink > 1 else ""),
    )
    yield (
        "adapters",
        f"{counted(model.slots, 'slot')} of rank {model.rank}, loaded from {model.tier.value}",
    )
    maker = execution.maker
    params = ", ".join(f"{key}={value}" for key, value in maker.params.items())
    yield (
        "policy" if execution.live else "schedule of",
        maker.name + (f" ({params})" if params else "") + f", seed {maker.seed}",
    )
    yield "pace", execution.pace.value
    yield "engine", execution.engine
    yield "sittings", str(execution.sittings)
    yield "started", execution.started
    yield "versions", ", ".join(f"{name} {value}" for name, value in execution.versions.items())
