"""Loads beside serving: orders of loads and batches timed early, and exact solvers' models."""

from __future__ import annotations

import json
import random
from functools import cache

import msgspec
import pytest
from msgspec.structs import replace

from pats_opt.core.solver import Feature, Run, Solver
from pats_opt.errors import CapabilityError
from pats_opt.model.checker import TOLERANCE, valid_loss
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.instance import Instance
from pats_opt.model.parsing import convert
from pats_opt.model.plan import Members, Plan, PlannedBatch, PlannedLoad, plan_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule, StopReason
from pats_opt.solving.solve import solve
from pats_opt.testing.instances import random_features, random_instance
from pats_opt.testing.solvers import close
from pats_solvers.common.loading import Event, earliest_beside_loads
from pats_solvers.cpsat import CpSat
from pats_solvers.cpsat.layout import timed
from pats_solvers.cpsat.model import PositionsModel
from pats_solvers.milp import Milp
from pats_solvers.milp.backends import BackendName
from tests.support import scale
from tests.support.brute_force import Json, best_schedule
from tests.support.overlap_zoo import overlapping
from tests.support.zoo import adapter, gpu, request

#: What can be together with loads beside serving; searches of several GPUs take long.
BESIDE = frozenset(Feature) - {Feature.PAIRS, Feature.SLOT, Feature.GPUS}


def mixed(seed: int, requests: tuple[int, int] = (2, 4)) -> Instance:
    """A random instance of any features beside which a GPU can load."""
    rng = random.Random(seed)
    wanted = random_features(rng, 0.3, BESIDE) | {Feature.OVERLAP, Feature.RESIDENT}
    if seed % 8 == 0:
        wanted, requests = wanted | {Feature.GPUS}, (2, 3)
    made = random_instance(rng, wanted, requests=requests, tight=seed % 3 == 0)
    return with_large_adapters(made, rng) if seed % 2 else made


def with_large_adapters(made: Instance, rng: random.Random) -> Instance:
    """An instance whose memory holds any adapter and request, but seldom two adapters and one."""
    gpus = [
        replace(g, capacity={**g.capacity, "vram_gib": g.capacity["vram_gib"] + 3.5}, resident=())
        for g in made.gpus
    ]
    adapters = [replace(a, vram_gib=rng.choice((0.5, 2.0, 3.5))) for a in made.adapters]
    return replace(made, adapters=tuple(adapters), gpus=tuple(gpus))


@cache
def optimum(seed: int) -> tuple[Problem, tuple[Plan, float] | None]:
    """A random problem, and the search's plan with its loss, None without one."""
    problem = Problem(mixed(seed))
    best = best_schedule(json.loads(encode(problem.instance)))
    return problem, None if best is None else (plan_from(problem, best), best["loss"])


def plan_from(problem: Problem, document: Json) -> Plan:
    """The plan that a schedule document holds."""
    schedule = convert(document, Schedule)
    jobs, adapters = problem.job_index(), problem.site.adapter_index
    batches = [
        [
            PlannedBatch(b.start, tuple((jobs[r.id], r.option) for r in b.requests), frozenset())
            for b in gpu.batches
        ]
        for gpu in schedule.gpus
    ]
    loads = [
        [PlannedLoad(adapters[x.adapter], x.start) for x in gpu.loads or ()]
        for gpu in schedule.gpus
    ]
    return plan_of(batches, loads)


def starts(plan: Plan) -> list[list[int]]:
    """The starts of the batches of each GPU."""
    return [[batch.start for batch in row] for row in plan.gpus]


def one_by_one(problem: Problem, rng: random.Random) -> Plan:
    """Requests one by one in random order, each after a load where its adapter changes."""
    orders: list[list[Event]] = [[] for _ in problem.site.gpus]
    held = [gpu.resident for gpu in problem.site.gpus]
    for job in rng.sample(problem.jobs, len(problem.jobs)):
        hosts = problem.hosts(job)
        if hosts:
            g = rng.choice(hosts)
            if job.adapter not in held[g]:
                orders[g].append(job.adapter)
            held[g] = frozenset((job.adapter,))
            orders[g].append(((job.index, rng.randrange(len(job.options))),))
    rows = [earliest_beside_loads(problem, g, order) for g, order in enumerate(orders)]
    return Plan(tuple(batches for batches, _ in rows), tuple(loads for _, loads in rows))


# -- orders timed early ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", scale.seeds(60))
def test_an_optimum_timed_again_is_one(seed: int) -> None:
    """The search's schedule keeps its loss; put off by some ticks, it comes back as early."""
    problem, best = optimum(seed)
    if best is None:
        return
    plan, least = best
    again = timed(problem, plan)
    loss = valid_loss(problem, again)
    assert loss is not None
    assert close(loss, least)
    later = plan_of(
        [[replace(b, start=3 * b.start + 7) for b in row] for row in plan.gpus],
        [[replace(x, start=3 * x.start + 7) for x in row] for row in plan.loads],
    )
    assert starts(timed(problem, later)) <= starts(again)


@pytest.mark.parametrize("seed", scale.seeds(60))
def test_any_order_has_a_schedule(seed: int) -> None:
    """Requests one by one, in any order, make a valid schedule where no horizon is in the way.

    Timed again it is no later: a load at the start of a batch now comes before it.
    """
    problem = Problem(replace(mixed(seed), horizon_ticks=None))
    for trial in range(5):
        plan = one_by_one(problem, random.Random(trial))
        assert valid_loss(problem, plan) is not None
        assert starts(timed(problem, plan)) <= starts(plan)


def _beside(**switching: object) -> Problem:
    """Two requests of a at tick 0, one of b at 2; a is resident, loads take two ticks."""
    lines = overlapping(
        request("r0", 3),
        request("r1"),
        request("r2", adapter="b", arrival_s=2.0),
        adapters=[adapter("a", 2.0), adapter("b", 2.0)],
        switching=switching,
    )
    return Problem(parse_instance(json.dumps(lines)))


R0: Members = ((0, 0),)
R1: Members = ((1, 0),)
R2: Members = ((2, 0),)


def test_loads_without_use_are_left_out() -> None:
    """What no batch uses is not loaded, nor what is still there: a second load of a is none."""
    batches, loads = earliest_beside_loads(_beside(), 0, [R0, 1, 0, R1, 0])
    assert [batch.start for batch in batches] == [0, 3]
    assert loads == ()


def test_what_is_needed_last_leaves() -> None:
    """With one resident, b comes when a's batch has ended, and a again when b's has."""
    batches, loads = earliest_beside_loads(_beside(max_resident=1), 0, [R0, 1, R2, 0, R1])
    a, b = frozenset((0,)), frozenset((1,))
    assert [batch.start for batch in batches] == [0, 5, 8]
    assert loads == (PlannedLoad(1, 3, a), PlannedLoad(0, 6, b))


def test_orders_that_cannot_be() -> None:
    """A batch before its load, and a load for which there is never room, are named."""
    with pytest.raises(ValueError, match="no load of 'b' before its batch"):
        earliest_beside_loads(_beside(), 0, [R2])
    with pytest.raises(ValueError, match="no room for a load of 'b'"):
        earliest_beside_loads(_beside(max_resident=1), 0, [1, R0, R2])


# -- exact solvers -----------------------------------------------------------------------------


def proves(
    solver: Solver, problem: Problem, start: tuple[Plan, float] | None, optimum: float | None
) -> None:
    """The solver proves the optimum, or that there is no schedule."""
    outcome = solver.solve(problem, Run(start=start, time_limit=120))
    if optimum is None:
        assert outcome.stop is StopReason.INFEASIBLE
        return
    assert outcome.stop is StopReason.OPTIMAL
    assert outcome.plan is not None
    assert outcome.bound is not None
    loss = valid_loss(problem, outcome.plan)
    assert loss is not None
    assert close(loss, optimum), (loss, optimum)
    assert close(outcome.bound, optimum), (outcome.bound, optimum)


@pytest.mark.parametrize("seed", scale.seeds(120))
def test_cpsat_proves_the_optimum(seed: int) -> None:
    """Any mix of features, from nothing and from a schedule: the optimum of exhaustive search."""
    problem, best = optimum(seed)
    plan = one_by_one(problem, random.Random(seed))
    loss = valid_loss(problem, plan)
    for start in {None, None if loss is None else (plan, loss)}:
        proves(CpSat(), problem, start, None if best is None else best[1])


@pytest.mark.parametrize("seed", scale.seeds(40))
@pytest.mark.parametrize("backend", ["highs", "scip", "cbc"])
def test_milp_proves_the_optimum(backend: BackendName, seed: int) -> None:
    """The same with linear programs of indicators by tick, in all three MIP solvers."""
    problem, best = optimum(seed)
    plan = one_by_one(problem, random.Random(seed))
    loss = valid_loss(problem, plan)
    start = None if loss is None or seed % 2 else (plan, loss)
    proves(Milp(backend=backend), problem, start, None if best is None else best[1])


@pytest.mark.parametrize("seed", scale.seeds(40))
def test_hints_are_complete_solutions(seed: int) -> None:
    """The hint of a plan with loads sets every variable that has a choice, and costs no more."""
    from ortools.sat.python import cp_model

    problem = Problem(replace(mixed(seed, (2, 5)), horizon_ticks=None))
    plan = one_by_one(problem, random.Random(seed))
    loss = valid_loss(problem, plan)
    assert loss is not None
    model = PositionsModel(problem, loss)
    model.hint(plan)
    hinted = set(model.cp.proto.solution_hint.vars)
    free = {i for i, v in enumerate(model.cp.proto.variables) if len(set(v.domain)) > 1}
    assert free <= hinted
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.fix_variables_to_their_hinted_value = True
    assert solver.solve(model.cp) == cp_model.OPTIMAL
    assert solver.objective_value / model.losses.scale <= loss + TOLERANCE


@pytest.mark.parametrize("seed", scale.seeds(30))
def test_a_loader_never_hurts(seed: int) -> None:
    """More channels do not, and without activations a loader beats loads that block the GPU.

    With one resident, or loads of no time, it changes nothing.
    """
    made = replace(mixed(seed, (4, 6)), horizon_ticks=None)
    made = replace(made, gpus=tuple(replace(g, resident=()) for g in made.gpus))

    def least(instance: Instance, **switching: object) -> float:
        changed = replace(instance.switching, **switching)
        loss = solve(replace(instance, switching=changed), "cpsat").loss
        assert loss is not None
        return loss

    overlap = made.switching.overlap
    assert isinstance(overlap, msgspec.Struct)
    beside = least(made)
    more = replace(overlap, channels=overlap.channels + 1)
    assert least(made, overlap=more) <= beside + TOLERANCE * max(1.0, beside)
    plain, one = {"activate_s": 0.0}, {"activate_s": 0.0, "max_resident": 1, "max_per_batch": 1}
    blocking = least(made, **plain, overlap=None)
    assert least(made, **plain) <= blocking + TOLERANCE * max(1.0, blocking)
    assert close(least(made, **one), least(made, **one, overlap=None))
    adapters = tuple(replace(a, load_s=0.0) for a in made.adapters)
    free = replace(made, adapters=adapters)
    assert close(least(free, **plain), least(free, **plain, overlap=None))


@pytest.mark.parametrize(
    "spec",
    [f"cpsat:formulation={name}" for name in ("circuit", "packing")]
    + [f"milp:formulation={name}" for name in ("flow", "counting")],
)
def test_special_models_refuse(spec: str) -> None:
    """Models that have no loader say so; ``auto`` takes the one that has."""
    lines = overlapping(
        request("r0"),
        gpus=[gpu(vram_gib=1.0)],
        switching={"max_resident": 1},
        latency_price_per_s=0.0,
    )
    instance = parse_instance(json.dumps(lines))
    with pytest.raises(CapabilityError, match="overlap"):
        solve(instance, spec)
    assert solve(instance, "cpsat").details["formulation"] == "positions"


@pytest.mark.parametrize("spec", ["auto", "exact"])
def test_others_pass_on(spec: str) -> None:
    """What combines solvers leaves out those without a loader, also where these come first."""
    problem = Problem(mixed(2, (6, 6)))
    best = solve(problem, "cpsat").loss
    assert best is not None
    result = solve(problem, spec, time_limit=60)
    assert result.loss is not None
    assert close(result.loss, best)
    assert result.status.stop is StopReason.OPTIMAL
