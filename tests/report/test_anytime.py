"""Gaps over time and their integrals, by hand-worked numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.model.schedule import StopReason
from pats_opt.report.collect import Table, collect
from pats_opt.report.curves import (
    drawable,
    gaps_over_time,
    integral,
    known_gap,
    mean_steps,
    value,
)
from pats_opt.runs.record import Record, RunOutcome
from tests.report.examples import instance, record, solver, tasks_of

MILP, SEARCH, PATS = (
    solver("milp", "exact"),
    solver("search", "heuristic"),
    solver("pats", "online"),
)
ONE, TWO = instance("one"), instance("two")

#: Losses 8, 5 and 4 after 1, 2 and 4 seconds, bounds 2 and 4 after 2 and 4.
TRACE = [(1, None, 8), (2, 2, 5), (4, 4, 4)]


def table_of(runs: list[Record]) -> Table:
    return collect(tasks_of(runs), runs)


@pytest.mark.parametrize(
    ("known", "best", "gap"),
    [
        (8.0, 4.0, 0.5),
        (2.0, 4.0, 0.5),
        (4.0, 4.0, 0.0),
        (0.0, 0.0, 0.0),
        (0.0, 4.0, 1.0),
        (None, 4.0, 1.0),
        (-1.0, 4.0, 1.0),
    ],
)
def test_gap_to_the_best_known(known: float | None, best: float, gap: float) -> None:
    """Berthold's definition: over the larger of both; 1 without a value or of opposite signs."""
    assert known_gap(known, best) == gap


def test_integrals_of_one_run() -> None:
    """1 s at 1, 1 s at 1 - 4/8, 2 s at 1 - 4/5, then nothing; the dual: 2 s at 1, 2 s at 1/2."""
    found = gaps_over_time(table_of([record(ONE, MILP, 4.0, 4.0, StopReason.OPTIMAL, trace=TRACE)]))
    assert found is not None
    assert found.limit_s == 10.0
    (primal,), (dual,) = found.primal.lines, found.dual.lines
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
    assert [line.solver.spec for line in found.primal.lines] == ["milp", "search"]
    assert found.solvers == [MILP, SEARCH]
    assert found.primal.instances == 2
    milp, search = found.primal.lines
    assert milp.integral_s == pytest.approx((1.9 + 10) / 2)
    assert search.integral_s == pytest.approx((1 + 9 * 0.2 + 5) / 2)
    assert [milp.final, search.final] == pytest.approx([0.5, 0.1])
    old = record(TWO, SEARCH, 4.0)
    found = gaps_over_time(table_of([*runs[:4], old, runs[5]]))
    assert found is not None
    assert found.primal.instances == 1
    assert found.primal.line("search") is not None
    assert found.primal.line("pats") is None


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


def test_drawable_keeps_both_ends() -> None:
    steps = [(float(x), 1 / (1 + x)) for x in range(5000)]
    thin = drawable(steps)
    assert len(thin) == 400
    assert (thin[0], thin[-1]) == (steps[0], steps[-1])
    assert set(thin) <= set(steps)
    assert drawable(steps[:7]) == steps[:7]
