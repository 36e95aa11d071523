"""The whole of ``pats-opt profile``: measure, write the profile and the tables beside it."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from pats_opt.execute.work import Engine, Settings
from pats_opt.files import refuse_unwritable, write_bytes
from pats_opt.generate.profile import Profile
from pats_opt.profiling import tables
from pats_opt.profiling.adapters import adapters_of, describe
from pats_opt.profiling.plan import Plan
from pats_opt.profiling.record import Asked, Raw
from pats_opt.profiling.sitting import IncompleteError, Sitting
from pats_opt.profiling.store import Store
from pats_opt.profiling.write import make_profile, profile_toml

_log = logging.getLogger(__name__)

#: Adapters resident at a time while measuring: two, to switch between.
SLOTS = 2


class Job(Struct, frozen=True, kw_only=True):
    """What the command was asked for.

    Attributes:
        output: The profile's file; the others go beside it.
        model: As in :class:`~pats_opt.execute.work.Settings`, and so are the next ones.
        adapters: Folder of LoRA files; None for random ones.
        name: The profile's name.
        memory_from: A profile whose memory figures stand in on a device that does not tell.
        time_limit: Seconds after which no other part is begun.
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

    @property
    def raw_path(self) -> Path:
        """Where the measurements are kept."""
        return self.output.with_suffix(".json")


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of it.

    Attributes:
        files: What was written.
        missing: Parts that were not measured, in words.
    """

    profile: Profile
    raw: Raw
    files: list[str]
    missing: list[str]


def run(
    job: Job,
    opener: Callable[[Settings, Callable[[], float]], Engine],
    now: Callable[[], float] = time.perf_counter,
) -> Outcome:
    """Measure what is missing and write all that can be written.

    Args:
        job: What to do.
        opener: Opens an engine.
        now: Seconds, from anywhere.

    Raises:
        InputError: The model, an adapter or the output is not fit, or the measurements there are of
            something else.
        IncompleteError: Too little was measured for a profile; what was is kept.
    """
    began = now()

    def clock() -> float:
        return now() - began

    refuse_unwritable(job.output)
    with tempfile.TemporaryDirectory(dir=job.output.parent, prefix=".adapters-") as scratch:
        files = adapters_of(job.model, job.adapters, Path(scratch))
        store = Store(job.raw_path, _asked(job, files), clock)
        settings = Settings(
            model=job.model,
            device=job.device,
            dtype=job.dtype,
            guidance=job.guidance,
            adapter_files=files,
            slots=SLOTS,
            memory_gib=job.memory_gib,
        )
        sitting = Sitting(job.plan, store, settings, opener, clock, time_limit=job.time_limit)
        missing = sitting.run()
    return _written(job, store.raw, missing)


def _asked(job: Job, files: dict[str, str]) -> Asked:
    return Asked(
        model=job.model,
        device=job.device,
        dtype=job.dtype,
        guidance=job.guidance,
        memory_gib=job.memory_gib,
        shrink=job.plan.shrink,
        slots=SLOTS,
        adapters=describe(files),
    )


def _written(job: Job, raw: Raw, missing: list[str]) -> Outcome:
    """Write the tables, then the profile, which needs the most."""
    folder, files = job.output.parent, [str(job.raw_path)] if raw.done else []
    if raw.switches:
        path = folder / tables.SWITCHING
        write_bytes(path, tables.switching_csv(raw).encode())
        files.append(str(path))
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
        raise IncompleteError(
            f"{error} ({'; '.join(missing)})" if missing else str(error)
        ) from None
    write_bytes(job.output, profile_toml(profile).encode())
    return Outcome(profile=profile, raw=raw, files=[str(job.output), *files], missing=missing)


def host_gib() -> float:
    """Memory of this machine."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return round(pages / 2**30, 2)
