"""Tours: which instances are some, and branch and cut on them."""

from __future__ import annotations

import itertools
import json
import random
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import pats_opt
from pats_opt.core.solver import Run
from pats_opt.errors import CapabilityError
from pats_opt.importers.tsplib import tsp_instance
from pats_opt.importers.tsplib_file import Tsp
from pats_opt.model.checker import TOLERANCE, valid_loss
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.instance import Instance, Option, StepsService, StepTime
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_opt.solving.preparing import prepare
from pats_opt.testing.instances import random_instance
from pats_opt.testing.solvers import close
from pats_solvers.tours import TourSearch, is_tour
from pats_solvers.tours.cuts import TourCut, violated
from pats_solvers.tours.moves import iterate, near_nodes
from pats_solvers.tours.relaxation import TourRelaxation
from pats_solvers.tours.tour import Tour
from tests.support import scale
from tests.support.brute_force import brute_force
from tests.support.classics import Matrix, random_matrix, shortest_path, shortest_tour
from tests.support.zoo import document

#: The importer's kinds of tours and paths.
KINDS: list[dict[str, Any]] = [
    {},
    {"start": 2},
    {"closed": False},
    {"closed": False, "start": 2},
]


def imported(matrix: Matrix, **kind: Any) -> Instance:
    """The importer's instance of a matrix of distances."""
    nodes, rows = tuple(range(1, len(matrix) + 1)), tuple(map(tuple, matrix))
    return tsp_instance(Tsp("x", False, nodes, rows), **kind)


def shortest(matrix: Matrix, closed: bool = True, start: int | None = None) -> float:
    """The least length by exhaustive search."""
    if closed:
        return shortest_tour(matrix)
    return shortest_path(matrix, None if start is None else start - 1)


def euclidean(rng: random.Random, size: int) -> list[list[float]]:
    """Rounded distances of random points."""
    points = [complex(rng.randint(0, 100), rng.randint(0, 100)) for _ in range(size)]
    return [[float(round(abs(p - q))) for q in points] for p in points]


def tour(matrix: Matrix, **kind: Any) -> Tour:
    return Tour(Problem(imported(matrix, **kind)))


# -- the class -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False), st.sampled_from(KINDS), st.integers(0, 2))
def test_every_order_is_a_schedule_of_its_length(
    rng: random.Random, kind: dict[str, Any], digits: int
) -> None:
    """The loss of every order is the length of its tour, and no schedule is shorter."""
    matrix = random_matrix(rng, 5, symmetric=rng.random() < 0.5)
    matrix = [
        [round(d * rng.choice((1, rng.random())), 12 * (digits // 2)) for d in row]
        for row in matrix
    ]
    instance = imported(matrix, **kind)
    problem = Problem(instance)
    assert is_tour(problem)
    made, losses = Tour(problem), []
    for rest in itertools.permutations(range(1, made.nodes)):
        order = np.array([0, *rest])
        loss = valid_loss(problem, made.plan(order))
        assert loss is not None
        length = made.length(order) / made.scale
        assert length - made.excess - 1e-9 <= loss <= length + made.nodes / made.scale + 1e-9
        assert made.order(made.plan(order)).tolist() == order.tolist()
        losses.append(loss)
    assert close(min(losses), shortest(matrix, **kind))
    optimum = brute_force(json.loads(encode(instance)))
    assert optimum is not None
    assert close(min(losses), optimum)


def changed(what: str) -> Instance:
    """A tour of five nodes, with one thing that makes it none."""
    base = imported(random_matrix(random.Random(1), 5))
    request, gpu = base.requests[0], base.gpus[0]
    rest, last = base.requests[1:], base.requests[-1]
    early = tuple(replace(r, arrival_s=0.0) for r in base.requests)
    steps = StepsService(step_s=StepTime(base=1.0, per_sample=0.0))
    changes: dict[str, dict[str, Any]] = {
        "a GPU more": {"gpus": (gpu, replace(gpu, id="other", resident=()))},
        "a price of waiting": {"latency_price_per_s": 0.1},
        "a deadline": {"late_price": 1.0, "requests": (replace(request, deadline_s=0.0), *rest)},
        "an option more": {
            "requests": (
                replace(request, options=(*request.options, Option(steps=2, quality=1.0))),
                *rest,
            )
        },
        "a request that may be rejected": {"requests": (replace(request, reject_loss=1.0), *rest)},
        "two requests of an adapter": {
            "requests": (replace(request, adapter=rest[0].adapter), *rest)
        },
        "a slot less for the last request": {"horizon_ticks": 6},
        "a second late request": {"requests": (replace(request, arrival_s=1.0), *rest)},
        "slots that are too few": {"requests": early, "horizon_ticks": 4},
        "batches that take time": {"service": steps},
        "a request that fits nowhere": {
            "requests": (replace(last, demand={"vram_gib": 0.0, "batch": 2.0}), *base.requests[:-1])
        },
        "three nodes": {
            "requests": (*base.requests[:2], replace(last, arrival_s=2.0)),
            "horizon_ticks": 3,
        },
    }
    return replace(base, **changes[what])


@pytest.mark.parametrize(
    "what",
    [
        "a GPU more",
        "a price of waiting",
        "a deadline",
        "an option more",
        "a request that may be rejected",
        "two requests of an adapter",
        "a slot less for the last request",
        "a second late request",
        "slots that are too few",
        "batches that take time",
        "a request that fits nowhere",
        "three nodes",
    ],
)
def test_no_tour(what: str) -> None:
    problem = Problem(changed(what))
    assert not is_tour(problem)
    with pytest.raises(CapabilityError, match="only the order"):
        TourSearch().solve(problem, Run())


def test_no_requests_are_no_tour() -> None:
    made = document(latency_price_per_s=0.0, service={"kind": "slot"}, horizon_ticks=3)
    assert not is_tour(Problem(parse_instance(json.dumps(made))))


def test_a_path_needs_no_slots_where_nothing_ends() -> None:
    """Without a horizon arrivals and durations do not count."""
    matrix = random_matrix(random.Random(3), 5)
    base = imported(matrix, closed=False)
    late = tuple(replace(r, arrival_s=3.0 * i) for i, r in enumerate(base.requests))
    steps = StepsService(step_s=StepTime(base=1.0, per_sample=0.0))
    instance = replace(base, requests=late, service=steps, horizon_ticks=None)
    assert is_tour(Problem(instance))
    result = pats_opt.solve(instance, "exact", time_limit=60)
    assert (result.loss, result.status.stop) == (shortest_path(matrix), StopReason.OPTIMAL)


def test_instances_of_other_kinds_are_none() -> None:
    """What is a tour by chance has the optimum of one."""
    for seed in scale.seeds(300):
        instance = random_instance(seed, requests=(3, 5))
        if is_tour(Problem(instance)):
            outcome = TourSearch().solve(Problem(instance), Run())
            optimum = brute_force(json.loads(encode(instance)))
            assert outcome.bound is not None
            assert optimum is not None
            assert close(outcome.bound, optimum)


# -- optima --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("seed", scale.seeds(6))
def test_optima(seed: int, kind: dict[str, Any]) -> None:
    """Up to eight nodes: whole and fractional distances, forbidden arcs, distances of 0."""
    rng = random.Random(seed)
    size = rng.randint(4, 8)
    matrix = random_matrix(rng, size, symmetric=seed % 2 == 0)
    if seed % 3 == 1:
        matrix = [[d * rng.random() for d in row] for row in matrix]
    if seed % 3 == 2:
        matrix = [[d if rng.random() < 0.7 else 1e6 * (d > 15) for d in row] for row in matrix]
    problem = Problem(imported(matrix, **kind))
    outcome = TourSearch().solve(problem, Run(seed=seed))
    best = shortest(matrix, **kind)
    assert outcome.stop is StopReason.OPTIMAL
    assert outcome.plan is not None
    assert outcome.bound is not None
    loss = valid_loss(problem, outcome.plan)
    assert loss is not None
    assert close(loss, best)
    assert close(outcome.bound, best)


@pytest.mark.parametrize("seed", scale.seeds(3))
def test_thirty_cities_against_cpsat(seed: int) -> None:
    rng = random.Random(seed)
    matrix = random_matrix(rng, 30) if seed % 3 == 1 else euclidean(rng, 30)
    instance = imported(matrix, **KINDS[seed % len(KINDS)])
    ours, other = (pats_opt.solve(instance, name, time_limit=120) for name in ("exact", "cpsat"))
    assert ours.status.stop is other.status.stop is StopReason.OPTIMAL
    assert ours.loss == other.loss


@pytest.mark.parametrize("solver", ["auto", "exact"])
def test_they_have_the_only_stage(solver: str) -> None:
    instance = imported(euclidean(random.Random(2), 40))
    result = pats_opt.solve(instance, solver, time_limit=120)
    assert result.status.stop is StopReason.OPTIMAL
    assert [turn["solver"] for turn in result.details["turns"]] == ["tours"]
    assert pats_opt.check(instance, result.schedule).ok


def test_bounds_hold_at_any_time() -> None:
    """No bound that is reported is above the optimum, wherever the run is cut off."""
    for seed in scale.seeds(3):
        problem = Problem(imported(euclidean(random.Random(seed), 60)))
        prepare(TourSearch())
        best = TourSearch().solve(problem, Run()).bound
        assert best is not None
        for limit in (0.0, 0.05, 0.2, 0.5):
            told: list[float] = []
            run = Run(
                time_limit=limit,
                progress=lambda bound, _, told=told: told.append(bound or 0.0),  # type: ignore[misc]
            )
            outcome = TourSearch().solve(problem, run)
            assert outcome.bound is not None
            assert max([outcome.bound, *told]) <= best * (1 + TOLERANCE)
            assert told == sorted(told)
            assert outcome.plan is None or valid_loss(problem, outcome.plan) is not None


def test_interrupted() -> None:
    problem = Problem(imported(euclidean(random.Random(5), 120)))
    prepare(TourSearch())
    run = Run()
    threading.Timer(0.5, run.interrupted.set).start()
    outcome = TourSearch().solve(problem, run)
    assert outcome.stop in (StopReason.INTERRUPTED, StopReason.OPTIMAL)
    run.interrupted.set()
    assert TourSearch().solve(problem, run).stop is StopReason.INTERRUPTED


def test_same_seed_same_result() -> None:
    problem = Problem(imported(random_matrix(random.Random(5), 25)))
    one, other = (TourSearch().solve(problem, Run(seed=3)) for _ in range(2))
    assert (one.plan, one.bound, one.details) == (other.plan, other.bound, other.details)


# -- parts ---------------------------------------------------------------------------------------


def weights(order: Any) -> dict[tuple[int, int], float]:
    pairs = zip(order, np.roll(order, -1), strict=True)
    return {(int(min(p)), int(max(p))): 1.0 for p in pairs}


def violation(cut: TourCut, x: dict[tuple[int, int], float]) -> float:
    tails, heads = np.array(list(x)).T
    return float(cut.least - cut.crossings(tails, heads) @ np.array(list(x.values())))


def holds_for_every_tour(cut: TourCut, nodes: int) -> bool:
    return all(
        violation(cut, weights([0, *rest])) <= 0 for rest in itertools.permutations(range(1, nodes))
    )


#: Two triangles of halves joined by three whole pairs: no subtour, but a blossom is violated.
PRISM = {
    (0, 1): 0.5, (0, 2): 0.5, (1, 2): 0.5, (3, 4): 0.5, (3, 5): 0.5, (4, 5): 0.5,
    (0, 3): 1.0, (1, 4): 1.0, (2, 5): 1.0,
}  # fmt: skip

#: Two triangles.
PARTS = {(0, 1): 1.0, (1, 2): 1.0, (0, 2): 1.0, (3, 4): 1.0, (4, 5): 1.0, (3, 5): 1.0}

#: Two squares, joined by pairs that cross their borders once in total.
WEAK = {
    (0, 1): 1.0, (1, 2): 0.75, (2, 3): 1.0, (0, 3): 0.75, (4, 5): 1.0, (5, 6): 0.75,
    (6, 7): 1.0, (4, 7): 0.75, (0, 4): 0.25, (1, 5): 0.25, (2, 6): 0.25, (3, 7): 0.25,
}  # fmt: skip


@pytest.mark.parametrize(
    ("x", "nodes", "least"), [(PRISM, 6, 10), (PARTS, 6, 2), (WEAK, 8, 2)], ids=str
)
def test_cuts(x: dict[tuple[int, int], float], nodes: int, least: int) -> None:
    """The cuts are violated, and hold for every tour."""
    cuts = violated(nodes, x)
    assert cuts
    for cut in cuts:
        assert cut.least == least
        assert violation(cut, x) > 0.1
        assert holds_for_every_tour(cut, nodes)


@pytest.mark.parametrize("seed", scale.seeds(10))
def test_cuts_of_mixtures(seed: int) -> None:
    """A mixture of tours violates nothing, and all that one of cycles does holds for tours."""
    rng, nodes = random.Random(seed), 7
    mixed: dict[tuple[int, int], float] = {}
    cycles: dict[tuple[int, int], float] = {}
    for _ in range(3):
        order = rng.sample(range(nodes), nodes)
        split = rng.choice((3, 4))
        for pair in weights(order):
            mixed[pair] = mixed.get(pair, 0.0) + 1 / 3
        for part in (order[:split], order[split:]):
            for pair in weights(part):
                cycles[pair] = cycles.get(pair, 0.0) + 1 / 3
    assert violated(nodes, mixed) == []
    for cut in violated(nodes, cycles):
        assert violation(cut, cycles) > 0
        assert holds_for_every_tour(cut, nodes)


@pytest.mark.parametrize("seed", scale.seeds(6))
def test_the_bound_holds_at_any_prices(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However wrong the prices of the linear program are."""
    rng = np.random.default_rng(seed)
    matrix = random_matrix(random.Random(seed), 8, symmetric=seed % 2 == 0)
    made = tour(matrix)
    best = shortest_tour(matrix) * made.scale * made.fine
    order, told, prices = np.arange(made.nodes), list[int](), TourRelaxation._prices

    def wrong(relaxation: TourRelaxation) -> Any:
        noise = 3.0 * made.scale * made.fine
        rows = [np.rint(row + rng.normal(0, noise, len(row))) for row in prices(relaxation)]
        out = rows[0]
        return out, out if made.symmetric else rows[1], np.maximum(rows[2], 0.0)

    monkeypatch.setattr(TourRelaxation, "_prices", wrong)
    relaxation = TourRelaxation(made, order, Run(time_limit=0.5))
    relaxation.solve({}, made.length(order) * made.fine, told.append)
    assert told
    assert max(told) <= best


@pytest.mark.parametrize("seed", scale.seeds(6))
def test_moves(seed: int) -> None:
    """The local search keeps a tour, and is right about its gain."""
    rng = random.Random(seed)
    made = tour(random_matrix(rng, rng.randint(4, 40), symmetric=seed % 2 == 0))
    order = np.arange(made.nodes)
    before = made.length(order)
    near = near_nodes(made.cost, rng.randint(2, 10))
    gain = iterate(made.cost, near, made.symmetric, order, 50, seed)
    assert sorted(order.tolist()) == list(range(made.nodes))
    assert made.length(order) == before - gain
    assert gain >= 0
