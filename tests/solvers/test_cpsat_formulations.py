"""``cpsat``'s special models: which problems they state, their optima, hints and quick plans."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from msgspec.structs import replace

from pats_opt.core.solver import ALL_FEATURES, Feature, Run
from pats_opt.errors import CapabilityError
from pats_opt.importers.bin_packing import BinPacking, bin_packing_instance
from pats_opt.importers.tsplib import tsp_instance
from pats_opt.importers.tsplib_file import Tsp
from pats_opt.model.checker import TOLERANCE, valid_loss
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.instance import Instance, SlotService
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_opt.solving.solve import solve
from pats_opt.solving.starts import PolicyStarts
from pats_opt.testing.instances import random_features, random_instance
from pats_opt.testing.solvers import close
from pats_solvers.cpsat import CpSat, leads
from pats_solvers.cpsat.bins import best_fit, fill_bins, quick_bins
from pats_solvers.cpsat.solver import FORMULATIONS, select
from tests.support import scale
from tests.support.brute_force import brute_force
from tests.support.classics import fewest_bins, random_matrix
from tests.support.zoo import document, request

#: What neither special model states.
LACKING = {Feature.GPUS, Feature.RESIDENT, Feature.MIXED_BATCH, Feature.ACTIVATE}


def sequence(seed: int) -> Instance:
    """A random instance, of any feature that is left, whose batches hold one request."""
    rng = random.Random(seed)
    features = random_features(rng, 0.5, frozenset(ALL_FEATURES - LACKING))
    made = random_instance(rng, features, requests=(2, 5))
    capacity = {**made.gpus[0].capacity, "batch": 1.0}
    horizon = made.horizon_ticks
    if horizon is not None:
        horizon = max(0, horizon + rng.randint(-14, 6))
    return replace(
        made,
        gpus=(replace(made.gpus[0], capacity=capacity),),
        horizon_ticks=horizon,
        requests=tuple(replace(r, demand={**r.demand, "batch": 1.0}) for r in made.requests),
    )


def packing(seed: int) -> Instance:
    """A random instance where only what goes together counts, of few enough slots or ticks."""
    rng = random.Random(seed)
    features = {Feature.SLOT} if rng.random() < 0.6 else {Feature.INITIAL, Feature.OVERHEAD}
    made = random_instance(rng, features, requests=(2, 6))
    adapter = made.adapters[0]
    free = rng.choice((10.0, 7.0, 12.3))
    capacity = {"vram_gib": free + made.base_vram_gib + adapter.vram_gib}
    requests = [
        replace(
            r,
            arrival_s=0.0,
            adapter=adapter.id,
            demand={"vram_gib": rng.choice((1.0, 2.0, 3.0, 4.1, 13.0, rng.uniform(0.5, 6)))},
            options=tuple(replace(o, steps=3) for o in r.options),
            reject_loss=rng.choice((None, 0.5, 1.0, 2.0)),
            deadline_s=None,
        )
        for r in made.requests
    ]
    step = None if isinstance(made.service, SlotService) else made.service.step_s
    if step is not None:  # every batch takes equally long
        step = replace(step, base=1.0, per_sample=0.0)
        made = replace(made, service=replace(made.service, step_s=step, overhead_s=0.5))
    return replace(
        made,
        gpus=(replace(made.gpus[0], capacity=capacity),),
        latency_price_per_s=0.0,
        late_price=0.0,
        horizon_ticks=rng.choice((None, 2, 4, 8, 20)),
        requests=tuple(requests),
    )


MAKERS = {"circuit": sequence, "packing": packing}


@pytest.mark.parametrize("name", MAKERS)
def test_optima(name: str) -> None:
    """Every random problem that the model states: brute force's optimum, with and without start."""
    seen: Counter[str] = Counter()
    seeds = scale.seeds(60)
    for seed in seeds:
        instance = MAKERS[name](seed)
        problem = Problem(instance)
        if FORMULATIONS[name].unfit(problem) is not None:
            continue
        optimum = brute_force(json.loads(encode(instance)))
        for start in {None, PolicyStarts(problem, Run()).first()}:
            run = Run(start=start, time_limit=120)
            outcome = CpSat(formulation=name).solve(problem, run)  # type: ignore[arg-type]
            if optimum is None:
                assert outcome.stop is StopReason.INFEASIBLE, seed
                seen["infeasible"] += 1
                continue
            assert outcome.stop is StopReason.OPTIMAL, seed
            assert outcome.details["formulation"] == name
            assert outcome.plan is not None
            assert outcome.bound is not None
            loss = valid_loss(problem, outcome.plan)
            assert loss is not None
            assert close(loss, optimum), (seed, loss, optimum)
            assert close(outcome.bound, optimum), (seed, outcome.bound, optimum)
            seen["solved"] += 1
    assert seen["solved"] > len(seeds) / 2
    assert seen["infeasible"] > len(seeds) / 20


@pytest.mark.parametrize("name", MAKERS)
def test_hints_are_complete_solutions(name: str) -> None:
    """The hint of a plan sets every variable, keeps every constraint, and costs the plan's loss."""
    from ortools.sat.python import cp_model

    tried = 0
    for seed in scale.seeds(40):
        problem = Problem(MAKERS[name](seed))
        start = PolicyStarts(problem, Run()).first()
        formulation = FORMULATIONS[name]
        if start is None or formulation.unfit(problem) is not None:
            continue
        model = formulation(problem, start[1])
        model.hint(start[0])
        hint = model.cp.proto.solution_hint
        open_ = {i for i, v in enumerate(model.cp.proto.variables) if len(set(v.domain)) > 1}
        assert set(hint.vars) >= open_, seed
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.fix_variables_to_their_hinted_value = True
        assert solver.solve(model.cp) == cp_model.OPTIMAL, seed
        assert solver.objective_value / model.losses.scale <= start[1] + TOLERANCE
        tried += 1
    assert tried > 5


def test_the_most_special_model_is_taken() -> None:
    bins = Problem(bin_packing_instance(BinPacking("x", 10.0, (6.0, 5.0, 5.0))))
    tsp = Problem(tsp_instance(Tsp("x", False, (1, 2, 3), ((0, 1, 2), (3, 0, 4), (5, 6, 0)))))
    waiting = Problem(replace(tsp.instance, latency_price_per_s=1.0))
    plain = Problem(random_instance(1, {Feature.GPUS}, requests=(3, 3)))
    assert [select(p, "auto").name for p in (bins, tsp, waiting, plain)] == [
        "packing", "circuit", "circuit", "positions",
    ]  # fmt: skip
    assert [leads(p) for p in (bins, tsp, waiting, plain)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"latency_price_per_s": 0.1}, "priced latency or deadlines"),
        ({"requests": [request("r0"), request("r1", arrival_s=1.0)]}, "arrivals after tick 0"),
        ({"requests": [request("r0")]}, "no scarce resource"),
    ],
)
def test_packing_refuses_what_it_cannot_state(change: dict[str, object], why: str) -> None:
    given = {**document(request("r0"), request("r1")), "latency_price_per_s": 0.0, **change}
    given["service"] = {"kind": "slot"}
    with pytest.raises(CapabilityError, match=f"'packing' of solver 'cpsat' cannot handle {why}"):
        solve(parse_instance(json.dumps(given)), CpSat(formulation="packing"))


def test_circuit_refuses_batches() -> None:
    given = document(request("r0"), request("r1"))
    with pytest.raises(CapabilityError, match="cannot handle batches of several requests"):
        solve(parse_instance(json.dumps(given)), CpSat(formulation="circuit"))


def test_quick_packings() -> None:
    """All items, none too many in a bin; seldom more than the fewest bins, never by much."""
    rng, extra = random.Random(1), 0
    for _ in range(40):
        sizes = [rng.randint(1, 15) for _ in range(rng.randint(1, 9))]
        fewest = fewest_bins(sizes, 15)
        for rule in (best_fit, fill_bins, quick_bins):
            bins = rule(Counter(sizes), 15)
            assert bins is not None
            assert sorted(size for chosen_ in bins for size in chosen_) == sorted(sizes)
            assert all(sum(chosen_) <= 15 for chosen_ in bins)
            assert fewest <= len(bins) <= fewest + 1
        extra += len(quick_bins(Counter(sizes), 15)) - fewest
    assert extra <= 2


def test_a_stopped_rule_leaves_the_other_one() -> None:
    assert fill_bins({5: 3}, 10, lambda: True) is None
    assert quick_bins({5: 3}, 10, lambda: True) == [[5, 5], [5]]


def test_what_positions_cannot_prove() -> None:
    """60 items and 16 nodes, proven at once; the model of positions leaves both wide open."""
    rng = random.Random(6)
    sizes = tuple(float(rng.randint(20, 100)) for _ in range(60))
    matrix = tuple(map(tuple, random_matrix(rng, 16)))
    for instance, solver in (
        (bin_packing_instance(BinPacking("sixty", 150.0, sizes)), "auto"),
        (tsp_instance(Tsp("sixteen", False, tuple(range(1, 17)), matrix)), "cpsat"),
    ):
        result = solve(instance, solver, time_limit=120)
        assert result.status.stop is StopReason.OPTIMAL
        assert solver == "cpsat" or result.details["turns"][0]["solver"] == "cpsat"
        assert result.loss == result.bound
