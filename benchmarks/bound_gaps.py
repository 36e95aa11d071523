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
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median

from core_speed import machine

from pats_opt.core.solver import Feature
from pats_opt.model.files import encode
from pats_opt.solving.solve import solve
from pats_opt.testing.instances import random_instance

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
    "caches with mixed batches": (Feature.RESIDENT, Feature.MIXED_BATCH),
}

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


def main() -> None:
    """Measure all classes and write the table."""
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
    lines += ["", f"{len(seeds)} instances each; {versions}"]
    page = ROOT / "benchmarks" / "results" / "bound_gaps.md"
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
