"""What it costs to bind requests to GPUs when they arrive, by rule of dispatch.

    python benchmarks/dispatch.py

writes ``benchmarks/results/dispatch.csv`` and ``.md``. Every rule runs on the same instances with
the same policy on each GPU, and is compared with ``central``, where all GPUs share one queue. The
figures are simulated, so they are the same on every machine.
"""

from __future__ import annotations

import csv
import math
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pats_opt.generate import Recipe

RESULTS = Path(__file__).parent / "results"
#: The policy of each GPU.
POLICY = "affinity"
GPUS, ADAPTERS, RESIDENT, BATCH, STEPS, LOAD_S = 8, 100, 4, 4, 30, 4.4
REQUESTS, SEEDS = 2000, range(3)
LOADS = (0.7, 0.95)
#: How adapters are loaded, with the parameter of the policy.
WAYS = {"blocking": "", "beside serving": ":prefetch=ahead"}
STEAL, REBALANCE = ":steal=true", ":rebalance=true"
#: Rules that leave more to be balanced than others.
UNBALANCED = ("hash", "dualmap")


class Run(NamedTuple):
    """One simulation."""

    way: str
    load: float
    seed: int
    dispatch: str
    latency_mean_s: float
    latency_p99_s: float
    loads: int


def recipe(way: str, load: float) -> Recipe:
    """The recipe of the instances: equal requests of popular and of rare adapters.

    The load counts a load of an adapter with each batch, also where they run beside serving, so
    that both ways have the same requests.
    """
    from pats_opt.generate import Recipe
    from pats_opt.generate.config import Mix
    from pats_opt.generate.recipe import (
        AdapterCache,
        Arrivals,
        GpuSettings,
        Popularity,
        ServiceSettings,
        StepCounts,
        Terms,
    )

    return Recipe(
        requests=REQUESTS,
        arrivals=Arrivals(load=load, batch=BATCH),
        popularity=Popularity(adapters=ADAPTERS, zipf=0.9),
        steps=StepCounts(full=Mix(values=(STEPS,)), pruned=()),
        service=ServiceSettings(profile="a100-40g", tick_s=0.1),
        gpus=GpuSettings(count=GPUS, batch=BATCH, resident="popular"),
        switching=AdapterCache(
            max_resident=RESIDENT,
            load_s=(LOAD_S,),
            price_per_s=0.0,
            channels=None if way == "blocking" else 1,
        ),
        terms=Terms(latency_price_per_s=1.0),
    )


def dispatches() -> list[str]:
    """Every rule, alone and with stealing; the unbalanced ones with rebalancing too."""
    from pats_solvers.online.dispatch.rules import ROUTERS

    found = ["central"]
    for rule in ROUTERS:
        found += [rule, rule + STEAL]
        if rule in UNBALANCED:
            found += [rule + REBALANCE, rule + STEAL + REBALANCE]
    return found


def runs(case: tuple[str, float, int]) -> list[Run]:
    """All rules on one instance."""
    from pats_opt.core.registry import make
    from pats_opt.generate import generate
    from pats_opt.model.problem import Problem
    from pats_opt.solving.solve import solve

    way, load, seed = case
    problem = Problem(generate(recipe(way, load), seed=seed))
    found = []
    for dispatch in dispatches():
        spec = f"{POLICY}{WAYS[way]}:dispatch={dispatch}"
        metrics = solve(problem, make(spec), seed=seed).metrics
        assert metrics is not None
        mean, p99 = metrics.latency_mean_s, metrics.latency_p99_s
        assert mean is not None
        assert p99 is not None
        row = way, load, seed, dispatch, round(mean, 3), round(p99, 3), metrics.loads
        found.append(Run(*row))
    return found


def main() -> None:
    """Simulate everything and write the results."""
    cases = list(product(WAYS, LOADS, SEEDS))
    found = [run for case in cases for run in runs(case)]
    with (RESULTS / "dispatch.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Run._fields)
        writer.writerows(found)
    (RESULTS / "dispatch.md").write_text(page(found), encoding="utf-8")


def cell(found: Sequence[Run], way: str, load: float, dispatch: str) -> str:
    """Mean latency of a rule, and how many times that of ``central`` it is."""
    latency = {
        (r.seed, r.dispatch): r.latency_mean_s for r in found if (r.way, r.load) == (way, load)
    }
    seeds = sorted({seed for seed, _ in latency})
    ratios = [latency[seed, dispatch] / latency[seed, "central"] for seed in seeds]
    mean = math.fsum(latency[seed, dispatch] for seed in seeds) / len(seeds)
    ratio = math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
    return f"{mean:.1f} s" if dispatch == "central" else f"{mean:.1f} s, x {ratio:.2f}"


def page(found: Sequence[Run]) -> str:
    """The results as a page."""
    columns = list(product(WAYS, LOADS))
    lines = [
        "# The price of binding early",
        "",
        "Written by `python benchmarks/dispatch.py`. Mean latency, and its ratio to `central` "
        f"(geometric mean of {len(SEEDS)} paired seeds). Each GPU has the policy `{POLICY}`, and "
        "where loads run beside serving `prefetch=ahead`.",
        "",
        f"{GPUS} GPUs of the profile `a100-40g` with {RESIDENT} adapters resident, {ADAPTERS} "
        f"adapters (Zipf 0.9, {LOAD_S:g} s to load), {REQUESTS:,} Poisson requests of {STEPS} "
        f"steps, batches up to {BATCH}. A load of 1 is what the fleet serves in full batches with "
        "a blocking load before each.",
        "",
        "| dispatch | " + " | ".join(f"{way}, load {load:g}" for way, load in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for dispatch in dispatches():
        cells = [cell(found, way, load, dispatch) for way, load in columns]
        lines.append(f"| `{dispatch.replace('=true', '')}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
