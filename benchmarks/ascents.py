"""Ascents of the bound compared: a subgradient method, and bundles of one cut and of one per part.

    python benchmarks/ascents.py [--seeds N] [--only TEXT]

Every method climbs on the same relaxation of the same instance, from prices of 0 and with the same
known loss (that of the best online schedule), on one thread. Writes
``benchmarks/results/ascents.md``; with ``--only TEXT`` the classes that have TEXT in their name are
measured and shown, and nothing is written.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

import msgspec
import numpy as np
from core_speed import machine
from numpy.typing import NDArray

from pats_opt.core.solver import Run
from pats_opt.generate import Recipe, generate
from pats_opt.model.problem import Problem
from pats_opt.solving.starts import PolicyStarts
from pats_solvers.common.incumbent import Incumbent
from pats_solvers.lagrangian.ascent import Ascent
from pats_solvers.lagrangian.bounding import FIRST_STATES, bounding_of
from pats_solvers.lagrangian.exchange import PartEvaluation
from pats_solvers.lagrangian.relaxation import Evaluation, Relaxation

Floats = NDArray[np.float64]

PAGE = Path(__file__).parent / "results" / "ascents.md"

#: Evaluations after which bounds are compared, and those of the bundle that is taken for the best.
MARKS, LONG = (10, 20, 40, 80, 160), 600


def recipe(requests: int, adapters: int, *, a100: bool = False, **more: Any) -> dict[str, Any]:
    """A recipe of so many requests and adapters; ``more`` are tables of it."""
    made = {
        "requests": requests,
        "popularity": {"adapters": adapters},
        "arrivals": {"load": 1.2},
        **({"service": {"profile": "a100-40g", "tick_s": 0.6}} if a100 else {}),
        **({"terms": {"latency_price_per_s": 0.01}} if a100 else {}),
    }
    return made | more


CLASSES: dict[str, dict[str, Any]] = {
    "documents 80x5": recipe(80, 5),
    "a100 40x4": recipe(40, 4, a100=True),
    "all different, a100 60x5": recipe(60, 5, a100=True, complexity={"spread": 0.2}),
    "all different, priced deadlines, weights, 50x5": recipe(
        50,
        5,
        complexity={"spread": 0.2},
        terms={"late_price": 1.0, "deadline_share": 0.7, "weight": {"values": [1.0, 2.0, 3.0]}},
    ),
    "all different, 2 GPUs, 2 residents, 60x6": recipe(
        60, 6, complexity={"spread": 0.2}, gpus={"count": 2}, switching={"max_resident": 2}
    ),
    "heavy load, 80x8": recipe(80, 8, arrivals={"load": 2.0}),
    "2 residents, 60x10": recipe(60, 10, switching={"max_resident": 2}),
    "4 residents, activation, a100 50x10": recipe(
        50, 10, a100=True, switching={"max_resident": 4, "activate_s": 0.6}
    ),
    "4 GPUs, 160x8": recipe(160, 8, gpus={"count": 4}),
    "pairs, 60x6": recipe(60, 6, switching={"pairs_spread": 0.6}),
    "loads beside serving, 60x8": recipe(60, 8, switching={"max_resident": 2, "channels": 1}),
}


class Subgradient:
    """Deflected subgradients with Polyak's step towards the best known loss.

    The step is shortened whenever the bound has not risen for a while, and the search goes on from
    the best prices. Sources: Polyak (1969) for the step, Camerini, Fratta and Maffioli (1975) for
    deflection.
    """

    def __init__(self, relaxation: Relaxation) -> None:
        self.relaxation, self.bound, self.evaluations = relaxation, -math.inf, 0
        self._at = self._prices = np.zeros(relaxation.dimension)
        self._direction, self._step, self._stalled = np.zeros(relaxation.dimension), 0.6, 0
        self._least = np.where(relaxation.signed, -np.inf, 0.0)

    def climb(self, target: float, evaluations: int) -> None:
        """Evaluate so many more times, unless the steps have become too short to matter."""
        for _ in range(evaluations):
            if self._step < 2e-3 or self.bound >= target:
                return
            found = self.relaxation.evaluate(self._at)
            self.evaluations += 1
            best = self.bound
            if best == -math.inf or found.bound > best + 1e-10 * abs(best):
                self.bound, self._best, self._prices = found.bound, found, self._at
                self._stalled = 0
            else:
                self._stalled += 1
                if self._stalled >= 8:
                    self._step, self._stalled = 0.6 * self._step, 0
                    self._at, self._direction = self._prices, np.zeros_like(self._at)
                    found = self._best
            self._go(found, target)

    def _go(self, found: Evaluation, target: float) -> None:
        direction = found.slope + 0.7 * self._direction
        low = self._at <= self._least
        self._direction = direction = np.where(low & (direction < 0.0), 0.0, direction)
        length = float(direction @ direction)
        if length <= 1e-12:
            self._step = 0.0
            return
        goal = max(target, self.bound + 1e-3 * abs(self.bound) + 1e-9)
        stride = self._step * (goal - found.bound) / length
        self._at = np.maximum(self._least, self._at + stride * direction)


class OnePart(Relaxation):
    """The relaxation as one part."""

    def __init__(self, problem: Problem, ticks: int, **others: Any) -> None:
        super().__init__(problem, ticks, **others)
        self.parts = 1

    def evaluate(self, flat: Floats, stop: Callable[[], bool] = lambda: False) -> Evaluation:
        """Evaluate, and add up the parts."""
        found = super().evaluate(flat, stop)
        slope = found.slope - self.linear
        places = np.flatnonzero(slope)
        value = math.fsum(part.value for part in found.parts)
        whole = PartEvaluation(value, places, slope[places])
        return Evaluation(found.bound, found.slope, (whole,), found.plans, found.cut, found.left)


METHODS: dict[str, Callable[..., Any]] = {
    "subgradient": lambda *where, **how: Subgradient(Relaxation(*where, **how)),
    "bundle, one cut": lambda *where, **how: _bundle(OnePart(*where, **how)),
    "bundle, a cut per part": lambda *where, **how: _bundle(Relaxation(*where, **how)),
}


def _bundle(relaxation: Relaxation) -> Ascent:
    return Ascent(relaxation, np.zeros(relaxation.dimension))


def measure(made: dict[str, Any], seed: int) -> dict[str, list[tuple[float, float]]]:
    """Gap to the best bound of all in %, and CPU seconds, by method and mark."""
    problem = Problem(generate(msgspec.convert(made, Recipe), seed=seed))
    run = Run()
    run.start = PolicyStarts(problem, run).first()
    assert run.start is not None
    loss, end = run.start[1], bounding_of(Incumbent(problem, run), 2.0).end
    best, found = -math.inf, {}
    for name, method in METHODS.items():
        ascent, rows = method(problem, end, states=FIRST_STATES), []
        began = time.process_time()
        for mark in MARKS:
            ascent.climb(loss, mark - ascent.evaluations)
            rows.append((ascent.bound, time.process_time() - began))
        best, found[name] = max(best, ascent.bound), rows
    ascent = METHODS["bundle, a cut per part"](problem, end, states=FIRST_STATES)
    ascent.climb(loss, LONG)
    best = max(best, ascent.bound)
    return {
        name: [(100 * (best - bound) / abs(best), seconds) for bound, seconds in rows]
        for name, rows in found.items()
    }


def main() -> None:
    """Measure all classes, and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    chosen = {name: made for name, made in CLASSES.items() if given.only in name}
    measure(CLASSES["documents 80x5"], 0)  # the first run loads the kernels
    found: dict[str, dict[str, list[list[tuple[float, float]]]]] = {}
    for name, made in chosen.items():
        runs = [measure(made, seed) for seed in range(given.seeds)]
        found[name] = {method: [run[method] for run in runs] for method in METHODS}
        for method, rows in found[name].items():
            print(f"{name:36} {method:24} {_row(rows)}", file=sys.stderr)
    if not given.only:
        PAGE.write_text("\n".join(_page(found, given.seeds)) + "\n", encoding="utf-8")


def _page(found: dict[str, dict[str, list[list[tuple[float, float]]]]], seeds: int) -> list[str]:
    heads = [f"after {mark}" for mark in MARKS]
    lines = [
        "# Ascents of the bound compared",
        "",
        "Written by `python benchmarks/ascents.py`. How far the bound is below the best one that",
        f"any method reached on the same relaxation (a bundle of {LONG} evaluations included),",
        "in % of it: mean, and in brackets the worst instance. One thread; prices begin at 0, and",
        "the known loss is that of the best online schedule. CPU is that of all evaluations up to",
        "the last mark, or until the method had converged.",
        "",
        "## All classes",
        "",
        f"| method | {' | '.join(heads)} | CPU, s |",
        "|---|" + "---|" * (len(heads) + 1),
    ]
    for method in METHODS:
        rows = [row for by_method in found.values() for row in by_method[method]]
        lines.append(f"| {method} | {_row(rows)} |")
    for name, by_method in found.items():
        lines += ["", f"## {name}", "", f"| method | {' | '.join(heads)} | CPU, s |"]
        lines += ["|---|" + "---|" * (len(heads) + 1)]
        lines += [f"| {method} | {_row(rows)} |" for method, rows in by_method.items()]
    versions = ", ".join(f"{name} {version(name)}" for name in ("numba", "numpy", "pats-opt"))
    told = f"{machine()}; Python {platform.python_version()}, {versions}."
    return [*lines, "", f"{seeds} instances of each class; {told}"]


def _row(rows: list[list[tuple[float, float]]]) -> str:
    cells = []
    for mark in range(len(MARKS)):
        gaps = [row[mark][0] for row in rows]
        cells.append(f"{mean(gaps):.2f} ({max(gaps):.2f})")
    cells.append(f"{mean(row[-1][1] for row in rows):.2f}")
    return " | ".join(cells)


if __name__ == "__main__":
    main()
