"""Gap between the Lagrangian bound and the optimum, feature by feature, on tiny instances.

    python benchmarks/bound_gaps.py [--seeds N]

The optimum is that of an exhaustive search. Writes ``benchmarks/results/bound_gaps.md``, which
docs/bounds.md shows.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median

from core_speed import machine

from pats_opt.core.solver import Feature, Run
from pats_opt.generate import generate
from pats_opt.generate.recipe import AdapterCache, Arrivals, GpuSettings, Popularity, Recipe
from pats_opt.model.files import encode
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_opt.solving.solve import solve
from pats_opt.testing.instances import random_instance
from pats_solvers.common.incumbent import Incumbent
from pats_solvers.lagrangian.bounding import bounding_of

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.brute_force import brute_force  # noqa: E402

#: Features of each class of instances, by its name.
CLASSES: dict[str, tuple[Feature, ...]] = {
    "one GPU, nothing special": (),
    "several options per request": (Feature.OPTIONS,),
    "priced deadlines": (Feature.DEADLINES,),
    "two GPUs, equal or not": (Feature.GPUS,),
    "step-time tables, some falling": (Feature.TABLE,),
    "caches": (Feature.RESIDENT,),
    "caches with activation time": (Feature.RESIDENT, Feature.ACTIVATE),
    "two GPUs with caches": (Feature.GPUS, Feature.RESIDENT),
    "caches with mixed batches": (Feature.RESIDENT, Feature.MIXED_BATCH),
}

#: Residents of each of two GPUs, on which 40 requests of 8 adapters are served.
PLACES = (1, 2, 4)

#: Seeds of these, and seconds to prove the optimum.
FLEET_SEEDS, FLEET_S = range(4), 60.0

#: Evaluations between two looks at whether prices have settled, and such looks at most.
EVALUATIONS, LOOKS = 100, 30

#: A bound meets the optimum where the gap is at most this, in % of the optimum.
MET = 1e-4


def gaps(features: tuple[Feature, ...], seeds: range) -> list[float]:
    """Gap of each instance, in % of its optimum."""
    found = []
    for seed in seeds:
        instance = random_instance(seed, features, requests=(4, 4))
        optimum = brute_force(json.loads(encode(instance)))
        bound = solve(instance, "lagrangian", time_limit=10).bound
        assert optimum is not None
        assert bound is not None
        assert bound <= optimum + 1e-9
        found.append(100 * (optimum - bound) / optimum if optimum else 0.0)
    return found


def settled_bound(problem: Problem) -> float:
    """The bound at prices that have settled, without any search."""
    incumbent = Incumbent(problem, Run())
    bounding = bounding_of(incumbent, 2.0)
    for _ in range(LOOKS):
        bounding.advance(incumbent, EVALUATIONS, 1.0)
        if bounding.ascent.converged:
            break
    return bounding.bound


def fleet_gaps(places: int) -> tuple[list[float], int]:
    """Gaps between settled bound and best known loss in %, and how many losses are optimal."""
    found, proven = [], 0
    for seed in FLEET_SEEDS:
        recipe = Recipe(
            requests=40,
            arrivals=Arrivals(load=1.2),
            popularity=Popularity(adapters=8),
            gpus=GpuSettings(count=2),
            switching=AdapterCache(max_resident=places),
        )
        problem = Problem(generate(recipe, seed))
        result = solve(problem, "exact", time_limit=FLEET_S)
        assert result.loss is not None
        found.append(100 * (1 - settled_bound(problem) / result.loss))
        proven += result.status.stop is StopReason.OPTIMAL
    return found, proven


def fleet_lines() -> Iterator[str]:
    """The table of two GPUs by their residents."""
    yield "40 requests of 8 adapters on two GPUs, `documents` at load 1.2: the gap between the"
    yield "bound at settled prices and the best known loss, by the residents of each GPU."
    yield ""
    yield "| residents | mean | worst | optima known |"
    yield "|---|---|---|---|"
    for places in PLACES:
        found, proven = fleet_gaps(places)
        row = f"| {places} | {mean(found):.2f} | {max(found):.2f} | {proven} of {len(found)} |"
        print(row, file=sys.stderr)
        yield row


def main() -> None:
    """Measure all classes and write the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=40)
    seeds = range(parser.parse_args().seeds)
    lines = [
        "# Gap of the bound by feature",
        "",
        "Written by `python benchmarks/bound_gaps.py`.",
        "",
    ]
    lines += ["| instances | mean | median | worst | optimum met |", "|---|---|---|---|---|"]
    for name, features in CLASSES.items():
        found = gaps(features, seeds)
        met = 100 * sum(gap <= MET for gap in found) / len(found)
        figures = f"{mean(found):.1f} | {median(found):.1f} | {max(found):.1f} | {met:.0f} %"
        lines.append(f"| {name} | {figures} |")
        print(lines[-1], file=sys.stderr)
    versions = f"{machine()}; Python {platform.python_version()}, pats-opt {version('pats-opt')}."
    lines += ["", f"{len(seeds)} instances each; {versions}", "", *fleet_lines()]
    page = ROOT / "benchmarks" / "results" / "bound_gaps.md"
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
