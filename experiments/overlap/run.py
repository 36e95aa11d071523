"""Blocking loads against loads beside serving: writes ``../overlap*/result/runs.csv``.

    python experiments/overlap/run.py [--log LOG]

One process, one run at a time. A killed run goes on where it was: instances that a table holds are
left out. Every instance is run twice, as it is and with one channel of the loader (PROBLEM.md
section 5a); only latency costs, and a loss is the mean latency in seconds. LOG has the columns of
GenTD26; it is not part of this repository, and without it the windows of a log are left out.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import click
import polars as pl
from msgspec.structs import replace

import pats_opt
from pats_opt.core import registry
from pats_opt.core.policy import Action, Decide
from pats_opt.core.solver import Capabilities, Kind
from pats_opt.generate import Recipe, generate
from pats_opt.generate.config import Mix
from pats_opt.generate.recipe import (
    AdapterCache,
    Arrivals,
    GpuSettings,
    ImageCount,
    Popularity,
    ServiceSettings,
    StepCounts,
)
from pats_opt.generate.suites import recipes
from pats_opt.importers.mapping import LogColumns, LogMapping
from pats_opt.importers.trace import import_trace
from pats_opt.importers.window import Window
from pats_opt.model.checker import valid_loss
from pats_opt.model.files import write_bytes
from pats_opt.model.instance import Instance, Overlap
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem, Site
from pats_opt.simulate import simulate
from pats_solvers.online.base import OnlinePolicy
from pats_solvers.online.common.batch import BatchBuilder
from pats_solvers.online.common.context import RunContext, RunSetup
from pats_solvers.online.overlap import OverlapDecider

EXPERIMENTS = Path(__file__).parents[1]

#: What a table's lines hold; ``sha256`` has the first digits of the blocking instance's digest.
COLUMNS = (
    "instance",
    "sha256",
    "class",
    "requests",
    "adapters",
    "solver",
    "loss",
    "loads",
    "bound",
    "stop",
)

#: Policies that differ where all requests take equally long and none has a deadline.
POLICIES = (
    "fifo",
    "fcfs-grouped",
    "affinity",
    "batch-completion",
    "exhaustive",
    "gated",
    "k-limited",
    "amortized:max_wait_s=null",
    "drain-first",
    "cost-aware",
    "family-index",
    "credits",
    "polar",
    "pats",
    "price-index",
)
#: Policies of two models, without bounds on waiting.
LEAVING = (
    "fifo",
    "k-limited",
    "gated",
    "amortized:max_wait_s=null",
    "exhaustive",
    "family-index",
    "price-index",
)
PREFETCH = ("none", "next", "ahead")

LOADS = (0.5, 0.7, 0.85, 0.95)
LOAD_S = (0.1, 0.5, 1.0, 4.4, 15.0, 60.0)
RESIDENT = (2, 4, 8)
PROCESSES: tuple[Literal["poisson", "bursty"], ...] = ("poisson", "bursty")
#: Seeds of generated instances; of few that are solved as well, more.
SEEDS = (0, 1)

SOME_LOAD_S = (0.5, 4.4, 15.0)

#: Seconds of one request alone: 60 steps of the profile ``documents``, 30 of ``production``.
ALONE_S = {"documents": 3.6, "production": 4.44}

#: Requests in a window of the log, and windows.
LENGTH, WINDOWS = 120, 6


class Case(NamedTuple):
    """An instance with blocking loads, its twin with loads beside serving, and its class."""

    group: str
    blocking: Instance
    beside: Instance


#: Makes the instances of a table.
Cases = Callable[[], Iterator[Case]]

#: The runs of a case: solver, loss, loads, bound and why it stopped.
Runs = Callable[[Case], Iterator[tuple[str, ...]]]


class Asleep(OverlapDecider[RunContext]):
    """The model that a batch does not use is put to sleep, unless it is just waking."""

    def _start(self, batch: BatchBuilder) -> Action:
        waking = [a for a, _ in self.gpus[batch.gpu.index].loading]
        batch.resident = batch.active.union(waking)
        return super()._start(batch)


@dataclass(frozen=True)
class AsleepPolicy:
    """A policy whose GPU holds two models only while one wakes."""

    name: ClassVar[str] = "asleep"
    kind: ClassVar[Kind] = Kind.ONLINE
    capabilities: ClassVar[Capabilities] = OnlinePolicy.capabilities
    policy: OnlinePolicy

    def start(self, site: Site, seed: int) -> Decide:
        """A fresh decision function for one run."""
        policy = self.policy
        setup = RunSetup(site, policy.chooser(site), policy.make_eviction(site), seed)
        return Asleep(policy, policy.new_run(setup), None, policy.prefetch)


def recipe(
    load: float,
    load_s: float,
    resident: int,
    *,
    requests: int = 120,
    adapters: int = 12,
    process: Literal["poisson", "bursty"] = "poisson",
    profile: str = "documents",
    batch: int = 1,
    tick_s: float = 0.1,
) -> Recipe:
    """Equal requests of one option; the load counts batches of half the largest size."""
    steps = 60 if profile == "documents" else 30
    each = (batch + 1) // 2
    per_batch_s = steps * (0.06 if profile == "documents" else 0.03 + 0.118 * each)
    return Recipe(
        requests=requests,
        arrivals=Arrivals(process=process, cv=3.0, rate_per_s=load * each / per_batch_s),
        popularity=Popularity(adapters=adapters, zipf=0.8),
        steps=StepCounts(full=Mix(values=(steps,)), pruned=()),
        images=ImageCount(mode="one"),
        service=ServiceSettings(profile=profile, tick_s=tick_s),
        gpus=GpuSettings(batch=batch, resident="popular"),
        switching=AdapterCache(
            max_resident=resident, price_per_s=0.0, load_s=(load_s,) if load_s else ()
        ),
    )


def case(group: str, instance: Instance, beside: int | None = None) -> Case:
    """An instance and its twin, which holds ``beside`` adapters where given."""
    blocking = replace(instance, latency_price_per_s=1.0 / len(instance.requests))
    switching = replace(
        blocking.switching,
        overlap=Overlap(channels=1),
        max_resident=beside or blocking.switching.max_resident,
    )
    return Case(group, blocking, replace(blocking, switching=switching))


def told(*parts: tuple[str, float] | str) -> str:
    """A class's name: ``told("poisson", ("load", 0.95))`` is ``poisson-load0p95``."""
    return "-".join(
        part if isinstance(part, str) else f"{part[0]}{part[1]:g}".replace(".", "p")
        for part in parts
    )


def grid(seed: int = 0) -> Iterator[Case]:
    """Load, load time and cache, under Poisson and bursty arrivals."""
    for process, load, load_s, k in product(PROCESSES, LOADS, LOAD_S, RESIDENT):
        group = told(process, ("load", load), ("s", load_s), ("k", k))
        yield case(group, generate(recipe(load, load_s, k, process=process), seed))


def batches() -> Iterator[Case]:
    """Batches of up to four, at the documents' step times and at measured ones."""
    for seed, profile in product((0, 1, 2), ALONE_S):
        for load, load_s in product((0.7, 0.95), SOME_LOAD_S):
            group = told(f"batch4{profile}", ("load", load), ("s", load_s), "k4")
            made = recipe(load, load_s, 4, profile=profile, batch=4)
            yield case(group, generate(made, seed))


def windows(log: Path) -> Iterator[Case]:
    """Windows of a log at each load; load times are drawn from those of ``production``."""
    rows = pl.read_csv(log, columns=["t_s", "lora_ids"], infer_schema_length=None)
    times = rows.filter(pl.col("lora_ids").is_not_null())["t_s"].sort().to_list()
    columns = LogColumns(time="t_s", adapter="lora_ids")
    for i, load, k in product(range(WINDOWS), LOADS, RESIDENT):
        first = i * (len(times) // LENGTH) // WINDOWS * LENGTH
        span_s = times[first + LENGTH - 1] - times[first]
        speed = span_s * load / ALONE_S["production"] / (LENGTH - 1)
        window = Window(since=str(times[first]), count=LENGTH)
        mapping = LogMapping(columns=columns, window=window, speed=speed, lora_only=True)
        made = recipe(load, 0.0, k, profile="production")
        name = f"t{times[first]:.0f}"
        instance = import_trace(log, mapping, made, name=name).instance
        yield case(told("log", ("load", load), ("k", k)), instance)


def two() -> Iterator[Case]:
    """Two models: the instances of ``two_adapters``, and the same load of 0.7 at every ratio."""
    for group, seed, made in recipes(str(EXPERIMENTS / "two_adapters" / "suite.toml")):
        yield case(group, generate(made, seed, class_name=group), 2)
    for r, seed in product((0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0), range(5)):
        made = recipe(0.7, 3.6 * r, 1, requests=200, adapters=2, tick_s=0.36)
        yield case(told("steady", ("r", r)), generate(made, seed), 2)


def small() -> Iterator[Case]:
    """Instances for the optimum (8 requests) and the bound (40 requests)."""
    for seed, load, load_s in product(range(5), (0.7, 0.95), SOME_LOAD_S):
        group = told("tiny", ("load", load), ("s", load_s), "k2")
        made = recipe(load, load_s, 2, requests=8, adapters=5)
        yield case(group, generate(made, seed))
    for seed, load, load_s in product(range(3), (0.7, 0.95), SOME_LOAD_S):
        group = told("bounded", ("load", load), ("s", load_s), "k4")
        made = recipe(load, load_s, 4, requests=40, adapters=8, tick_s=0.2)
        yield case(group, generate(made, seed))


def online(case: Case) -> Iterator[tuple[str, ...]]:
    """Every policy with blocking loads, and with each rule of prefetching."""
    blocking, beside = Problem(case.blocking), Problem(case.beside)
    for spec in POLICIES:
        yield run(blocking, spec)
        for rule in PREFETCH[1:]:
            yield run(beside, f"{spec}:prefetch={rule}")


def leaving(case: Case) -> Iterator[tuple[str, ...]]:
    """Policies for two models, of which a GPU holds one, or both while one of them wakes."""
    blocking, beside = Problem(case.blocking), Problem(case.beside)
    for spec in LEAVING:
        yield run(blocking, spec)
        for rule in PREFETCH[1:]:
            yield run(beside, f"{spec}:prefetch={rule}", asleep=True)


def solved(case: Case) -> Iterator[tuple[str, ...]]:
    """The optimum or the bound of both twins, and the policies, ``prefetch=none`` included."""
    solver, limit_s = ("cpsat", 20) if case.group.startswith("tiny") else ("lagrangian", 8)
    for title, instance in (("blocking", case.blocking), ("beside", case.beside)):
        found = pats_opt.solve(instance, solver, time_limit=limit_s)
        loss, bound = (f"{value:.4f}" for value in (found.loss, found.bound))
        yield f"solver-{title}", loss, "", bound, found.status.stop
    yield from online(case)
    beside = Problem(case.beside)
    for spec in POLICIES:
        yield run(beside, f"{spec}:prefetch=none")


def run(problem: Problem, spec: str, *, asleep: bool = False) -> tuple[str, ...]:
    """Simulate a policy; its schedule is checked."""
    policy = registry.make(spec)
    assert isinstance(policy, OnlinePolicy)
    done = simulate(problem, AsleepPolicy(policy) if asleep else policy)
    assert done.plan is not None
    loss = valid_loss(problem, done.plan)
    return spec, f"{loss:.4f}", str(loads(problem, done.plan)), "", done.stop.value


def loads(problem: Problem, plan: Plan) -> int:
    """How often an adapter is loaded."""
    if plan.loads:
        return sum(map(len, plan.loads))
    count = 0
    for gpu, batches in zip(problem.site.gpus, plan.gpus, strict=True):
        held = gpu.resident
        for batch in batches:
            count, held = count + len(batch.resident - held), batch.resident
    return count


def write(experiment: str, cases: Iterator[Case], runs: Runs) -> None:
    """Add what is not there yet to a table."""
    path = EXPERIMENTS / experiment / "result" / "runs.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = set[tuple[str, str]]()
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            known = {(row["class"], row["sha256"]) for row in csv.DictReader(file)}
    began = time.monotonic()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not known:
            writer.writerow(COLUMNS)
        for case in cases:
            instance = case.blocking
            sha256 = instance.sha256[:12]
            if (case.group, sha256) in known:
                continue
            about = (instance.name, sha256, case.group, len(instance.requests))
            used = len({request.adapter for request in instance.requests})
            writer.writerows([(*about, used, *line) for line in runs(case)])
            file.flush()
            click.echo(f"{time.monotonic() - began:.0f} s  {experiment}  {case.group}", err=True)


@click.command()
@click.option("--log", type=click.Path(exists=True, path_type=Path), help="A GenTD26 log.")
def main(log: Path | None) -> None:
    """Run everything that the tables lack."""
    write("overlap_two", two(), leaving)
    write("overlap_small", small(), solved)
    write("overlap", batches(), online)
    if log is not None:
        write("overlap", windows(log), online)
    for seed in SEEDS:
        write("overlap", grid(seed), online)
    machine = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python "
        f"{platform.python_version()}",
        "packages": {name: version(name) for name in ("pats-opt", "ortools", "numpy", "numba")},
    }
    text = json.dumps(machine, indent=1) + "\n"
    write_bytes(EXPERIMENTS / "overlap" / "result" / "config.json", text.encode())


if __name__ == "__main__":
    main()
