"""Performance profiles, gaps over time and latency distributions, by hand-worked numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pats_opt.model.schedule import StopReason
from pats_opt.report.collect import collect
from pats_opt.report.curves import (
    attainments,
    gaps_over_time,
    integral,
    latencies,
    loss_profiles,
    mean_steps,
    time_profiles,
    value,
)
from pats_opt.report.levels import level_shares
from pats_opt.runs.record import Record, RunOutcome
from tests.report.examples import METRICS, instance, record, solver, table_of, tasks_of

MILP, CPSAT = solver("milp", "exact"), solver("cpsat", "exact")
SEARCH, PATS = solver("search", "heuristic"), solver("pats", "online")
BOUND = solver("lagrangian", "bound")
ONE, TWO, THREE = (instance(name) for name in ("one", "two", "three"))

#: Losses 8, 5 and 4 after 1, 2 and 4 seconds, bounds 2 and 4 after 2 and 4.
TRACE = [(1, None, 8), (2, 2, 5), (4, 4, 4)]


def proof(case: Record, seconds: float) -> Record:
    return replace(case, runtime_s=seconds)


def test_loss_profiles() -> None:
    """Ratios to the best; where a run failed or refused, the instance counts and is never won."""
    runs = [
        record(ONE, MILP, 4.0, 4.0, StopReason.OPTIMAL),
        record(ONE, PATS, 5.0),
        record(ONE, BOUND, end=RunOutcome.NO_SCHEDULE, error="no"),
        record(TWO, MILP, end=RunOutcome.NOT_APPLICABLE, error="lacks"),
        record(TWO, PATS, 6.0),
        record(TWO, BOUND, end=RunOutcome.NO_SCHEDULE, error="no"),
        record(THREE, MILP, 3.0),
        record(THREE, PATS, 2.0),
        record(THREE, BOUND, end=RunOutcome.NO_SCHEDULE, error="no"),
    ]
    milp, pats = loss_profiles(table_of(runs))
    assert (milp.solver, pats.solver) == (MILP, PATS)
    assert milp.ratios == (1.0, 1.5)
    assert pats.ratios == (1.0, 1.0, 1.25)
    assert [pats.share(tau) for tau in (1.0, 1.2, 1.25)] == [pytest.approx(2 / 3)] * 2 + [1.0]
    assert milp.share(1.0) == pytest.approx(1 / 3)
    assert milp.share(1e9) == pytest.approx(2 / 3)


def test_an_instance_with_a_run_to_come_is_not_compared() -> None:
    done = [record(ONE, MILP, 4.0), record(ONE, PATS, 5.0), record(TWO, MILP, 4.0)]
    to_do = [*done, record(TWO, PATS, 1.0)]
    (milp, pats) = loss_profiles(collect(tasks_of(to_do), done))
    assert milp.instances == pats.instances == 1


def test_time_profiles() -> None:
    """Only proofs count, over all instances; one exact solver alone is compared with nobody."""
    runs = [
        proof(record(ONE, MILP, 4.0, 4.0, StopReason.OPTIMAL), 2.0),
        proof(record(ONE, CPSAT, 4.0, 4.0, StopReason.OPTIMAL), 1.0),
        proof(record(TWO, MILP, 4.0, 4.0, StopReason.OPTIMAL), 3.0),
        proof(record(TWO, CPSAT, 4.0, 3.0, StopReason.TIME_LIMIT), 10.0),
    ]
    milp, cpsat = time_profiles(table_of(runs))
    assert milp.ratios == (1.0, 2.0)
    assert (cpsat.ratios, cpsat.share(99.0)) == ((1.0,), 0.5)
    assert time_profiles(table_of(runs[:1])) == []
    assert loss_profiles(table_of([])) == []


def test_latencies_are_means_of_shares() -> None:
    """Each instance counts alike, rejected requests are never served, old records are left out."""
    rejecting = replace(METRICS, served=8, rejected=2)
    runs = [
        record(ONE, MILP, 4.0, latencies=[(0.0, 1.0), (0.5, 2.0), (1.0, 4.0)]),
        record(ONE, PATS, 4.0, latencies=[(0.0, 2.0), (1.0, 4.0)], metrics=rejecting),
        record(TWO, MILP, 4.0, latencies=[(0.0, 2.0), (0.5, 3.0), (1.0, 8.0)]),
        record(TWO, PATS, 4.0, latencies=[(0.0, 2.0), (1.0, 4.0)], metrics=rejecting),
        record(THREE, MILP, 4.0),
        record(THREE, PATS, 4.0, latencies=[(0.0, 1.0), (1.0, 1.0)]),
    ]
    count, (milp, pats) = latencies(table_of(runs))
    assert count == 2
    assert dict(milp.curve) == {1.0: 0.0, 2.0: 0.25, 3.0: 0.5, 4.0: 0.75, 8.0: 1.0}
    assert dict(pats.curve) == pytest.approx({2.0: 0.0, 4.0: 0.8})
    assert latencies(table_of([record(ONE, MILP, 4.0)]))[1] == []
    assert latencies(table_of([])) == (0, [])


def test_attainment_is_of_all_requests_with_a_deadline() -> None:
    """Shares are of all already; one that serves nobody counts as 0, an old record leaves out."""
    nobody = replace(METRICS, served=0, rejected=10)
    runs = [
        record(ONE, MILP, 4.0, attainment=[(0.0, 0.5), (0.5, 1.0), (0.8, 2.0)]),
        record(ONE, PATS, 4.0, attainment=[(0.0, 1.0), (0.4, 3.0)]),
        record(TWO, MILP, 4.0, attainment=[(0.0, 0.5), (1.0, 0.75)]),
        record(TWO, PATS, 4.0, metrics=nobody),
        record(THREE, MILP, 4.0, attainment=[(0.0, 0.5), (1.0, 0.75)]),
        record(THREE, PATS, 4.0),
    ]
    count, (milp, pats) = attainments(table_of(runs))
    assert count == 2
    assert [value(milp.curve, 0.0, x) for x in (0.5, 1.0, 2.0, 9.0)] == [0.0, 0.75, 0.9, 0.9]
    assert [value(pats.curve, 0.0, x) for x in (1.0, 3.0)] == [0.0, 0.2]
    assert attainments(table_of([record(ONE, MILP, 4.0)])) == (0, [])


def test_level_shares_are_means_over_instances() -> None:
    """Of 10 requests each, the rest is not served; instances without levels are left out."""
    runs = [
        record(ONE, MILP, 4.0, levels=[(0, 6), (5, 4)]),
        record(ONE, PATS, 4.0, levels=[(0, 2), (25, 4)]),
        record(TWO, MILP, 4.0, levels=[(0, 10)]),
        record(TWO, PATS, 4.0, metrics=replace(METRICS, served=0, rejected=10)),
        record(THREE, MILP, 4.0),
        record(THREE, PATS, 4.0),
    ]
    count, (milp, pats) = level_shares(table_of(runs))
    assert count == 2
    assert milp.shares == pytest.approx({0: 0.8, 5: 0.2, 25: 0.0})
    assert pats.shares == pytest.approx({0: 0.1, 5: 0.0, 25: 0.2})
    assert (milp.unserved, pats.unserved) == pytest.approx((0.0, 0.7))
    assert level_shares(table_of(runs[-2:])) == (0, [])


def test_a_bound_below_0_is_as_good_as_none() -> None:
    """No gap over time is above 1, nor below 0 where the bound is the better for rounding."""
    trace = [(1, -4.0, 4), (3, 2.0, 4), (4, 4.0 + 1e-12, 4)]
    run = record(ONE, MILP, 4.0, 4.0, StopReason.OPTIMAL, trace=trace)
    found = gaps_over_time(table_of([run]))
    assert found is not None
    (dual,) = found.dual.lines.values()
    assert dict(dual.curve) == {1.0: 1.0, 3.0: 0.5, 4.0: 0.0}


def test_integrals_of_one_run() -> None:
    """1 s at 1, 1 s at 1 - 4/8, 2 s at 1 - 4/5, then nothing; the dual: 2 s at 1, 2 s at 1/2."""
    found = gaps_over_time(table_of([record(ONE, MILP, 4.0, 4.0, StopReason.OPTIMAL, trace=TRACE)]))
    assert found is not None
    assert found.limit_s == 10.0
    (primal,), (dual,) = found.primal.lines.values(), found.dual.lines.values()
    assert primal.integral_s == pytest.approx(1 + 0.5 + 2 * 0.2)
    assert dual.integral_s == pytest.approx(2 + 2 * 0.5)
    assert primal.final == dual.final == 0.0
    assert dict(primal.curve) == pytest.approx({1.0: 0.5, 2.0: 0.2, 4.0: 0.0})


def test_means_are_over_the_instances_that_all_were_run_on() -> None:
    """A failure is a gap of 1 throughout, a run without a trace (an old record) is left out."""
    runs = [
        record(ONE, MILP, 4.0, 4.0, StopReason.OPTIMAL, trace=TRACE),
        record(ONE, SEARCH, 5.0, trace=[(1, None, 5)]),
        record(ONE, PATS, 6.0, trace=[(0.1, None, 6)]),
        record(TWO, MILP, end=RunOutcome.CRASHED, error="gone"),
        record(TWO, SEARCH, 4.0, trace=[(5, None, 4)]),
        record(TWO, PATS, 6.0, trace=[(0.1, None, 6)]),
    ]
    found = gaps_over_time(table_of(runs))
    assert found is not None
    assert list(found.primal.lines) == ["milp", "search"]
    assert found.solvers == [MILP, SEARCH]
    assert found.primal.instances == 2
    milp, search = found.primal.lines.values()
    assert milp.integral_s == pytest.approx((1.9 + 10) / 2)
    assert search.integral_s == pytest.approx((1 + 9 * 0.2 + 5) / 2)
    assert [milp.final, search.final] == pytest.approx([0.5, 0.1])
    old = record(TWO, SEARCH, 4.0)
    found = gaps_over_time(table_of([*runs[:4], old, runs[5]]))
    assert found is not None
    assert found.primal.instances == 1
    assert "search" in found.primal.lines
    assert "pats" not in found.primal.lines


def test_nothing_without_traces() -> None:
    assert gaps_over_time(table_of([record(ONE, MILP, 4.0), record(ONE, PATS, 5.0)])) is None
    assert gaps_over_time(table_of([])) is None


Steps = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1)), max_size=8).map(sorted)


@given(st.lists(Steps, min_size=1, max_size=4), st.floats(0, 12))
def test_the_mean_of_steps_is_the_mean_at_every_place(
    functions: list[list[tuple[float, float]]], at: float
) -> None:
    mean = mean_steps(functions, 1.0)
    assert value(mean, 1.0, at) == pytest.approx(
        sum(value(f, 1.0, at) for f in functions) / len(functions), abs=1e-9
    )
    assert integral(mean, 1.0, 12.0) == pytest.approx(
        sum(integral(f, 1.0, 12.0) for f in functions) / len(functions), abs=1e-6
    )
