"""The whole of ``pats-opt profile``: measure, write the profile and the tables beside it."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.execute.work import Settings
from pats_opt.generate.profile import Profile
from pats_opt.model.files import refuse_unwritable, write_bytes
from pats_opt.perceptual import METRICS
from pats_opt.profiling import tables
from pats_opt.profiling.adapters import adapters_of, describe
from pats_opt.profiling.plan import Plan, QualityPlan
from pats_opt.profiling.record import Asked, Raw
from pats_opt.profiling.refit import Fit, as_recipe, refit
from pats_opt.profiling.sitting import IncompleteError, Open, Sitting
from pats_opt.profiling.store import Store
from pats_opt.profiling.viewing import Viewing
from pats_opt.profiling.write import make_profile, profile_toml

_log = logging.getLogger(__name__)

#: The fitted quality model, for ``generate --config``.
FITTED = "quality.toml"

#: Adapters resident at a time while measuring: two, to switch between.
SLOTS = 2


class Job(Struct, frozen=True, kw_only=True):
    """What the command was asked for.

    Attributes:
        output: The profile's file; the others go beside it.
        model: As in :class:`~pats_opt.execute.work.Settings`, and so are the next ones.
        adapters: Folder of LoRA files; None for random ones.
        rank: Of random adapters; None for the model's usual one.
        name: The profile's name.
        memory_from: A profile whose memory figures stand in on a device that does not tell.
        time_limit: Seconds after which no other part is begun.
        threads: CPU threads of torch; None for its default.
    """

    output: Path
    plan: Plan
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
        """Where the measurements are kept."""
        return self.output.with_suffix(".json")


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of it.

    Attributes:
        files: What was written.
        missing: Parts that were not measured, in words.
        fit: The quality model fitted to the images, where there are enough.
    """

    profile: Profile
    raw: Raw
    files: list[str]
    missing: list[str]
    fit: Fit | None = None


Watch = Callable[[int], AbstractContextManager[Callable[[str], None]]]


def _unwatched(parts: int) -> AbstractContextManager[Callable[[str], None]]:  # noqa: ARG001
    return nullcontext(lambda _: None)


def run(
    job: Job,
    opener: Open,
    now: Callable[[], float] = time.perf_counter,
    watch: Watch = _unwatched,
) -> Outcome:
    """Measure what is missing and write all that can be written.

    Args:
        job: What to do.
        opener: Opens an engine.
        now: Seconds, from anywhere.
        watch: Shows the progress: given the number of parts, a context whose value is told each.

    Raises:
        InputError: The model, an adapter or the output is not fit, or the measurements there are of
            something else.
        IncompleteError: Too little was measured for a profile; what was is kept.
    """
    began = now()

    def clock() -> float:
        return now() - began

    refuse_unwritable(job.output)
    scratch = job.output.with_name(f".{job.output.stem}-adapters")
    try:
        raw, missing = _measured(job, scratch, opener, clock, watch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _written(job, raw, missing)


def _measured(
    job: Job, scratch: Path, opener: Open, clock: Callable[[], float], watch: Watch
) -> tuple[Raw, list[str]]:
    """Measure what is missing; all there is, and what is missing still."""
    files = adapters_of(job.model, job.adapters, scratch, job.rank)
    store = Store(job.raw_path, _asked(job, files), clock)
    settings = Settings(
        model=job.model,
        device=job.device,
        dtype=job.dtype,
        guidance=job.guidance,
        adapter_files=files,
        slots=SLOTS,
        memory_gib=job.memory_gib,
        threads=job.threads,
    )
    images = job.output.with_name(f"{job.output.stem}-images")
    quality = job.plan.quality
    viewer = Viewing(job.plan, quality, job.device, images) if quality else None
    sitting = Sitting(
        job.plan, store, settings, opener, clock, time_limit=job.time_limit, viewer=viewer
    )
    with watch(len(sitting.left())) as told:
        missing = sitting.run(told)
    return store.raw, missing


def _asked(job: Job, files: dict[str, str]) -> Asked:
    return Asked(
        model=job.model,
        device=job.device,
        dtype=job.dtype,
        guidance=job.guidance,
        memory_gib=job.memory_gib,
        threads=job.threads,
        width=job.plan.reference[0],
        height=job.plan.reference[1],
        shrink=job.plan.shrink,
        slots=SLOTS,
        adapters=describe(files),
    )


def _written(job: Job, raw: Raw, missing: list[str]) -> Outcome:
    """Write the tables, then the profile, which needs the most."""
    folder, files = job.output.parent, [str(job.raw_path)] if raw.done else []

    def write(name: str, text: str) -> str:
        write_bytes(folder / name, text.encode())
        files.append(str(folder / name))
        return files[-1]

    if raw.switches:
        write(tables.SWITCHING, tables.switching_csv(raw))
    fitted = _quality(job.plan.quality, raw, write) if job.plan.quality else None
    try:
        profile = make_profile(
            raw,
            job.plan,
            name=job.name,
            host_gib=host_gib(),
            memory_from=job.memory_from,
            missing=missing,
        )
    except IncompleteError as error:
        todo = f" ({'; '.join(missing)})" if missing else ""
        raise IncompleteError(f"{error}{todo}") from None
    write(job.output.name, profile_toml(profile))
    return Outcome(profile=profile, raw=raw, files=files[::-1], missing=missing, fit=fitted)


def _quality(plan: QualityPlan, raw: Raw, write: Callable[[str, str], str]) -> Fit | None:
    """Write the table of quality and, where it is enough for one, the fitted model."""
    texts, counts = {p.text for p in plan.prompts}, {*plan.steps, plan.full}
    images = [
        image
        for image in raw.images
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
    path = write(tables.quality_name(metric), tables.quality_csv(images, metric, similarity))
    try:
        fitted = refit(path)
    except InputError:
        return None  # fewer than two step counts below the full one
    write(FITTED, as_recipe(fitted))
    return fitted


def host_gib() -> float:
    """Memory of this machine."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return round(pages / 2**30, 2)
