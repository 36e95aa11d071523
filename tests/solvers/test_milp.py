"""``milp``: its modes, its model against the checker, its formulations, its backends' limits."""

from __future__ import annotations

import itertools
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pats_opt.core.solver import ALL_FEATURES, Feature, Run
from pats_opt.errors import CapabilityError, InfeasibleError, InputError, SolverError
from pats_opt.generate import Recipe, generate
from pats_opt.model.checker import check, valid_loss
from pats_opt.model.files import parse_instance
from pats_opt.model.loss import best_utility
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_opt.model.timing import shape_of
from pats_opt.solving.solve import solve
from pats_opt.solving.starts import PolicyStarts
from pats_opt.testing.instances import random_features, random_instance
from pats_solvers.common import incumbent
from pats_solvers.milp import Milp, build
from pats_solvers.milp.backends import (
    BackendLimits,
    BackendName,
    BackendResult,
    backend,
    cbc,
    process,
)
from pats_solvers.milp.backends.highs_scip import last_point
from pats_solvers.milp.backends.mathopt import solve as solve_here
from pats_solvers.milp.family import scaled
from pats_solvers.milp.model import (
    INF,
    BuildStoppedError,
    LinearModel,
    ModelBuilder,
    ModelLimits,
)
from pats_solvers.milp.modes import capped_modes, exact_modes, monotone
from pats_solvers.milp.solver import FormulationName, size_of
from tests.support import scale
from tests.support.zoo import ONE_AT_A_TIME, adapter, document, gpu, request

BACKENDS: tuple[BackendName, ...] = ("highs", "scip", "cbc")

#: Features that the flow formulations lack, and that the indicator formulation lacks.
CACHED = frozenset((Feature.RESIDENT, Feature.MIXED_BATCH, Feature.ACTIVATE))


def large(requests: int = 60) -> Problem:
    """A problem that no backend finishes within a few seconds."""
    return Problem(generate(Recipe(requests=requests), seed=1))


def with_one_resident(seeds: range) -> Iterator[Problem]:
    """Random problems with one resident adapter and no pairs: every formulation can state them."""
    for seed in seeds:
        rng = random.Random(seed)
        among = ALL_FEATURES - CACHED - {Feature.PAIRS}
        yield Problem(random_instance(seed, random_features(rng, 0.4, among), requests=(2, 5)))


def built(problem: Problem, formulation: FormulationName, known: float | None) -> LinearModel:
    """The model of a problem."""
    return build(problem, formulation, known)[0]


def unlimited(seed: int = 0) -> BackendLimits:
    """BackendLimits that never stop a backend."""
    return BackendLimits(seed, lambda: None, lambda: False, lambda *_: None)


# -- modes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", scale.seeds(40))
def test_modes_time_every_batch_as_the_clock_does(seed: int) -> None:
    """Each shape is in a mode of each kind, exactly timed; a capped mode times none too early."""
    problem = Problem(random_instance(seed, None, requests=(3, 5)))
    clock = problem.site.clock
    levels = sorted({o.steps for job in problem.jobs for o in job.options})
    cap = min(4, clock.largest or 4)
    most = [4] * len(levels)
    exact = exact_modes(clock, levels, most, cap)
    kinds = [exact]
    if monotone(clock, cap):
        capped = capped_modes(clock, levels, most, cap)
        kinds.append(capped)
        assert len(capped.modes) <= len(exact.modes)
    sizes = range(1, cap + 1)
    for steps in itertools.chain.from_iterable(
        itertools.combinations_with_replacement(levels, n) for n in sizes
    ):
        shape = shape_of(steps)
        ends = clock.completions(shape)
        for modes in kinds:
            number = modes.mode_of(clock, steps)
            assert number is not None
            mode = modes.modes[number]
            assert [mode.offsets[levels.index(s)] for s, _ in shape] == [*ends]
            assert mode.duration == clock.duration(shape)
            if modes.capped:  # whatever a mode has room for is done by its times
                room = [sum(s >= level for s in steps) for level in levels]
                for mode in modes.modes:
                    if all(n <= cap for n, cap in zip(room, mode.counts, strict=True)):
                        assert mode.duration >= clock.duration(shape)
                        at = [mode.offsets[levels.index(s)] for s, _ in shape]
                        assert all(o is not None and o >= e for o, e in zip(at, ends, strict=True))


def test_constant_step_time_leaves_one_mode_per_level() -> None:
    """Of the 44 shapes of up to 8 members at two levels, two modes are left."""
    clock = large().site.clock
    assert len(exact_modes(clock, (20, 60), (8, 8), 8).modes) == 44
    assert len(capped_modes(clock, (20, 60), (8, 8), 8).modes) == 2


def test_packing_rows_stay_exact() -> None:
    """A row in the largest common unit accepts exactly what fits, down to one billionth."""
    needs, room = [4_000_000_000, 2_000_000_000, 6_000_000_000], 9_999_999_999
    demands, limit = scaled(needs, room)
    assert (demands, limit) == ([2.0, 1.0, 3.0], 4.0)
    for chosen_jobs in itertools.product((0, 1), repeat=3):
        fits = sum(n * c for n, c in zip(needs, chosen_jobs, strict=True)) <= room
        assert fits == (sum(d * c for d, c in zip(demands, chosen_jobs, strict=True)) <= limit)


# -- model -------------------------------------------------------------------------------------


def test_the_size_is_known_before_the_model_is_built() -> None:
    """Sizes are known before anything is built, and nothing but repeated entries is less."""
    for problem in with_one_resident(range(12)):
        for formulation in ("flow", "counting", "indicator"):
            size = size_of(problem, None, formulation)
            columns, rows, entries = built(problem, formulation, None).size
            assert (size.columns, size.rows) == (columns, rows)
            assert entries <= size.entries <= 2 * entries


@pytest.mark.parametrize("seed", scale.seeds(60))
def test_a_plans_point_is_feasible_and_costs_its_loss(seed: int) -> None:
    """The model's objective at the point of a plan is the checker's loss of the plan, both ways."""
    problem = Problem(random_instance(seed, None, requests=(2, 5)))
    start = PolicyStarts(problem, Run()).first()
    if start is None:
        return  # a tight horizon may defeat the policies
    plan, loss = start
    for formulation in _able(problem):
        model, stated = build(problem, formulation)
        point = stated.point(plan, len(model.cost))
        assert point is not None
        assert model.violation(point) <= 1e-9
        assert model.objective(point) == pytest.approx(loss)
        again = stated.plan(point)
        assert valid_loss(problem, again) == pytest.approx(loss)


def _able(problem: Problem) -> list[FormulationName]:
    """The formulations that can state a problem."""
    able: list[FormulationName] = []
    if problem.site.max_resident == 1:
        able += ["flow", "counting"]
    if not problem.site.pairs:
        able.append("indicator")
    return able


def test_the_slotted_model_is_the_documents() -> None:
    """On a slot instance the objective is the documents' utility, term by term."""
    requests = [
        request("r0", adapter="a", arrival_s=0.0),
        request("r1", adapter="b", arrival_s=0.0),
        request("r2", adapter="a", arrival_s=2.0),
        request("r3", adapter="b", arrival_s=2.0),
    ]
    instance = parse_instance(
        json.dumps(
            document(
                *requests,
                adapters=[adapter("a", load_s=1.5), adapter("b", load_s=1.5)],
                gpus=[gpu(resident=())],
                service={"kind": "slot"},
                latency_price_per_s=0.25,
            )
        )
    )
    problem = Problem(instance)
    result = solve(problem, "milp")
    assert result.loss is not None
    start_of = {
        problem.job_index()[served.id]: batch.start
        for plan in result.schedule.gpus
        for batch in plan.batches
        for served in batch.requests
    }
    active = [
        problem.jobs[problem.job_index()[batch.requests[0].id]].adapter
        for plan in result.schedule.gpus
        for batch in sorted(plan.batches, key=lambda b: b.start)
    ]
    quality = sum(job.weight * job.options[0].quality for job in problem.jobs)
    latency = sum(0.25 * (start_of[job.index] - job.arrival) for job in problem.jobs)
    switches = sum(now != before for before, now in itertools.pairwise([None, *active]))
    assert best_utility(problem) - result.loss == pytest.approx(quality - latency - 1.5 * switches)
    assert result.terms is not None
    assert result.terms.latency == pytest.approx(latency)
    assert result.terms.switching == pytest.approx(1.5 * switches)


def test_the_formulations_agree() -> None:
    """Flow, counting and indicators have one optimum, where all of them can state the problem."""
    for problem in with_one_resident(range(6)):
        losses = [
            solve(problem, Milp(backend="scip", formulation=formulation)).loss
            for formulation in _able(problem)
        ]
        assert losses == pytest.approx([losses[0]] * 3)


def test_counting_is_the_tighter_relaxation() -> None:
    """The LP of counting is above that of flow, which hardly sees the switches; both are bounds."""
    problem = Problem(generate(Recipe(requests=8), seed=2))
    optimum = solve(problem, "milp").loss
    assert optimum is not None
    bounds = []
    for formulation in ("flow", "counting"):
        model = built(problem, formulation, optimum)
        relaxed = replace(model, integer=np.zeros_like(model.integer))
        bounds.append(backend("scip")(relaxed, unlimited(), None).bound)
    flow, counting = bounds
    assert flow is not None
    assert counting is not None
    assert flow + 0.05 * optimum < counting <= optimum + 1e-6


# -- what it refuses ---------------------------------------------------------------------------


def test_refuses_what_a_formulation_cannot_state() -> None:
    """Flow has one resident; the indicators have no pairs."""
    cached = random_instance(0, {Feature.RESIDENT})
    paired = random_instance(0, {Feature.PAIRS})
    with pytest.raises(CapabilityError, match="max_resident"):
        solve(cached, Milp(formulation="flow"))
    with pytest.raises(CapabilityError, match="pairwise"):
        solve(paired, Milp(formulation="indicator"))


def test_refuses_what_does_not_fit_the_memory() -> None:
    """A grid of a billion ticks is refused by its size, before anything of it is built."""
    lines = document(
        request("r0"), request("r1", arrival_s=1000.0), tick_s=1e-6, gpus=[gpu(resident=())]
    )
    with pytest.raises(InputError, match=r"columns, .* rows .* non-zeros, .* the 8 GiB"):
        solve(parse_instance(json.dumps(lines)), "milp")


@pytest.mark.parametrize("formulation", ["counting", "indicator"])
def test_counts_no_further_than_the_memory(formulation: FormulationName) -> None:
    """What is too large is refused as soon as it is, however much would be left to count."""
    problem = Problem(generate(Recipe(requests=300), seed=1))
    whole = size_of(problem, None, formulation)
    limit = whole.gib / 20
    with pytest.raises(InputError, match="too much") as refusal:
        size_of(problem, None, formulation, ModelLimits(limit))
    columns = int(re.findall(r"([\d,]+) columns", str(refusal.value))[0].replace(",", ""))
    assert 0 < columns < whole.columns / 5


def test_counting_and_building_look_at_the_clock() -> None:
    """Neither goes on for long once it is time to stop."""
    problem = Problem(generate(Recipe(requests=20), seed=1))
    for state in (size_of, build):
        asked = iter([None] * 5)
        limits = ModelLimits(stop=partial(next, asked, StopReason.TIME_LIMIT))
        with pytest.raises(BuildStoppedError):
            state(problem, limits=limits)


def test_refuses_too_many_shapes() -> None:
    """Shapes grow with a power of the number of step counts."""
    options = [{"steps": s, "quality": s / 10} for s in range(1, 9)]
    lines = document(*(request(f"r{i}", options=options) for i in range(40)))
    with pytest.raises(InputError, match="shapes"):
        solve(parse_instance(json.dumps(lines)), "milp")


# -- limits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKENDS)
def test_time_limit_returns_the_best_so_far(name: BackendName) -> None:
    """At the time limit there are a valid schedule, no worse than the start, and a bound below."""
    problem = large()
    start = PolicyStarts(problem, Run()).first()
    assert start is not None
    result = solve(problem, Milp(backend=name), time_limit=3.0)
    assert result.status.stop is StopReason.TIME_LIMIT
    assert result.loss is not None
    assert result.bound is not None
    assert 0.0 <= result.bound <= result.loss <= start[1] + 1e-9
    assert check(problem, result.schedule).ok


@pytest.mark.parametrize("name", BACKENDS)
def test_interrupt_returns_the_best_so_far(
    name: BackendName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's wish to stop ends every backend, and leaves no file behind."""
    problem = large()
    run = Run()
    run.start = PolicyStarts(problem, run).first()
    assert run.start is not None
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        threading.Timer(2.0, run.interrupted.set).start()
        outcome = Milp(backend=name).solve(problem, run)
        assert list(Path(folder).iterdir()) == []
    assert outcome.stop is StopReason.INTERRUPTED
    assert outcome.plan is not None
    loss = valid_loss(problem, outcome.plan)
    assert loss is not None
    assert loss <= run.start[1] + 1e-9
    assert outcome.bound is not None
    assert outcome.bound <= loss


def test_children_end_with_their_parent() -> None:
    """A worker whose standard input closes, as an ended parent's does, ends and cleans up."""
    folder = Path(tempfile.mkdtemp())
    model = built(large(), "flow", None)
    arrays = {f: getattr(model, f) for f in LinearModel.__dataclass_fields__}
    np.savez(folder / "model.npz", **arrays)
    command = [
        sys.executable,
        "-m",
        "pats_solvers.milp.backends.mathopt",
        "highs",
        str(folder),
        "0",
        "600",
    ]
    done = subprocess.run(command, input="", capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert not folder.exists()


def test_cbc_ends_with_its_parent() -> None:
    """The guard ends its program and cleans up when its standard input closes."""
    folder = Path(tempfile.mkdtemp())
    endless = [sys.executable, "-c", "import time; time.sleep(600)"]
    command = [sys.executable, process.__file__, str(folder), *endless]
    done = subprocess.run(command, input="", capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert not folder.exists()


def test_a_crash_of_cbc_at_its_time_limit_is_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does crash there, now and then; a crash with time left is an error."""
    crash = "import os, time; time.sleep(0.6); os.abort()"
    monkeypatch.setattr(cbc, "start", lambda _: process.start([sys.executable, "-c", crash]))
    instance = random_instance(3, (Feature.OPTIONS,), requests=(4, 4))
    result = solve(instance, "milp:backend=cbc", time_limit=0.5)
    assert result.status.stop is StopReason.TIME_LIMIT
    assert result.loss is not None
    with pytest.raises(SolverError, match="status -6 without an answer"):
        solve(instance, "milp:backend=cbc")


@pytest.mark.parametrize("name", BACKENDS)
def test_same_seed_same_schedule(name: BackendName) -> None:
    """One thread and a seed make a run repeatable."""
    problem = Problem(generate(Recipe(requests=8), seed=3))
    one, two = (solve(problem, Milp(backend=name), seed=7) for _ in range(2))
    assert one.schedule.gpus == two.schedule.gpus
    assert one.bound == two.bound


@pytest.mark.parametrize("name", BACKENDS)
def test_progress_is_reported(name: BackendName) -> None:
    """Bounds are reported while a backend runs, none above the one it ends with."""
    bounds: list[float] = []
    problem = large(40)
    run = Run(time_limit=30.0)
    run.start = PolicyStarts(problem, run).first()

    def progress(bound: float | None, _: float | None) -> None:
        if bound is not None:
            bounds.append(bound)
            run.interrupted.set()

    run.progress = progress
    outcome = Milp(backend=name, formulation="flow").solve(problem, run)
    assert bounds
    assert outcome.bound is not None
    assert max(bounds) <= outcome.bound * (1 + 1e-4) + 1e-6


# -- what comes back ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKENDS)
def test_backends_tell_infeasible_from_unknown(name: BackendName) -> None:
    """A contradiction is a proof; a time limit of nothing is none."""
    builder = ModelBuilder()
    column = builder.add_columns(2, cost=1.0)
    builder.add(builder.add_rows(1, 3.0, INF)[[0, 0]], column)
    assert backend(name)(builder.build(), unlimited(), None).stop is StopReason.INFEASIBLE
    none = replace(unlimited(), remaining=lambda: 0.0)
    answer = backend(name)(built(large(20), "flow", None), none, None)
    assert answer.stop is StopReason.TIME_LIMIT


def test_improving_points_are_read_back(tmp_path: Path) -> None:
    """HiGHS' file of improving points ends with its answer; a point cut off is not read."""
    model = built(Problem(generate(Recipe(requests=8), seed=1)), "flow", None)
    file = tmp_path / "improving.sol"
    assert last_point(file, len(model.cost)) is None
    answer = solve_here("highs", model, 0, 60.0, None, folder=tmp_path)  # as the worker does
    point = last_point(file, len(model.cost))
    assert answer.x is not None
    assert point is not None
    assert model.violation(point) <= 1e-6
    assert model.objective(point) == pytest.approx(model.objective(answer.x))
    with file.open("a") as more:
        more.write("Objective 0\n# Columns -2\n 1 0\n 1 1")
    again = last_point(file, len(model.cost))
    assert again is not None
    assert again.tolist() == point.tolist()


def test_an_invalid_point_is_never_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tolerances let a rule be broken, the model is solved again with a margin."""
    problem = Problem(generate(Recipe(requests=6), seed=1))
    honest = solve(problem, "milp")
    assert honest.loss is not None
    asked: list[float] = []

    def once_invalid(given: Problem, plan: Plan) -> float | None:
        asked.append(0.0)
        return None if len(asked) == 1 else valid_loss(given, plan)

    monkeypatch.setattr(incumbent, "valid_loss", once_invalid)
    result = solve(problem, "milp")
    assert len(asked) == 2
    assert result.loss == pytest.approx(honest.loss)
    monkeypatch.setattr(incumbent, "valid_loss", lambda *_: None)
    with pytest.raises(SolverError, match="beyond its tolerances"):
        solve(problem, "milp")


@pytest.mark.parametrize("load_s", [1e-8, 1e-7, 1e-6])
def test_a_load_of_no_length_takes_its_tick(load_s: float) -> None:
    """HiGHS calls a model with such a coefficient infeasible, though rejecting costs nothing."""
    tiny = document(
        request("r0", adapter="c", arrival_s=0.25, weight=0.0, reject_loss=1.0),
        gpus=[gpu(resident=()), gpu("gpu-1", resident=("b",))],
        adapters=[adapter("a", 5.25), adapter("b", load_s), adapter("c", 1.0)],
        switching={"max_resident": 2, "activate_s": 0.9},
        latency_price_per_s=0.0,
    )
    result = solve(parse_instance(json.dumps(tiny)), "milp:formulation=indicator")
    assert result.status.stop is StopReason.OPTIMAL
    assert result.loss == result.bound == 0.0


def test_a_load_just_above_a_tick_takes_two() -> None:
    """Tolerances of the backend do not make it one: the optimum is proven all the same."""
    late = document(
        request("r0", adapter="b"),
        request("r1", adapter="b"),
        adapters=[adapter("a", 0.5, 1.0), adapter("b", 1.00000001, 1.0)],
        switching={"max_resident": 2},
        service=ONE_AT_A_TIME,
        horizon_ticks=6,
    )
    result = solve(parse_instance(json.dumps(late)), "milp")
    assert result.status.stop is StopReason.OPTIMAL
    assert result.loss == pytest.approx(3 + 4 + 1.00000001)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_price_far_above_the_loss_hides_no_optimum(name: BackendName) -> None:
    """CBC called a loss of 2.1e-5 optimal, beside the price of 1333 for being late."""
    late = document(
        request("r0", 2, adapter="a", arrival_s=2.0, deadline_s=1.0, demand={"vram_gib": 4.0}),
        request("r1", adapter="b", arrival_s=0.5, deadline_s=1.3, weight=2.0),
        request("r2", adapter="a", demand={"vram_gib": 4.0}),
        request("r3", adapter="c", deadline_s=1.0),
        tick_s=0.3,
        gpus=[gpu(resident=("c",), vram_gib=49.0), gpu("gpu-1", resident=("a",), vram_gib=49.0)],
        adapters=[adapter("a", 0.7), adapter("b", 1.0), adapter("c", 1.0)],
        switching={"price_per_s": 1.24e-5},
        service={"kind": "steps", "step_s": {"table": [0.2]}},
        latency_price_per_s=0.0,
        late_price=1333.0,
    )
    result = solve(parse_instance(json.dumps(late)), Milp(backend=name))
    assert result.status.stop is StopReason.OPTIMAL
    assert result.loss == pytest.approx(1.24e-5, abs=1e-12)


def test_a_wrong_claim_of_infeasibility_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that finds no solution where one is known leaves the known one unproven."""
    monkeypatch.setattr(
        "pats_solvers.milp.solver.backend",
        lambda _name: lambda *_: BackendResult(StopReason.INFEASIBLE),
    )
    result = solve(random_instance(3, (Feature.OPTIONS,), requests=(4, 4)), "milp")
    assert result.status.stop is StopReason.COMPLETE
    assert result.loss is not None
    assert result.bound is not None
    assert result.bound < result.loss


def test_a_point_of_cbc_that_is_no_plan_is_dropped() -> None:
    """CBC calls a point optimal in which a request joins no batch; the bound of it holds."""
    free = {"vram_gib": 0.0}
    instance = document(
        request("r0", arrival_s=1.3, demand=free),
        request("r1", arrival_s=1.0, demand=free, adapter="b"),
        tick_s=0.3,
        gpus=[gpu("g0", (), vram_gib=0.0), gpu("g2", (), vram_gib=0.0)],
        adapters=[adapter("a"), adapter("b")],
        switching={"max_resident": 5, "price_per_s": 0.0, "max_per_batch": 2},
        service={
            "kind": "steps",
            "step_s": {"base": 0.0, "per_sample": 0.0111},
            "overhead_s": {"base": 0.0, "per_sample": 0.3},
        },
    )
    result = solve(parse_instance(json.dumps(instance)), Milp(backend="cbc"))
    assert result.status.stop is StopReason.OPTIMAL
    assert result.loss == pytest.approx(1.2)


def test_cbc_proves_that_no_schedule_ends_in_time() -> None:
    """It says so in other words where the relaxation has a solution: "Integer infeasible"."""
    two = [request(f"r{i}", 20, arrival_s=1.0, demand={"vram_gib": 2.0}) for i in range(2)]
    instance = document(
        *two,
        base_vram_gib=2.0,
        gpus=[gpu("g0", (), vram_gib=6.5)],
        adapters=[adapter("a", 0.0, 1.0)],
        switching={"max_resident": 3, "price_per_s": 0.0, "max_per_batch": 2},
        service={"kind": "steps", "step_s": {"base": 0.035, "per_sample": 0.0175}},
        latency_price_per_s=0.0,
        horizon_ticks=4,
    )
    with pytest.raises(InfeasibleError):
        solve(parse_instance(json.dumps(instance)), Milp(backend="cbc"))


@pytest.mark.parametrize("name", BACKENDS)
def test_no_empty_batch_evicts_in_order_to_load_instead_of_activating(name: BackendName) -> None:
    """Loading is free here and activating costs 924: a is evicted and loaded again.

    A batch without members between the two would do so in the model, but in no schedule.
    """
    cheap = document(
        request("r0", adapter="b"),
        request("r1", arrival_s=4.0, reject_loss=923.0),
        adapters=[adapter("a"), adapter("b")],
        switching={"max_resident": 2, "max_per_batch": 3, "activate_s": 1.0, "price_per_s": 924.0},
        service={"kind": "slot"},
    )
    for seed in range(2):
        result = solve(parse_instance(json.dumps(cheap)), f"milp:backend={name}", seed=seed)
        assert result.status.stop is StopReason.OPTIMAL
        assert result.loss == result.bound == 0.0
