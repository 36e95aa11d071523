"""Records of runs: one JSON file each, with the configuration, the machine and the results.

``FOLDER/runs/<key>.json`` holds a :class:`Record`; ``FOLDER/schedules/<key>.json`` its schedule.
The key is made of readable names and the digest of everything that decides the result.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Container
from enum import StrEnum
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from pats_opt import __version__
from pats_opt.errors import InputError
from pats_opt.model.files import encode, read_bytes, write_bytes
from pats_opt.model.instance import digest
from pats_opt.model.loss import LossTerms
from pats_opt.model.parsing import convert, parse_json
from pats_opt.model.schedule import Status
from pats_opt.runs.setting import RunSetting
from pats_opt.tables import LevelCount, Metrics, Quantile
from pats_opt.tables.windows import WindowService

#: Packages whose versions a record names, where they are installed.
PACKAGES = ("ortools", "pulp", "numpy", "msgspec")


#: Folder of the records, in that of their run.
RECORDS = "runs"


class RunOutcome(StrEnum):
    """How a run ended."""

    SOLVED = "solved"  #: with a checked schedule, optimal or not
    NO_SCHEDULE = "no schedule"  #: stopped without a schedule; it may still give a bound
    INFEASIBLE = "infeasible"  #: proven: no schedule exists
    NOT_APPLICABLE = "not applicable"  #: the solver lacks a feature and refused
    FAILED = "failed"  #: an error, see ``error``
    CRASHED = "crashed"  #: its process died, of a signal or for want of memory
    TIMED_OUT = "timed out"  #: still busy after the time limit and the grace, and killed


#: Outcomes that count against a solver: it should have found a schedule and did not.
FAILURES = frozenset(
    {RunOutcome.NO_SCHEDULE, RunOutcome.FAILED, RunOutcome.CRASHED, RunOutcome.TIMED_OUT}
)


class InstanceInfo(Struct, frozen=True, kw_only=True):
    """An instance of a report.

    Attributes:
        file: File, relative to the report's folder.
        sha256: Digest.
        group: Class of instances over which means are taken.
        latency_price: Its own latency price per second.
        ticks: What its ticks distort, as :func:`pats_opt.model.timing.tick_distortion` says it.
    """

    name: str
    file: str
    sha256: str
    group: str
    requests: int
    adapters: int
    gpus: int
    latency_price: float | None = None
    ticks: str | None = None


class SolverInfo(Struct, frozen=True, kw_only=True):
    """A solver of a report: its spec, and the name, kind and parameters from the registry."""

    spec: str
    name: str
    kind: str
    params: dict[str, Any]

    def apart_from(self, names: Container[str]) -> tuple[str, dict[str, Any]]:
        """Its name and its parameters but these, to find the same solver with others of them."""
        return self.name, {k: v for k, v in self.params.items() if k not in names}


class RunConfig(Struct, frozen=True, kw_only=True):
    """Everything that decides the result of one run.

    Attributes:
        time_limit: Time limit of the solver, s; None for none.
        seed: Seed of every random choice.
        version: Version of pats-opt.
        latency_price: Price per second instead of the instance's own, or None.
        setting: What else of the instance is changed, and its measurement; None for nothing.
    """

    instance: InstanceInfo
    solver: SolverInfo
    time_limit: float | None
    seed: int
    version: str = __version__
    latency_price: float | None = None
    setting: RunSetting | None = None

    @property
    def key(self) -> str:
        """File name of the run without its suffix: safe, readable and unique."""
        decides = {
            "instance": self.instance.sha256,
            "solver": self.solver.name,
            "params": self.solver.params,
            "time_limit": self.time_limit,
            "seed": self.seed,
            "version": self.version,
        }
        if self.latency_price is not None:
            decides["latency_price"] = self.latency_price
        if self.setting is not None:
            decides["setting"] = msgspec.to_builtins(self.setting)
        readable = f"{slug(self.instance.name)}--{slug(self.solver.spec)}"
        return f"{readable}--{digest(decides)[:12]}"


class RunError(Struct, frozen=True, kw_only=True):
    """Why there is no schedule: the error's type, its one line, and where it happened."""

    type: str
    message: str
    detail: str = ""


class ProgressPoint(Struct, frozen=True, array_like=True):
    """Best bound and loss of a run so far, with the seconds since it began."""

    seconds: float
    bound: float | None
    loss: float | None


class Record(Struct, frozen=True, kw_only=True, tag="pats-opt/run", tag_field="format"):
    """One finished run, whatever its end. Losses and figures are the checker's, not the solver's.

    Attributes:
        config: The configuration.
        versions: Of Python and the packages.
        machine: Platform, processor and cores.
        status: Why the solver stopped, and the schedule's status; None without a result.
        error: Why there is no result, or None.
        started: UTC, ISO 8601.
        wall_s: Seconds of the whole process's work, reading and checking included.
        runtime_s: Seconds of the solver, its warm start included; None without a result.
        loss: Of the schedule; None without one.
        bound: Proven lower bound on every schedule's loss, or None.
        utility: The documents' utility, or None.
        terms: The loss term by term, or None.
        metrics: Latency, switching and use of the GPUs, or None.
        details: Further figures of the solver.
        schedule: The schedule's file, relative to the report's folder, or None.
        trace: Bounds and losses over time; empty in old records.
        latencies: Quantiles of latency (:func:`pats_opt.tables.latency_quantiles`); empty without
            a schedule and in old records.
        attainment: Quantiles of latency by deadline (:func:`pats_opt.tables.attainment`); empty
            where there are none and in old records.
        levels: Requests served by level of approximate caching; empty where no option skips steps,
            without a schedule and in old records.
        peak_gib: Most memory that the run's process or a child of it held; None where that is not
            known, and in old records. Memory that earlier runs of the process left counts.
        windows: Service by window of requests, where the run's setting asks for it.
    """

    version: Literal[1] = 1
    config: RunConfig
    versions: dict[str, str]
    machine: dict[str, str | int]
    end: RunOutcome
    status: Status | None = None
    error: RunError | None = None
    started: str
    wall_s: float
    runtime_s: float | None = None
    loss: float | None = None
    bound: float | None = None
    utility: float | None = None
    terms: LossTerms | None = None
    metrics: Metrics | None = None
    details: dict[str, Any] = {}
    schedule: str | None = None
    trace: tuple[ProgressPoint, ...] = ()
    latencies: tuple[Quantile, ...] = ()
    attainment: tuple[Quantile, ...] = ()
    levels: tuple[LevelCount, ...] = ()
    peak_gib: float | None = None
    windows: tuple[WindowService, ...] = ()

    @property
    def seconds(self) -> float:
        """Duration of the run: the solver's own time where it is known, else the process's."""
        return self.wall_s if self.runtime_s is None else self.runtime_s


class Task(Struct, frozen=True, kw_only=True):
    """One run to do: its configuration, the path of its instance, and the report's folder."""

    config: RunConfig
    instance: str
    folder: str


def slug(text: str) -> str:
    """The letters, digits, dots and hyphens of a text as a short part of a file name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:40].rstrip("-.") or "x"


def record_path(folder: Path, config: RunConfig) -> Path:
    """Path of the record of a run."""
    return folder / RECORDS / f"{config.key}.json"


def write_record(folder: Path, record: Record) -> None:
    """Write a record."""
    write_bytes(record_path(folder, record.config), encode(record))


def read_record(folder: Path, config: RunConfig) -> Record | None:
    """The record of a run, or None where there is none that can be read."""
    try:
        data = read_bytes(record_path(folder, config))
        record: Record = convert(parse_json(data), Record)
    except InputError:
        return None
    # The group or the path of the instance may have changed since.
    return msgspec.structs.replace(record, config=config)


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of Python, this package and those that solve."""
    found = {"python": platform.python_version(), "pats-opt": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def machine() -> dict[str, str | int]:
    """The machine a run was done on, without its name."""
    system = f"{platform.system()} {platform.machine()}"
    return {"platform": system, "cpu": _cpu(), "cores": cores()}


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu() -> str:
    """The processor's model where it is known, else its architecture."""
    if sys.platform == "linux":
        try:
            text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()
