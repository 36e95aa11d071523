"""How solvers serve, and what a bound on waiting costs, by hand-worked numbers."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pats_opt.report.dispatch import prices_of_binding
from pats_opt.report.frame import DecisionTimes, decision_times
from pats_opt.report.service import services, starvations
from pats_opt.report.summary import sentences
from pats_opt.runs.record import RunOutcome
from pats_opt.tables import Metrics
from tests.report.examples import METRICS, instance, record, solver, table_of

EXACT = solver("milp", "exact")
PATS = solver("pats", "online", gamma=0.1, max_wait_s=None, adaptive_wait=False)
SLOW = replace(PATS, spec="pats:gamma=1", params={**PATS.params, "gamma": 1.0})
BOUND = replace(PATS, spec="pats:max_wait_s=5", params={**PATS.params, "max_wait_s": 5.0})
ONE, TWO, THREE = (instance(name) for name in ("one", "two", "three"))


def test_decision_times_come_from_the_details_of_a_run() -> None:
    """8 decisions in 4 ms are 0.5 ms each; details of other types are ignored."""
    found = decision_times(record(ONE, PATS, 4.0))
    assert found == DecisionTimes(8, 0.004, 0.0005, 0.0004, 0.001, 0.001)
    assert decision_times(None) == decision_times(record(ONE, EXACT, 4.0)) == DecisionTimes()
    strange = replace(record(ONE, PATS, 4.0), details={"decisions": 0, "decision_s": "long"})
    assert decision_times(strange) == DecisionTimes(decisions=0)


def test_means_are_over_the_instances_that_all_solvers_have() -> None:
    """The MILP lacks the third instance, and a solver that lacks most is left out."""
    quick, slow = (replace(METRICS, wait_mean_s=s, busy_share=s / 10) for s in (1.0, 4.0))
    rare = solver("rare", "heuristic")
    runs = [
        record(ONE, EXACT, 4.0, 4.0),
        record(ONE, PATS, 4.0, metrics=quick),
        record(ONE, rare, 4.0),
        record(TWO, EXACT, 4.0, 4.0),
        record(TWO, PATS, 4.0, metrics=slow),
        record(TWO, rare, end=RunOutcome.FAILED, error="no"),
        record(THREE, EXACT, end=RunOutcome.TIMED_OUT, error="late"),
        record(THREE, PATS, 4.0, metrics=replace(METRICS, wait_mean_s=1000.0)),
        record(THREE, rare, end=RunOutcome.FAILED, error="no"),
    ]
    count, (exact, pats) = services(table_of(runs))
    assert count == 2
    assert (exact["solver"], pats["solver"]) == ("milp", "pats")
    assert pats["wait_mean_s"] == 2.5
    assert pats["busy_share"] == pytest.approx(0.25)
    assert exact["wait_mean_s"] == METRICS.wait_mean_s
    assert exact["decision_mean_s"] is None
    assert pats["decision_mean_s"] == 0.0005


def waits(p99: float, worst: float, starved: int | None = None) -> Metrics:
    """Figures with this p99 and worst wait."""
    return replace(METRICS, wait_p99_s=p99, wait_max_s=worst, starved=starved)


def test_the_cost_of_a_bound_is_against_the_same_policy() -> None:
    """Losses 5 and 6 against 4 and 6: 25 % and 0 %; the third instance has no run without it."""
    runs = [
        record(ONE, PATS, 4.0, metrics=waits(10.0, 50.0)),
        record(ONE, SLOW, 1.0),
        record(ONE, BOUND, 5.0, metrics=waits(4.0, 7.0, 2)),
        record(TWO, PATS, 6.0, metrics=waits(20.0, 30.0)),
        record(TWO, SLOW, 1.0),
        record(TWO, BOUND, 6.0, metrics=waits(5.0, 6.0, 1)),
        record(THREE, PATS, end=RunOutcome.FAILED, error="no"),
        record(THREE, SLOW, 1.0),
        record(THREE, BOUND, 6.0, metrics=waits(6.0, 9.0, 4)),
    ]
    table = table_of(runs)
    pats, slow, bound = starvations(table)
    assert tuple(row["instances"] for row in (pats, slow, bound)) == (2, 3, 3)
    assert tuple(row["without"] for row in (pats, slow, bound)) == (None, None, "pats")
    assert (pats["bound_s"], pats["starved"], pats["cost"]) == (None, None, None)
    assert (pats["wait_p99_s"], pats["worst_s"]) == (15.0, 50.0)
    assert (bound["bound_s"], bound["starved"], bound["wait_p99_s"], bound["worst_s"]) == (
        5.0,
        7,
        5.0,
        9.0,
    )
    assert (bound["worst_shared_s"], bound["worst_without_s"]) == (7.0, 50.0)
    assert bound["cost"] is not None
    assert (bound["cost"].count, bound["cost"].low, bound["cost"].high) == (2, 0.0, 0.25)
    assert sentences(table).count(
        "pats:max_wait_s=5 against pats: a bound of 5 s on waiting costs 12 % (median; 0 % to "
        "25 %) of loss over 2 instances; the worst wait is 7 s with it, 50 s without."
    ) == 1  # fmt: skip


def test_an_adaptive_bound_is_compared_with_the_same_policy() -> None:
    adaptive = replace(BOUND, spec="x", params={**BOUND.params, "adaptive_wait": True})
    runs = [record(ONE, PATS, 4.0), record(ONE, adaptive, 4.0)]
    assert [row["without"] for row in starvations(table_of(runs))] == [None, "pats"]


def test_a_policy_without_a_schedule_is_left_out() -> None:
    runs = [record(ONE, PATS, end=RunOutcome.FAILED, error="no"), record(ONE, EXACT, 4.0)]
    table = table_of(runs)
    assert starvations(table) == []
    assert [row["solver"] for row in services(table)[1]] == ["milp"]


CENTRAL = solver("fifo", "online", dispatch="central", steal=False, rebalance=False, option="best")
BINDING = replace(
    CENTRAL, spec="fifo:dispatch=hash", params={**CENTRAL.params, "dispatch": "hash", "steal": True}
)
OTHER = replace(BINDING, spec="x", params={**BINDING.params, "option": "fewest"})


def test_the_price_of_binding_early_is_against_the_same_policy() -> None:
    """Losses 5 and 6 against 4 and 2, latencies 5 and 6 against 4; ``x`` chooses other options."""
    slow = [replace(METRICS, latency_mean_s=s) for s in (5.0, 6.0)]
    fast = replace(METRICS, latency_mean_s=4.0)
    runs = [
        record(ONE, CENTRAL, 4.0, metrics=fast),
        record(ONE, BINDING, 5.0, metrics=slow[0]),
        record(ONE, OTHER, 1.0),
        record(TWO, BINDING, 6.0, metrics=slow[1]),
        record(TWO, CENTRAL, 2.0, metrics=fast),
        record(THREE, CENTRAL, end=RunOutcome.FAILED, error="no"),
        record(THREE, BINDING, 6.0),
    ]
    table = table_of(runs)
    found = dict(
        table.own.drop_nulls("loss_over_central").select("case", "loss_over_central").rows()
    )
    assert list(found.values()) == [1.25, 3.0]
    (row,) = prices_of_binding(table.solvers, table.own)
    assert (row["solver"], row["central"], row["instances"]) == ("fifo:dispatch=hash", "fifo", 2)
    loss, latency = row["loss_over_central"], row["latency_over_central"]
    assert (loss.low, loss.median, loss.high) == (1.25, 2.125, 3.0)
    assert (latency.low, latency.high) == (1.25, 1.5)
    assert sentences(table).count(
        "fifo:dispatch=hash against fifo: to bind requests to GPUs on arrival multiplies the loss "
        "by 2.12 (median; 1.25 to 3) and the mean latency by 1.38 (median; 1.25 to 1.5) over 2 "
        "instances."
    ) == 1  # fmt: skip


def test_nothing_is_said_of_binding_early_without_a_central_counterpart() -> None:
    table = table_of([record(ONE, CENTRAL, 4.0), record(ONE, OTHER, 4.0), record(ONE, EXACT, 4.0)])
    assert prices_of_binding(table.solvers, table.own) == []
    assert table.own["loss_over_central"].null_count() == 3
