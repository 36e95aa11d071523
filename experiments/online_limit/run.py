"""Measures what ``cases.py`` describes, and writes the tables in ``result/``.

    python -m experiments.online_limit.run

One process, one system at a time. A killed run goes on where it was: systems that the tables hold
are left out.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from experiments.online_limit.cases import (
    EXPLAINED,
    OURS,
    POLICIES,
    Cell,
    bursty,
    cells,
    large,
    load_of,
)
from experiments.online_limit.regret import WAYS, BestValues
from pats_opt.core.policy import Policy
from pats_opt.limits.limit import named_policies, price_bound
from pats_opt.limits.sampling import (
    POLICY_SEEDS,
    OfflineEstimate,
    PolicyEstimate,
    long_run_mean,
    offline_mean,
)
from pats_opt.limits.stationary import StationaryLoad
from pats_opt.model.files import encode, write_bytes
from pats_opt.model.problem import Problem
from pats_opt.solving.solve import solve
from pats_solvers.semi_markov.optimum import online_optimum
from pats_solvers.semi_markov.policy import OnlineOptimum

RESULT = Path(__file__).parent / "result"

#: Length of queues, relative gap of the optimum, paths of a policy and their requests.
QUEUE, TOLERANCE, PATHS, REQUESTS = 24, 1e-4, 4, 500
#: Paths of the offline optimum, requests of the shorter window, seconds of each optimum.
OFFLINE_PATHS, WINDOW, TIME_LIMIT_S = 6, 12, 5.0
#: Length of queues of the bound by a price.
PRICED_QUEUE = 40
SEED = 0

#: Names of the yardsticks among the policies.
ONLINE, OFFLINE = "online-optimum", "offline-optimum"

SYSTEM = ("load", "ratio", "skew", "options", "batch", "adapters")
LOSSES = (*SYSTEM, "arrivals", "policy", "loss", "low", "high", "more", "more_low", "more_high")
BOUNDS = (*SYSTEM, "busy", "states", "loss", "lower", "upper", "seconds")
PRICED = (*SYSTEM, "bound", "seconds")
DECISIONS = (*SYSTEM, "policy", "requests", *WAYS)

#: The tables, in the order in which they are written.
TABLES = {"bounds": BOUNDS, "losses": LOSSES, "priced": PRICED, "decisions": DECISIONS}

Line = tuple[object, ...]


def measured(cell: Cell) -> Iterator[tuple[str, Line]]:
    """Yield the lines of a system, each with its table."""
    load = load_of(cell)
    began = time.perf_counter()
    found = online_optimum(load.site, load.kinds, QUEUE, tolerance=TOLERANCE)
    seconds = time.perf_counter() - began
    ticks = 1.0 / (load.rate_per_s * load.site.tick_s)
    bounds = [f"{value * ticks:.5f}" for value in (found.found, found.lower, found.upper)]
    yield "bounds", (f"{found.load:.4f}", found.states, *bounds, f"{seconds:.1f}")
    with TemporaryDirectory() as folder:
        table = Path(folder) / "policy.json"
        write_bytes(table, encode(found.table))
        best = OnlineOptimum(model=str(table), ahead=True)
        policies = [(ONLINE, best), *named_policies(POLICIES)]
        for line in losses(load, "poisson", policies, found.found * ticks):
            yield "losses", line
        ours = named_policies((OURS,))
        for line in losses(bursty(load), "bursty", [*ours, *policies], None):
            yield "losses", line
    for line in decisions(load):
        yield "decisions", line


def beyond(cell: Cell) -> Iterator[tuple[str, Line]]:
    """Yield the lines of a system that is too large for the online optimum."""
    for line in losses(load_of(cell), "poisson", named_policies(POLICIES), None):
        yield "losses", line


def priced(cell: Cell) -> Iterator[tuple[str, Line]]:
    """Yield the bound by a price of the GPU."""
    load, began = load_of(cell), time.perf_counter()
    found = price_bound(load, PRICED_QUEUE)
    assert found is not None
    yield "priced", (f"{found.loss:.5f}", f"{time.perf_counter() - began:.1f}")


def losses(
    load: StationaryLoad,
    arrivals: str,
    policies: Sequence[tuple[str, Policy]],
    mean: float | None,
) -> Iterator[Line]:
    """Yield the losses of policies and of the offline optimum.

    ``more`` is the difference to the first policy on the same paths. The offline optimum is
    measured beside the first policy, of which ``mean`` is the loss if it is known.
    """
    best = list[float]()
    for place, (name, policy) in enumerate(policies):
        if place and name == policies[0][0]:
            continue
        found = long_run_mean(load, name, policy, best, paths=PATHS, requests=REQUESTS, seed=SEED)
        if mean is None:
            mean = found.mean
        yield (arrivals, name, *estimated(found))
    assert mean is not None
    offline = offline_mean(
        load,
        policies[0][1],
        mean,
        paths=OFFLINE_PATHS,
        window=WINDOW,
        time_limit=TIME_LIMIT_S,
        seed=SEED,
    )
    yield (arrivals, OFFLINE, *sampled(offline))


def estimated(found: PolicyEstimate) -> Iterator[str]:
    """Yield the columns of a policy; empty where its losses grow along the paths."""
    for mean, interval in (
        (found.mean, found.interval),
        (found.gives_away, found.gives_away_interval),
    ):
        for value in (mean, *(interval or (mean, mean))):
            yield "" if found.growing else f"{value:.5f}"


def sampled(found: OfflineEstimate) -> Iterator[str]:
    """Yield the columns of the offline optimum."""
    mean = (found.low + found.high) / 2.0
    for value in (mean, *(found.interval or (mean, mean))):
        yield f"{value:.5f}"
    yield from ("", "", "")


def decisions(load: StationaryLoad) -> Iterator[Line]:
    """Yield the losses per request of decisions that are not the best ones."""
    values = BestValues(load, QUEUE, TOLERANCE)
    for name, policy in named_policies(EXPLAINED):
        lost = dict.fromkeys(WAYS, 0.0)
        for path in range(PATHS):
            problem = Problem(load.path(REQUESTS, POLICY_SEEDS * (SEED + 1) + path))
            for way, more in values.regrets(problem, solve(problem, policy)).items():
                lost[way] += more
        requests = PATHS * REQUESTS
        yield (name, requests, *[f"{max(0.0, lost[way] / requests):.5f}" for way in WAYS])


def work() -> Iterator[tuple[Cell, Iterator[tuple[str, Line]], str]]:
    """Yield each system with its lines, and the table that marks it as done."""
    for cell in cells():
        yield cell, measured(cell), "decisions"
    for cell in large():
        yield cell, beyond(cell), "losses"
    for cell in (*cells(), *large()):
        yield cell, priced(cell), "priced"


def known(path: Path) -> set[tuple[str, ...]]:
    """Return the systems that a table holds."""
    if not path.exists():
        return set()
    with path.open(encoding="utf-8", newline="") as file:
        return {tuple(row[name] for name in SYSTEM) for row in csv.DictReader(file)}


def append(path: Path, columns: Sequence[str], lines: Iterable[Line]) -> None:
    """Add lines to a table, which is made if it is not there."""
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(columns)
        writer.writerows(lines)


@click.command()
@click.option(
    "--out", default=RESULT, type=click.Path(path_type=Path), help="Folder of the tables."
)
def main(out: Path) -> None:
    """Measure every system that the tables lack."""
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    for cell, lines, last in work():
        system = tuple(str(getattr(cell, name)) for name in SYSTEM)
        if system in known(out / f"{last}.csv"):
            continue
        found = list(lines)
        for name, columns in TABLES.items():
            mine = [(*system, *line) for table, line in found if table == name]
            if mine:
                append(out / f"{name}.csv", columns, mine)
        click.echo(f"{time.monotonic() - began:.0f} s  {cell.name}", err=True)
    machine = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python "
        f"{platform.python_version()}",
        "packages": {name: version(name) for name in ("pats-opt", "numpy", "numba")},
        "paths": PATHS,
        "requests": REQUESTS,
        "offline_paths": OFFLINE_PATHS,
        "windows": [WINDOW, 2 * WINDOW],
    }
    write_bytes(out / "config.json", (json.dumps(machine, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
