"""The proximal bundle: its quadratic program, and ascents whose end is known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from ortools.linear_solver import pywraplp

from pats_opt.model.files import parse_instance
from pats_opt.model.problem import Problem
from pats_solvers.common.stopping import StopError
from pats_solvers.lagrangian.ascent import Ascent
from pats_solvers.lagrangian.bundle import ACCURACY, BYTES, LEAST_CUTS, Bundle
from pats_solvers.lagrangian.exchange import PartEvaluation
from pats_solvers.lagrangian.relaxation import Relaxation
from tests.support import scale
from tests.support.zoo import adapter, document, gpu, request

Floats = NDArray[np.float64]


class Pieces:
    """A concave function: a linear term, and by part the least of some affine functions."""

    def __init__(self, seed: int, parts: int, pieces: int, dimension: int) -> None:
        rng = np.random.default_rng(seed)
        self.linear = -rng.random(dimension)
        self.slopes = rng.normal(size=(parts, pieces, dimension))
        self.slopes *= rng.random(self.slopes.shape) < 0.6
        self.offsets = rng.normal(size=(parts, pieces))

    def parts(self, point: Floats) -> list[PartEvaluation]:
        """The parts at a point, each with its active piece."""
        found = []
        for slopes, offsets in zip(self.slopes, self.offsets, strict=True):
            values = slopes @ point + offsets
            best = int(values.argmin())
            places = np.flatnonzero(slopes[best])
            found.append(PartEvaluation(float(values[best]), places, slopes[best][places]))
        return found

    def value(self, point: Floats) -> float:
        """The function at a point."""
        return float(self.linear @ point) + sum(part.value for part in self.parts(point))

    def maximum(self, floor: Floats) -> float:
        """The maximum by linear programming; infinity where there is none."""
        solver = pywraplp.Solver.CreateSolver("GLOP")
        y = [solver.NumVar(low, math.inf, "") for low in floor.tolist()]
        values = [solver.NumVar(-math.inf, math.inf, "") for _ in self.slopes]
        for value, slopes, offsets in zip(values, self.slopes, self.offsets, strict=True):
            for slope, offset in zip(slopes.tolist(), offsets.tolist(), strict=True):
                solver.Add(
                    value <= offset + solver.Sum(s * x for s, x in zip(slope, y, strict=True))
                )
        linear = solver.Sum(s * x for s, x in zip(self.linear.tolist(), y, strict=True))
        solver.Maximize(linear + solver.Sum(values))
        status = solver.Solve()
        return solver.Objective().Value() if status == solver.OPTIMAL else math.inf


def drawn(seed: int) -> tuple[Pieces, Bundle, Floats]:
    """A random function and a bundle of cuts of it, about a random centre; and the least point."""
    rng = np.random.default_rng(seed)
    parts, pieces, dimension = rng.integers(1, 6, size=3)
    function = Pieces(seed, int(parts), int(pieces) + 1, int(dimension) + 1)
    size = len(function.linear)
    floor = np.where(rng.random(size) < 0.3, -np.inf, 0.0)
    centre = rng.random(size) * (rng.random(size) < 0.7)
    bundle = Bundle(centre, floor, function.linear, int(parts), math.inf)
    bundle.start(function.parts(centre))
    for _ in range(8):
        step = np.maximum(floor, centre + rng.normal(size=size)) - centre
        bundle.add(step, function.parts(centre + step), move=False)
    return function, bundle, floor


def cuts_of(bundle: Bundle) -> list[list[tuple[float, Floats]]]:
    """Levels and slopes of the cuts of each part."""
    data, found = bundle.arrays(), list[list[tuple[float, Floats]]]()
    for numbers, count in zip(data.cuts, data.counts, strict=True):
        found.append([])
        for cut in numbers[:count]:
            slope, row = np.zeros(len(bundle.centre)), slice(data.begin[cut], data.end[cut])
            slope[data.places[row]] = data.slopes[row]
            found[-1].append((float(data.level[cut]), slope))
    return found


def dual_optimum(
    cuts: Sequence[Sequence[tuple[float, Floats]]], linear: Floats, floor: Floats, tau: float
) -> float:
    """The dual of the quadratic program, slowly: exponentiated gradients on the weights.

    Args:
        cuts: Of each part the levels at the centre and the slopes.
        linear: The linear term.
        floor: The least step by place.
        tau: Length of a step for a unit of slope.
    """
    levels = [np.array([level for level, _ in part]) for part in cuts]
    slopes = [np.array([slope for _, slope in part]) for part in cuts]
    weights = [np.full(len(part), 1 / len(part)) for part in cuts]

    def at(weights: list[Floats]) -> tuple[float, Floats]:
        pull = linear + sum(w @ s for w, s in zip(weights, slopes, strict=True))
        step = np.maximum(tau * pull, floor)
        value = float(pull @ step - step @ step / (2 * tau))
        return value + sum(float(w @ e) for w, e in zip(weights, levels, strict=True)), step

    value, step = at(weights)
    rate = 1.0
    for _ in range(3000):
        gradients = [e + s @ step for e, s in zip(levels, slopes, strict=True)]
        moved = [w * np.exp(-rate * (g - g.min())) for w, g in zip(weights, gradients, strict=True)]
        moved = [w / w.sum() for w in moved]
        there, then = at(moved)
        if there <= value:
            weights, value, step, rate = moved, there, then, min(1e3, 1.1 * rate)
        else:
            rate *= 0.5
    return value


def test_the_quadratic_program_is_solved() -> None:
    """To the accuracy promised, against a slow method, on random cuts of random functions."""
    for seed in scale.seeds(30):
        function, bundle, floor = drawn(seed)
        tau = 10.0 ** np.random.default_rng(seed).uniform(-1.5, 1.0)
        found = bundle.solve(tau, 10**9)
        step = found.step
        assert (step >= floor - bundle.centre).all()
        gain = float(function.linear @ step)
        cuts = cuts_of(bundle)
        gain += sum(min(level + float(slope @ step) for level, slope in part) for part in cuts)
        assert found.gain == pytest.approx(gain, rel=1e-9, abs=1e-9)
        primal = gain - float(step @ step) / (2 * tau)
        dual = dual_optimum(cuts, function.linear, floor - bundle.centre, tau)
        assert primal <= dual + 1e-9
        assert dual - primal <= ACCURACY * gain + 1e-4 * (1 + abs(dual))
        assert found.gap <= ACCURACY * gain + 1e-9


def test_cuts_are_never_below_the_function() -> None:
    """Neither when the centre moves, nor when cuts become one, and the last step is theirs."""
    for seed in scale.seeds(30):
        rng = np.random.default_rng(seed)
        function, bundle, floor = drawn(seed)
        bundle.most = int(rng.integers(LEAST_CUTS, 8))
        for _ in range(20):
            found = bundle.solve(float(10.0 ** rng.uniform(-1, 1)), 10**9)
            point = np.maximum(floor, bundle.centre + found.step)
            parts = function.parts(point)
            bundle.add(found.step, parts, move=bool(rng.random() < 0.5))
            for _ in range(5):
                point = np.maximum(floor, bundle.centre + rng.normal(size=len(floor)))
                here, there = function.parts(bundle.centre), function.parts(point)
                for part, cuts in enumerate(cuts_of(bundle)):
                    rise = there[part].value - here[part].value
                    said = min(level + slope @ (point - bundle.centre) for level, slope in cuts)
                    assert said >= rise - 1e-8


def climb(function: Pieces, bundle: Bundle, steps: int) -> float:
    """The best value of so many steps of the plainest bundle method."""
    best = function.value(bundle.centre)
    for _ in range(steps):
        found = bundle.solve(1.0, 10**9)
        point = bundle.centre + found.step
        value = function.value(point)
        better = value - best >= 0.1 * found.gain
        bundle.add(found.step, function.parts(point), move=better)
        best = max(best, value) if better else best
    return best


@pytest.mark.parametrize("memory", [math.inf, 0.0], ids=["all cuts", "few cuts"])
def test_the_maximum_is_reached(memory: float) -> None:
    """Also with the fewest cuts; where there is no maximum, the value only rises."""
    bounded = 0
    for seed in scale.seeds(20):
        function = Pieces(seed, 3, 5, 4)
        floor = np.array([0.0, 0.0, 0.0, -np.inf])
        bundle = Bundle(np.zeros(4), floor, function.linear, 3, memory)
        bundle.start(function.parts(np.zeros(4)))
        best, most = climb(function, bundle, 150), function.maximum(floor)
        assert best <= most + 1e-6
        if math.isfinite(most):
            bounded += 1
            assert best == pytest.approx(most, abs=1e-3)
        if memory == 0.0:
            assert bundle.most == LEAST_CUTS
            assert bundle.size <= 3 * LEAST_CUTS
    assert bounded


def test_memory_is_kept() -> None:
    function = Pieces(0, 4, 400, 30)
    rng = np.random.default_rng(0)
    memory = 4 * 10 * 30 * BYTES
    bundle = Bundle(np.zeros(30), np.zeros(30), function.linear, 4, memory)
    bundle.start(function.parts(bundle.centre))
    for _ in range(80):
        step = rng.random(30)
        bundle.add(step, function.parts(step), move=False)
        bundle.solve(1.0, 1000)
    assert LEAST_CUTS < bundle.most < 30
    assert 0 < bundle.size <= 4 * bundle.most
    assert 0 < bundle.bytes() <= 2 * memory


def test_a_model_can_be_left_at_any_time() -> None:
    _, bundle, _ = drawn(1)
    with pytest.raises(StopError):
        bundle.solve(1.0, 10**9, lambda: True)


# -- on relaxations --------------------------------------------------------------------------------


def crowd() -> Problem:
    """Nine requests of three adapters, whose GPU is short of time."""
    made = document(
        *(request(f"r{i}", 1 + i % 2, adapter="abc"[i % 3], arrival_s=0.5 * i) for i in range(9)),
        adapters=[adapter(name) for name in "abc"],
        gpus=[gpu(resident=())],
    )
    return Problem(parse_instance(json.dumps(made)))


def cutting_planes(relaxation: Relaxation, most: float) -> float:
    """The best bound of a relaxation, by linear programming over the cuts of all evaluations."""
    solver = pywraplp.Solver.CreateSolver("GLOP")
    y = [solver.NumVar(-most if free else 0.0, most, "") for free in relaxation.signed.tolist()]
    values = [solver.NumVar(-1e4, 1e4, "") for _ in range(relaxation.parts)]
    linear = solver.Sum(s * x for s, x in zip(relaxation.linear.tolist(), y, strict=True))
    solver.Maximize(linear + solver.Sum(values))
    prices, best = np.zeros(relaxation.dimension), -math.inf
    for _ in range(500):
        found = relaxation.evaluate(prices)
        best = max(best, found.bound)
        for value, part in zip(values, found.parts, strict=True):
            offset = part.value - float(part.slope @ prices[part.places])
            terms = zip(part.slope.tolist(), part.places.tolist(), strict=True)
            solver.Add(value <= offset + solver.Sum(slope * y[place] for slope, place in terms))
        assert solver.Solve() == solver.OPTIMAL
        if relaxation.constant + solver.Objective().Value() - best < 1e-7:
            return best
        prices = np.array([max(0.0, x.solution_value()) for x in y])
    raise AssertionError("no convergence")


def test_the_ascent_ends_where_linear_programming_does() -> None:
    """The best bound of all is the LP's; a target in between is where it stops."""
    relaxation = Relaxation(crowd(), 30)
    optimum = cutting_planes(relaxation, 10.0)
    ascent = Ascent(relaxation, np.zeros(relaxation.dimension))
    ascent.climb(math.inf, 500)
    assert ascent.converged
    assert ascent.evaluations < 100
    assert optimum - 1e-4 * optimum <= ascent.bound <= optimum + 1e-6
    again = Ascent(relaxation, np.zeros(relaxation.dimension))
    again.climb(0.9 * optimum, 500)
    assert 0.9 * optimum <= again.bound <= optimum + 1e-6
    assert again.evaluations < ascent.evaluations


def test_few_cuts_reach_the_same_bound() -> None:
    relaxation = Relaxation(crowd(), 30)
    found = []
    for memory in (math.inf, 0.0):
        ascent = Ascent(relaxation, np.zeros(relaxation.dimension), memory)
        ascent.climb(math.inf, 500)
        found.append(ascent.bound)
    assert ascent.bundle.size <= LEAST_CUTS * relaxation.parts
    assert found[1] == pytest.approx(found[0], rel=2e-3)


def test_an_infeasible_relaxation_ends_the_ascent() -> None:
    made = document(request("r0", 2), request("r1", 2, demand={"vram_gib": 9.5}), horizon_ticks=3)
    relaxation = Relaxation(Problem(parse_instance(json.dumps(made))), 3)
    ascent = Ascent(relaxation, np.zeros(relaxation.dimension))
    ascent.climb(math.inf, 500)
    assert ascent.bound == math.inf
    assert ascent.converged


def stops_after(calls: int) -> Callable[[], bool]:
    """A test that says so after so many calls."""
    left = iter(range(calls))
    return lambda: next(left, None) is None


def test_an_evaluation_can_be_left_between_subproblems() -> None:
    """What was left does not count, and the ascent goes on as if nothing had been."""
    relaxation = Relaxation(crowd(), 30)
    prices = np.zeros(relaxation.dimension)
    with pytest.raises(StopError):
        relaxation.evaluate(prices, stops_after(2))
    with pytest.raises(StopError):
        Relaxation(crowd(), 30, stop=stops_after(2))
    whole, broken = Ascent(relaxation, prices), Ascent(relaxation, prices)
    whole.climb(math.inf, 30)
    calls = 0
    while broken.evaluations < whole.evaluations and calls < 5000:
        broken.climb(math.inf, whole.evaluations - broken.evaluations, stops_after(calls % 9))
        calls += 1
    assert broken.evaluations == whole.evaluations
    assert broken.bound == pytest.approx(whole.bound, rel=1e-3)
