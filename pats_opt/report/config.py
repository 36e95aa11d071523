"""Configuration of a report: options of the command line, or a TOML file with the same keys.

A run file such as ``experiments/first/config.toml``::

    title = "Exact optimum against PATS and FIFO"
    instances = ["instances"]          # files, or folders of *.json; relative to this file
    suites = ["demo", "mine.toml"]     # generated suites, named or from files
    solvers = ["auto", "pats", "fifo"]
    time_limit = 60
    seed = 0
    latency_sweep = "auto"             # or latency prices: [0.01, 0.1]
    pictures = true                    # a page of each schedule
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from pats_opt.core import registry
from pats_opt.core.solver import Kind
from pats_opt.errors import InputError, in_file
from pats_opt.generate import suites
from pats_opt.generate.config import as_table, read_toml
from pats_opt.model.files import StrPath, encode, read_document, write_bytes
from pats_opt.model.instance import Instance, Price, digest
from pats_opt.model.timing import tick_distortion
from pats_opt.runs.instances import InstanceFile, instance_files
from pats_opt.runs.record import InstanceInfo, RunConfig, SolverInfo, Task

#: The suite and the solvers of a report without arguments.
DEFAULT_SUITE = "demo"
DEFAULT_SOLVERS = ("auto", "price-index", "pats", "fifo")

#: Time limit of a solver that is no online policy, unless a report has one, s.
DEFAULT_LIMIT_S = 20.0

#: Multiples of an instance's latency price that an automatic sweep adds.
SWEEP_FACTORS = (1 / 8, 1 / 4, 1 / 2, 2.0, 4.0, 8.0)

#: Its centre for an instance without a latency price: that of PROBLEM.md's example.
SWEEP_AROUND = 0.05

Limit = Annotated[float, Meta(gt=0, le=1e7)]


class ReportConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A report's configuration.

    Attributes:
        title: Heading of the pages.
        instances: Instance files, or folders whose ``*.json`` are instances.
        suites: Generated suites: names, or TOML files that hold one.
        solvers: Solver specs, ``name`` or ``name:key=value``.
        time_limit: Time limit of each run's solver, s; None for :data:`DEFAULT_LIMIT_S`, and no
            limit for online policies.
        grace_s: Seconds past it after which the run's process is killed.
        seed: Seed of every random choice.
        latency_sweep: Latency prices besides the instance's own, for the trade-off curve; ``auto``
            is a geometric grid around its own.
        pictures: Whether each schedule is drawn.
    """

    title: str = "Gap report"
    instances: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    solvers: Annotated[tuple[str, ...], Meta(min_length=1)] = DEFAULT_SOLVERS
    time_limit: Limit | None = None
    grace_s: Annotated[float, Meta(ge=0, le=1e7)] = 60.0
    seed: Annotated[int, Meta(ge=0)] = 0
    latency_sweep: tuple[Price, ...] | Literal["auto"] = ()
    pictures: bool = True


def read_config(path: StrPath) -> ReportConfig:
    """Read a run file; its relative paths count from its folder.

    Raises:
        InputError: The file cannot be read or is no configuration.
    """
    config = as_table(read_toml(path), ReportConfig, str(path))
    moved = _moved(config, Path(path).parent)
    for i, spec in enumerate(moved.solvers):
        with in_file(path, f"solvers[{i}]"):
            registry.make(spec)
    for i, suite in enumerate(moved.suites):
        with in_file(path, f"suites[{i}]"):
            suites.suite(suite)
    for i, instance in enumerate(moved.instances):
        with in_file(path, f"instances[{i}]"):
            if not Path(instance).exists():
                raise InputError(f"there is no {instance!r}", hint="check the path")
    return moved


def save_config(config: ReportConfig, folder: Path) -> None:
    """Keep a report's configuration in its folder, with paths that count from there."""

    def relative(path: str) -> str:
        return Path(os.path.relpath(path, folder)).as_posix()

    write_bytes(folder / "config.json", encode(_with_paths(config, relative)))


def saved_config(folder: Path) -> ReportConfig | None:
    """The configuration kept in a report's folder, or None where there is none."""
    path = folder / "config.json"
    return _moved(read_document(path, ReportConfig), folder) if path.is_file() else None


def _moved(config: ReportConfig, folder: Path) -> ReportConfig:
    return _with_paths(config, lambda path: str(folder / path))


def _with_paths(config: ReportConfig, changed: Callable[[str], str]) -> ReportConfig:
    """The configuration with every path in it changed; names of suites are none."""
    return msgspec.structs.replace(
        config,
        instances=tuple(map(changed, config.instances)),
        suites=tuple(changed(s) if s.endswith(suites.SUFFIX) else s for s in config.suites),
    )


def solver_info(spec: str) -> SolverInfo:
    """A solver spec with its name, kind and parameters from the registry.

    Raises:
        InputError: A name or parameter is unknown.
    """
    made = registry.make(spec)
    return SolverInfo(
        spec=spec, name=made.name, kind=made.kind.value, params=registry.parameters(made)
    )


def limit_of(config: ReportConfig, solver: SolverInfo) -> float | None:
    """The time limit of a solver's runs, s; None for an online policy that was given none."""
    if config.time_limit is None and solver.kind != Kind.ONLINE:
        return DEFAULT_LIMIT_S
    return config.time_limit


def instance_info(source: InstanceFile, folder: Path) -> InstanceInfo:
    """The facts of an instance that records of runs in ``folder`` keep."""
    instance, file, group = source
    return InstanceInfo(
        name=instance.name,
        file=Path(os.path.relpath(file, folder)).as_posix(),
        sha256=instance.sha256,
        group=group,
        requests=len(instance.requests),
        adapters=len(instance.adapters),
        gpus=len(instance.gpus),
        latency_price=instance.latency_price_per_s,
        ticks=tick_distortion(instance),
    )


def sweep(config: ReportConfig, instance: Instance) -> list[float]:
    """The latency prices of an instance's sweep, rising, without its own."""
    own = instance.latency_price_per_s
    prices = config.latency_sweep
    if prices == "auto":
        around = own or SWEEP_AROUND
        prices = (around, *(factor * around for factor in SWEEP_FACTORS))
    return sorted({price for price in prices if price != own})


def tasks(config: ReportConfig, folder: Path) -> list[Task]:
    """Every run of a report, instance by instance; equal runs are done once.

    Raises:
        InputError: The configuration names something that cannot be run.
    """
    solvers = [solver_info(spec) for spec in config.solvers]
    found: dict[str, Task] = {}
    for source in instance_files(config.instances, config.suites, folder):
        info = instance_info(source, folder)
        for price, solver in product((None, *sweep(config, source.instance)), solvers):
            run = RunConfig(
                instance=info,
                solver=solver,
                time_limit=limit_of(config, solver),
                seed=config.seed,
                latency_price=price,
            )
            same = (info.sha256, solver.name, digest(solver.params), price)
            found.setdefault(
                repr(same), Task(config=run, instance=str(source.file), folder=str(folder))
            )
    return list(found.values())
