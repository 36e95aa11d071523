"""The command ``pats-opt profile``: measure, write the profile and the tables beside it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.execute.work import EngineSettings
from pats_opt.generate.profile import Profile
from pats_opt.model.files import refuse_unwritable, write_bytes
from pats_opt.perceptual import METRICS
from pats_opt.profiling import figures, tables
from pats_opt.profiling.adapters import adapters_of, describe
from pats_opt.profiling.images import ImageComparer
from pats_opt.profiling.measurements import MeasurementFile, Measurements, MeasurementSettings
from pats_opt.profiling.plan import ProfilingPlan, QualityPlan
from pats_opt.profiling.refit import QualityFit, as_recipe, fit_document, fit_lines, refit
from pats_opt.profiling.session import EngineOpener, ProfilingSession
from pats_opt.profiling.write import IncompleteError, make_profile, profile_toml
from pats_opt.wording import counted, number, percent

#: File name of the fitted quality model, for ``generate --config``.
FITTED = "quality.toml"

#: Adapters resident at a time: two, to switch between.
SLOTS = 2

#: Options of the engine that its measurements depend on.
_SHARED = ("model", "device", "dtype", "guidance", "memory_gib", "threads")


class ProfilingJob(Struct, frozen=True, kw_only=True):
    """The options of the command.

    Attributes:
        output: The profile's file; the others go beside it.
        model: As in :class:`~pats_opt.execute.work.EngineSettings`, and so are the next four.
        adapters: Folder of LoRA files; None for random ones.
        rank: Rank of random adapters; None for the model's usual one.
        name: The profile's name.
        memory_from: A profile whose memory figures replace those a device does not report.
        time_limit: Seconds after which no further part is begun.
        threads: CPU threads of torch; None for its default.
    """

    output: Path
    plan: ProfilingPlan
    model: str
    device: str
    dtype: str
    guidance: float
    memory_gib: float | None
    adapters: str | None
    name: str
    memory_from: Profile | None = None
    time_limit: float | None = None
    threads: int | None = None
    rank: int | None = None

    @property
    def raw_path(self) -> Path:
        """File of the measurements."""
        return self.output.with_suffix(".json")


class ProfilingResult(Struct, frozen=True, kw_only=True):
    """A profile, its measurements, and the files that were written.

    Attributes:
        files: Paths of the files.
        missing: Names of the parts that were not measured.
        interrupted: Whether an interrupt is the reason.
        fit: The quality model fitted to the images, if there are enough.
    """

    profile: Profile
    data: Measurements
    files: list[str]
    missing: list[str]
    interrupted: bool = False
    fit: QualityFit | None = None


#: Shows the progress: given the number of parts, a context whose value is called with each.
Progress = Callable[[int], AbstractContextManager[Callable[[str], None]]]


def run(
    job: ProfilingJob,
    opener: EngineOpener,
    now: Callable[[], float] = time.perf_counter,
    progress: Progress = lambda _: nullcontext(lambda _: None),
) -> ProfilingResult:
    """Measure what is missing, then write the profile and its tables.

    Args:
        job: The options.
        opener: Opens an engine.
        now: Clock in seconds, from any origin.
        progress: Shows the progress.

    Raises:
        InputError: The model, an adapter or the output cannot be used, or the measurements in the
            file were made with other settings.
        IncompleteError: Too little was measured for a profile; all parts are kept.
    """
    began = now()

    def clock() -> float:
        return now() - began

    refuse_unwritable(job.output)
    scratch = job.output.with_name(f".{job.output.stem}-adapters")
    try:
        data, missing, interrupted = _measured(job, scratch, opener, clock, progress)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return msgspec.structs.replace(_written(job, data, missing), interrupted=interrupted)


def _measured(
    job: ProfilingJob,
    scratch: Path,
    opener: EngineOpener,
    clock: Callable[[], float],
    progress: Progress,
) -> tuple[Measurements, list[str], bool]:
    """Return all measurements, names of what is still missing, and whether it was interrupted."""
    files = adapters_of(job.model, job.adapters, scratch, job.rank)
    shared: dict[str, Any] = {key: getattr(job, key) for key in _SHARED} | {"slots": SLOTS}
    width, height = job.plan.reference
    measured = MeasurementSettings(
        **shared, width=width, height=height, shrink=job.plan.shrink, adapters=describe(files)
    )
    kept = MeasurementFile(job.raw_path, measured, clock)
    settings = EngineSettings(**shared, adapter_files=files)
    images = job.output.with_name(f"{job.output.stem}-images")
    comparer = ImageComparer(job.plan, job.device, images) if job.plan.quality else None
    session = ProfilingSession(
        job.plan, kept, settings, opener, clock, time_limit=job.time_limit, comparer=comparer
    )
    with progress(len(session.left())) as advance:
        missing = session.run(advance)
    return kept.data, missing, session.interrupted


def _written(job: ProfilingJob, data: Measurements, missing: list[str]) -> ProfilingResult:
    """Write the tables, then the profile, for which too little may be measured."""
    folder, files = job.output.parent, [str(job.raw_path)] if data.done else []

    def write(name: str, text: str) -> str:
        write_bytes(folder / name, text.encode())
        files.append(str(folder / name))
        return files[-1]

    if data.switches:
        write(tables.SWITCHING, tables.switching_csv(data))
    fitted = _quality(job.plan.quality, data, write) if job.plan.quality else None
    host_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    try:
        profile = make_profile(
            data,
            job.plan,
            name=job.name,
            host_gib=round(host_gib, 2),
            memory_from=job.memory_from,
            missing=missing,
        )
    except IncompleteError as error:
        todo = f" ({'; '.join(missing)})" if missing else ""
        raise IncompleteError(f"{error}{todo}") from None
    write(job.output.name, profile_toml(profile))
    return ProfilingResult(
        profile=profile, data=data, files=files[::-1], missing=missing, fit=fitted
    )


def _quality(
    plan: QualityPlan, data: Measurements, write: Callable[[str, str], str]
) -> QualityFit | None:
    """Write the table of quality and, if it has enough rows, the fitted model."""
    texts, counts = {p.text for p in plan.prompts}, {*plan.steps, plan.full}
    images = [
        image
        for image in data.images
        if image.prompt in texts
        and image.steps in counts
        and image.full == plan.full
        and image.seed < plan.images
        and set(plan.metrics) <= set(image.scores)
    ]
    if not images:
        return None
    metric = plan.metrics[0]
    similarity = METRICS[metric].similarity
    table = tables.quality_csv(images, metric, similarity)
    path = write(f"sdxl_step_quality_{metric}.csv", table)
    try:
        fitted = refit(path)
    except InputError:
        return None  # fewer than two step counts below the full one
    write(FITTED, as_recipe(fitted))
    return fitted


def document(result: ProfilingResult) -> dict[str, Any]:
    """Make the JSON document of a result."""
    return {
        "profile": msgspec.to_builtins(result.profile),
        "complete": not result.missing,
        "missing": result.missing,
        "seconds": result.data.seconds,
        "files": result.files,
        "fit": None if result.fit is None else fit_document(result.fit),
    }


def lines(result: ProfilingResult) -> Iterator[str]:
    """Yield a result line by line: the figures, then their sources."""
    profile, medians = result.profile, figures.steps(result.data).medians
    yield f"{profile.name}: {profile.device}"
    yield "step, s     " + ", ".join(f"{n}: {number(s)}" for n, s in medians.items())
    loads = [f"{tier} {number(load.median)}" for tier, load in profile.load.tiers.items()]
    yield f"switch, s   resident {number(profile.load.activate_s)}, " + ", ".join(loads)
    for tier, cost in profile.load.beside.items():
        slowed = "" if cost.slowdown is None else f", steps take {number(cost.slowdown)} times"
        yield (
            f"beside a batch, from {tier}: a load {number(cost.seconds)} s, "
            f"{percent(cost.hidden)} hidden{slowed}"
        )
    for a in profile.memory.adapters:
        mib = [number(1024 * gib) for gib in (a.formula_gib, a.weights_gib, a.slot_gib)]
        yield (
            f"rank {a.rank}, MiB  formula {mib[0]}, weights {mib[1]}, in a slot {mib[2]} "
            f"({counted(a.layers, 'layer')}, mostly {a.hidden} wide)"
        )
    for key, text in profile.sources.items():
        yield f"{key:<11} {text}"
    if result.fit is not None:
        yield from fit_lines(result.fit)
