"""Performance profiles and latency distributions, by hand-worked numbers."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pats_opt.model.schedule import StopReason
from pats_opt.report.collect import Table, collect
from pats_opt.report.curves import latencies, loss_profiles, time_profiles
from pats_opt.runs.record import Record, RunOutcome
from tests.report.examples import METRICS, instance, record, solver, tasks_of

MILP, CPSAT = solver("milp", "exact"), solver("cpsat", "exact")
PATS, BOUND = solver("pats", "online"), solver("lagrangian", "bound")
ONE, TWO, THREE = (instance(name) for name in ("one", "two", "three"))


def table_of(runs: list[Record]) -> Table:
    return collect(tasks_of(runs), runs)


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
