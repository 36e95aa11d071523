"""Runs what ``cases.py`` describes, and writes the tables in ``result/``.

    python -m experiments.prompt_aware.run [--seeds N]

One process, one run at a time, seed by seed. A killed run goes on where it was: what a table holds
is left out. More seeds can be added later.
"""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import NamedTuple

import click

import pats_opt
from experiments.prompt_aware.cases import (
    BASELINES,
    COMMON,
    DEEP,
    OBJECTIVES,
    SYSTEMS,
    TOLERANCE,
    WINDOW_RATES,
    WINDOWS,
    Case,
    awareness,
    baselines,
    division,
    hits,
    steady,
    steady_phase,
    until_due,
    window,
    with_batching,
)
from pats_opt.generate import generate
from pats_opt.model.files import write_bytes
from pats_opt.model.problem import Problem
from pats_opt.tables import ScheduleTable

RESULT = Path(__file__).parent / "result"

SEEDS = 5
#: Seeds of windows, and seconds that the solver has for each.
WINDOW_SEEDS, BOUND_S = 2, 30.0

#: Share in time that a capacity asks for, the rates between which it is sought, and how closely.
IN_TIME, SLOWEST, FASTEST, CLOSE = 0.95, 30.0, 480.0, 1.02

#: Gives the bound of a window, and its best schedule.
SOLVER = "lagrangian"

#: Policies that know no levels, on windows.
OTHERS = ("price-index", "edd:option=fewest", "fifo")

RUNS = (
    "experiment",
    "case",
    "seed",
    "policy",
    "phase",
    "requests",
    "served",
    "in_time",
    "quality",
    "level",
    "redirected",
)
CAPACITY = ("experiment", "case", "seed", "policy", "rate_per_min")
BOUNDS = ("experiment", "case", "seed", "policy", "requests", "loss", "bound", "stop")

#: Experiment, case and seed of lines that belong together, and a line after them.
Key = tuple[str, str, int]
Line = tuple[object, ...]


class Work(NamedTuple):
    """The lines of a key, and what makes them."""

    key: Key
    lines: Callable[[], Iterable[Line]]


class Count(NamedTuple):
    """What became of the requests of a phase; ``quality`` is summed, ``level`` their mean K."""

    requests: int
    served: int
    in_time: int
    quality: float
    level: float
    redirected: int


def phases(table: ScheduleTable, case: Case) -> dict[str, Count]:
    """Count the requests of each phase, by arrival."""
    tick_s = table.problem.site.tick_s
    phase = [case.phase(job.arrival * tick_s) for job in table.problem.jobs]
    asked = Counter(phase)
    requests = table.requests
    chosen = [
        (phase[job.index], job.options[option], late, job.cache_level or 0)
        for job, option, late in zip(
            table.jobs, requests.option.tolist(), requests.late.tolist(), strict=True
        )
    ]
    found = {}
    for name in asked:
        mine = [(option, late, hit) for at, option, late, hit in chosen if at == name]
        served = len(mine)
        found[name] = Count(
            requests=asked[name],
            served=served,
            in_time=sum(not late for _, late, _ in mine),
            quality=round(math.fsum(option.quality for option, _, _ in mine), 3),
            level=round(sum(option.skip for option, _, _ in mine) / max(1, served), 2),
            redirected=sum(option.skip > hit for option, _, hit in mine),
        )
    found.pop("", None)
    return found


def simulated(problem: Problem, policy: str, seed: int) -> ScheduleTable:
    """Return the checked schedule of a policy."""
    result = pats_opt.solve(problem, policy, seed=seed)
    return ScheduleTable.from_replay(problem, result.replayed, result.loads)


def run(case: Case, seed: int) -> Iterator[tuple[str, str, Count]]:
    """Run every policy of a case on one instance; yields the policy, and a count by phase."""
    problem = Problem(generate(case.recipe, seed))
    for policy in case.policies:
        for phase, count in phases(simulated(problem, policy, seed), case).items():
            yield policy, phase, count


def capacity(policy: str, objective: float, seed: int) -> float:
    """Return the rate up to which 95 % are in time, by bisection; 0 where the least is too much.

    More load is taken for worse. Arrivals of a seed are the same at every rate but for their scale.
    """

    def holds(rate: float) -> bool:
        case = Case("capacity", "", steady(rate, objective), (policy,), steady_phase)
        ((_, _, count),) = run(case, seed)
        return count.in_time >= IN_TIME * count.requests

    low, high = SLOWEST, FASTEST
    if not holds(low):
        return 0.0
    while high / low > CLOSE:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return round(low, 2)


def solved(gpus: int, batch: int, requests: int, rate: float, seed: int) -> Iterator[Line]:
    """Bound and best schedule of a window, and what each policy loses on it."""
    instance = generate(window(gpus, batch, requests, rate), seed)
    found = pats_opt.solve(until_due(instance), SOLVER, time_limit=BOUND_S, seed=seed)
    yield SOLVER, requests, told(found.loss), told(found.bound), found.status.stop.value
    problem = Problem(instance)
    for policy in (*BASELINES, *SYSTEMS, *OTHERS):
        if policy == DEEP:  # of 8 GPUs; in a window that is Clipper
            continue
        loss = pats_opt.solve(problem, policy, seed=seed).loss
        yield policy, requests, told(loss), "", ""


def told(value: float | None) -> str:
    """Return a figure as a table has it."""
    return "" if value is None else f"{value:.4f}"


def simulations(folder: Path, seed: int) -> Iterator[Work]:
    """Return the work of ``runs.csv``."""
    for case in (*baselines(), *awareness(), *division(), *hits(folder)):
        yield Work((case.experiment, case.name, seed), partial(counted, case, seed))


def counted(case: Case, seed: int) -> Iterator[Line]:
    """Return the lines of a case."""
    return ((policy, phase, *count) for policy, phase, count in run(case, seed))


def capacities(seed: int) -> Iterator[Work]:
    """Return the work of ``capacity.csv``."""
    for objective in OBJECTIVES:
        yield Work(("capacity", f"slo{objective}", seed), partial(carried, objective, seed))


def carried(objective: float, seed: int) -> Iterator[Line]:
    """Return what each policy carries, all with the common batching rule.

    With some of their own rules a share waits too long at any load, so there is nothing to bisect.
    """
    for policy in (*BASELINES, TOLERANCE):
        spec = with_batching(policy, COMMON)
        yield spec, capacity(spec, objective, seed)


def windows(seed: int) -> Iterator[Work]:
    """Return the work of ``windows.csv``."""
    for (gpus, batch, requests), rate in product(WINDOWS, WINDOW_RATES):
        key = "windows", f"{gpus}gpu-b{batch}-{rate}", seed
        yield Work(key, partial(solved, gpus, batch, requests, rate, seed))


def write(path: Path, columns: Sequence[str], works: Iterable[Work]) -> None:
    """Add what is not there yet to a table."""
    known = set[Key]()
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            known = {(row["experiment"], row["case"], int(row["seed"])) for row in rows}
    began = time.monotonic()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not known:
            writer.writerow(columns)
        for work in works:
            if work.key in known:
                continue
            writer.writerows([(*work.key, *line) for line in work.lines()])
            file.flush()
            click.echo(f"{time.monotonic() - began:.0f} s  {work.key}", err=True)


@click.command()
@click.option("--seeds", default=SEEDS, show_default=True, help="Seeds of what is simulated.")
@click.option(
    "--out", default=RESULT, type=click.Path(path_type=Path), help="Folder of the tables."
)
def main(seeds: int, out: Path) -> None:
    """Run everything that the tables lack."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            write(out / "runs.csv", RUNS, simulations(Path(folder), seed))
            write(out / "capacity.csv", CAPACITY, capacities(seed))
    for seed in range(WINDOW_SEEDS):
        write(out / "windows.csv", BOUNDS, windows(seed))
    machine = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python "
        f"{platform.python_version()}",
        "packages": {name: version(name) for name in ("pats-opt", "ortools", "numpy", "numba")},
        "seconds_of_a_bound": BOUND_S,
    }
    write_bytes(out / "config.json", (json.dumps(machine, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
