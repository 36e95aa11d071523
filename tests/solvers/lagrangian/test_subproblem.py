"""One adapter's dynamic program against exhaustive search, and its plans against its values."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from pats_opt.core.solver import ALL_FEATURES, Feature
from pats_opt.errors import InputError
from pats_opt.model.files import parse_instance
from pats_opt.model.instance import Overlap
from pats_opt.model.problem import Problem
from pats_opt.testing.instances import random_instance
from pats_opt.testing.solvers import together
from pats_solvers.common.classes import classes
from pats_solvers.common.windows import safe_horizon
from pats_solvers.lagrangian.aggregation import aggregated
from pats_solvers.lagrangian.costs import (
    ABSENT,
    ACTIVATE,
    ACTIVE,
    CUT,
    LOAD,
    LOAD_BESIDE,
    PREFETCH,
    RESERVE,
    SERVE,
    SKIP,
    TO_ACTIVATE,
    TO_LOAD,
    TO_PREFETCH,
)
from pats_solvers.lagrangian.subproblem import AdapterPlan, AdapterSubproblem, paid
from pats_solvers.lagrangian.usage import HOLDS, KEEPS, LOADS
from tests.support import scale
from tests.support.one_adapter import least_priced_loss, least_priced_loss_beside
from tests.support.zoo import document, request

Prices = NDArray[np.float64]

#: Switches by what a plan's row says.
SWITCHES = {
    LOAD: TO_LOAD,
    ACTIVATE: TO_ACTIVATE,
    PREFETCH: TO_PREFETCH,
    LOAD_BESIDE: TO_PREFETCH,
    RESERVE: TO_ACTIVATE,
}

#: Random instances per feature.
SEEDS = len(scale.seeds(10))

#: One GPU is looked at, and a table that falls is eased before a sub sees it.
FEATURES = sorted(ALL_FEATURES - {Feature.GPUS, Feature.TABLE})


def subproblems(
    problem: Problem, ticks: int, states: int = 100_000, grain: int = 1
) -> list[AdapterSubproblem]:
    """The sub of each adapter."""
    kinds, made = classes(problem), []
    everybody = set(range(len(problem.jobs)))
    for a in sorted({kind.adapter for kind in kinds}):
        mine = [kind for kind in kinds if kind.adapter == a]
        listed, _ = aggregated(problem, mine, {0: everybody}, states)
        made.append(AdapterSubproblem(problem, listed[0], 0, ticks, grain=grain))
    return made


def solved(
    sub: AdapterSubproblem, hold: Prices, keep: Prices, state: int, load: Prices | None = None
) -> AdapterPlan:
    """The best plan at prices by tick."""
    prices = paid(hold, keep, load)
    return sub.plan(sub.values(prices), prices, state)


def drawn(rng: np.random.Generator, problem: Problem) -> tuple[int, Prices, Prices]:
    """An end of the prices, sometimes before the work can be done, and prices by tick."""
    end = safe_horizon(problem)
    if problem.site.horizon is None and rng.random() < 0.5:
        end = int(rng.integers(problem.jobs[-1].arrival, end + 1))
    end = max(1, end)
    scale = 10.0 ** rng.uniform(-2.0, 0.5)
    hold = scale * rng.random(end) * (rng.random(end) < 0.7)
    keep = 0.3 * scale * rng.random(end) if problem.site.max_resident > 1 else np.zeros(end)
    return end, hold, keep


@pytest.mark.parametrize("feature", [None, *FEATURES], ids=lambda f: f.name if f else "NONE")
def test_value_is_the_least_loss_with_prices(feature: Feature | None) -> None:
    """Where nothing is cut, merged or coarse the value is that of exhaustive search."""
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        wanted = together(feature) if feature else frozenset[Feature]()
        instance = random_instance(seed, wanted, requests=(1, 4), tight=seed % 2 == 0)
        problem = Problem(instance)
        end, hold, keep = drawn(rng, problem)
        for sub in subproblems(problem, end):
            for state in (ABSENT, ACTIVE):
                plan = solved(sub, hold, keep, state)
                value = plan.value
                least = least_priced_loss(problem, sub.adapter, list(hold), list(keep), state)
                assert value == pytest.approx(least, rel=1e-9, abs=1e-9), (seed, sub.adapter)
                if np.isfinite(value):
                    assert cost(sub, plan, hold, keep) == pytest.approx(value)


@pytest.mark.parametrize(
    "feature",
    [None, *(f for f in FEATURES if f not in {Feature.PAIRS, Feature.SLOT})],
    ids=lambda f: f.name if f else "NONE",
)
def test_value_with_loads_beside_serving(feature: Feature | None) -> None:
    """The same where loads are beside serving; the rows of a plan say what it uses."""
    for seed in range(2 * SEEDS):
        rng = np.random.default_rng(seed)
        wanted = together(feature) if feature else frozenset[Feature]()
        instance = random_instance(seed, wanted, requests=(1, 3), tight=seed % 2 == 0)
        ticks = float(rng.choice([0.0, 0.4, 1.0, 2.0, 2.6]))
        switching = msgspec.structs.replace(
            instance.switching, activate_s=ticks * instance.tick_s, overlap=Overlap(channels=1)
        )
        problem = Problem(msgspec.structs.replace(instance, switching=switching))
        end, hold, keep = drawn(rng, problem)
        end = min(end, 14)
        hold, load = hold[:end], float(np.max(hold)) * rng.random(end)
        keep = 0.3 * load.max() * rng.random(end)
        for sub in subproblems(problem, end):
            for state in (ABSENT, ACTIVE):
                plan = solved(sub, hold, keep, state, load)
                resident, of = state == ACTIVE, sub.adapter
                least = least_priced_loss_beside(
                    problem, of, list(hold), list(keep), list(load), resident=resident
                )
                assert plan.value == pytest.approx(least, rel=1e-9, abs=1e-9), (seed, sub.adapter)
                if np.isfinite(plan.value):
                    assert cost(sub, plan, hold, keep, load) == pytest.approx(plan.value)


def cost(
    sub: AdapterSubproblem,
    plan: AdapterPlan,
    hold: Prices,
    keep: Prices,
    load: Prices | None = None,
) -> float:
    """Cost of a plan, from its rows alone; it must be a plan."""
    loss, now = sub.constant, 0
    dealt = np.zeros(len(sub.kinds), dtype=int)
    for what, start, end, which in plan.rows.tolist():
        assert start >= now or load is not None, "rows overlap"
        now = end
        loss += float(keep[start:end].sum()) if KEEPS[what] else 0.0
        loss += float(hold[start:end].sum()) if HOLDS[what] else 0.0
        if load is not None and LOADS[what]:
            loss += float(load[start:end].sum())
        if what in SWITCHES and (what != RESERVE or which):
            loss += float(sub.arrays.switches["loss"][SWITCHES[what]])
        if what == SERVE:
            dealt += sub.arrays.takes[which]
            loss += batch_loss(sub, which, start)
        if what in (SKIP, CUT):
            assert what == SKIP or start == sub.ticks, "nothing is cut where caps are full"
            kind = sub.arrays.classes[which]
            left_over = kind["price"] * start + kind["least"]
            skip_at = kind["skip_at"] + dealt[which]
            loss += float(sub.arrays.skip[skip_at] if what == SKIP else left_over)
            dealt[which] += 1
        assert (dealt <= sub.arrays.arrived[:, start]).all(), "served before it arrived"
    assert (dealt == [len(kind.jobs) for kind in sub.kinds]).all(), "somebody was forgotten"
    return loss


def batch_loss(sub: AdapterSubproblem, number: int, start: int) -> float:
    """Loss of a batch that starts at a tick, arrivals apart."""
    loss = 0.0
    for q, option, count, ticks in sub.moves[number].parts:
        kind = sub.kinds[q]
        job = kind.jobs[0]
        loss += count * (job.options[option].quality_loss + kind.price * (start + ticks))
        if kind.late_loss > 0.0:
            assert job.deadline is not None
            loss += count * kind.late_loss * (start + ticks - job.arrival > job.deadline)
    return loss


@pytest.mark.parametrize("feature", [None, *FEATURES], ids=lambda f: f.name if f else "NONE")
def test_a_coarser_chain_is_worth_less(feature: Feature | None) -> None:
    """Fewer backlogs told apart and merged classes only lower the value."""
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        wanted = together(feature) if feature else frozenset[Feature]()
        problem = Problem(random_instance(seed, wanted, requests=(3, 8)))
        end, hold, keep = drawn(rng, problem)
        for fine in subproblems(problem, end):
            whole = solved(fine, hold, keep, ABSENT).value
            before = -np.inf
            for states in (1, 2, 4, 9, 30, 100):
                rough = next(
                    c for c in subproblems(problem, end, states) if c.adapter == fine.adapter
                )
                value = solved(rough, hold, keep, ABSENT).value
                assert value <= whole + 1e-9 * max(1.0, abs(whole)), (seed, states)
                if len(rough.kinds) == len(fine.kinds):  # then only caps grow
                    assert value >= before - 1e-9 * max(1.0, abs(before)), (seed, states)
                    before = value


def test_grains_begin_no_later() -> None:
    """Prices that are equal in the ticks of a grain are paid in it at most once."""
    for seed in range(3 * SEEDS):
        problem = Problem(random_instance(seed, (), requests=(2, 5)))
        shortest = min(
            problem.site.clock.quickest(o.steps) for job in problem.jobs for o in job.options
        )
        if shortest < 2:
            continue
        grains = -(-safe_horizon(problem) // 2)
        by_grain = np.full(grains, 10.0 ** np.random.default_rng(seed).uniform(-2, 0.5))
        none = np.zeros(2 * grains)
        for fine, coarse in zip(
            subproblems(problem, 2 * grains), subproblems(problem, grains, grain=2), strict=True
        ):
            # A constant price a tick is a constant price a grain: durations are rounded down.
            value = solved(coarse, by_grain, none[:grains], ABSENT).value
            assert value <= solved(fine, np.repeat(by_grain / 2, 2), none, ABSENT).value + 1e-9


def test_a_grain_longer_than_a_batch_is_refused() -> None:
    problem = Problem(parse_instance(json.dumps(document(request("r0", 2)))))
    with pytest.raises(InputError, match="3 ticks at a time"):
        subproblems(problem, 9, grain=3)


def test_batches_without_number() -> None:
    """Where there are more batches than can be listed, fewer backlogs are told apart."""
    options = [{"steps": s, "quality": q} for s, q in ((1, 0.5), (2, 0.8), (3, 0.9), (4, 1.0))]
    crowd = (request(f"r{i}", options=options, demand={"vram_gib": 0.0}) for i in range(60))
    problem = Problem(parse_instance(json.dumps(document(*crowd))))
    (sub,) = subproblems(problem, 20)
    assert 1 < sub.caps[0] < 60
    value = solved(sub, np.zeros(20), np.zeros(20), ACTIVE).value
    # All together, at 1 s each; or one step more for 0.3 of quality.
    assert 0 < value <= 60 * 1.5 + 1e-9


def test_memory_is_reported() -> None:
    """The tables take what :meth:`AdapterSubproblem.bytes` says."""
    problem = Problem(random_instance(3, (Feature.OPTIONS,), requests=(8, 8)))
    for sub in subproblems(problem, 50):
        values = sub.values(paid(np.zeros(50), np.zeros(50)))
        assert values.nbytes == sub.bytes()
