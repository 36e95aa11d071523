"""The table over runs, by hand-worked numbers."""

from __future__ import annotations

import pytest

from pats_opt.model.loss import gap
from pats_opt.model.schedule import StopReason
from pats_opt.report.collect import collect
from pats_opt.report.frame import against
from pats_opt.report.summary import sentences
from pats_opt.runs.record import InstanceInfo, RunOutcome
from tests.report.examples import instance, record, solver, table_of, tasks_of

EXACT = solver("milp", "exact")
PATS = solver("pats", "online")
FIFO = solver("fifo", "online")
ONE, TWO, THREE = (instance(name) for name in ("one", "two", "three"))


def test_gaps_are_to_the_best_bound_of_any_run_without_an_optimum() -> None:
    """Loss 8 with its own bound 2 has gap (8 - 4) / 8 to another run's bound 4."""
    runs = [
        record(ONE, EXACT, 8.0, 2.0, StopReason.TIME_LIMIT),
        record(ONE, solver("other", "bound"), None, 4.0, end=RunOutcome.NO_SCHEDULE),
    ]
    row = table_of(runs).runs.row(0, named=True)
    assert (row["best_bound"], row["optimum"], row["best"]) == (4.0, None, 8.0)
    assert (row["gap"], row["against"]) == (gap(8.0, 4.0), "best_bound") == (0.5, "best_bound")


def test_gaps_are_to_the_best_loss_where_nothing_is_proven() -> None:
    runs = table_of([record(ONE, PATS, 5.0), record(ONE, FIFO, 4.0)]).runs
    assert runs["gap"].to_list() == [pytest.approx(0.2), 0.0]
    assert runs["against"].to_list() == ["best", "best"]


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        ((ONE,), "the optimum"),
        ((ONE, TWO), "the bound"),
        ((ONE, TWO, THREE), "the bound or best known"),
        ((THREE,), "the best known"),
    ],
)
def test_headings_name_what_gaps_are_to(cases: tuple[InstanceInfo, ...], words: str) -> None:
    runs = [
        record(ONE, EXACT, 4.0, 4.0, StopReason.OPTIMAL),
        record(TWO, EXACT, 4.0, 3.0, StopReason.TIME_LIMIT),
        record(THREE, EXACT, 4.0, None, StopReason.TIME_LIMIT),
    ]
    chosen = [run for run in runs if run.config.instance in cases]
    assert against(table_of(chosen).own) == words


def test_optimum_is_whatever_run_proved_it() -> None:
    runs = [record(ONE, PATS, 5.0), record(ONE, EXACT, 4.0, 4.0, StopReason.OPTIMAL)]
    found = table_of(runs).runs
    assert found["optimum"].to_list() == [4.0, 4.0]
    assert found["gap"].to_list() == [pytest.approx(0.2), 0.0]
    assert found["against"].to_list() == ["optimum", "optimum"]


def test_failures_count_and_refusals_do_not() -> None:
    """A crash counts as gap 1 and its time limit; a refusal stays out of means, not of counts."""
    runs = [
        record(ONE, EXACT, 4.0, 4.0, StopReason.OPTIMAL),
        record(TWO, EXACT, end=RunOutcome.CRASHED, error="killed"),
        record(THREE, EXACT, end=RunOutcome.NOT_APPLICABLE, error="lacks"),
        record(ONE, PATS, 4.0),
        record(TWO, PATS, 4.0, 1.0),
        record(THREE, PATS, 4.0, 1.0),
    ]
    total = table_of(runs).totals[0]
    assert total.solver == EXACT
    assert (total.runs, total.proven, total.gaps) == (3, 1, 2)
    assert total.ends == {"solved": 1, "crashed": 1, "not applicable": 1}
    assert total.gap == pytest.approx((0.01 * 1.01) ** 0.5 - 0.01)
    assert total.time_s == pytest.approx((2.0 * 11.0) ** 0.5 - 1.0)


def test_a_run_that_is_missing_is_shown_as_not_run() -> None:
    runs = [record(ONE, PATS, 4.0), record(ONE, FIFO, 5.0)]
    table = collect(tasks_of(runs), runs[:1])
    assert table.runs["verdict"].to_list() == ["complete", "not run"]
    assert table.totals[1].ends == {"not run": 1}
    assert any("1 not run" in text for text in sentences(table))


def test_infeasible_instances_are_shown_and_left_out_of_means() -> None:
    runs = [
        record(ONE, EXACT, end=RunOutcome.INFEASIBLE, error="proven"),
        record(ONE, PATS, end=RunOutcome.NO_SCHEDULE, error="stopped"),
        record(TWO, EXACT, 4.0, 4.0, StopReason.OPTIMAL),
        record(TWO, PATS, 6.0),
    ]
    table = table_of(runs)
    assert table.runs["infeasible"].to_list() == [True, True, False, False]
    exact, pats = table.totals
    assert (exact.runs, exact.gaps, pats.gaps) == (2, 1, 1)
    assert "1 instance proven infeasible." in sentences(table)


def test_classes_have_their_own_totals_after_those_over_all() -> None:
    far = instance("far", group="large")
    runs = [record(ONE, PATS, 4.0), record(far, PATS, 8.0)]
    table = table_of(runs)
    assert [(t.group, t.runs) for t in table.totals] == [("", 2), ("small", 1), ("large", 1)]


def test_instances_of_one_name_are_distinguished() -> None:
    """Two different instances may have one name; each has its own line."""
    first, second = instance("same", sha256="a" * 64), instance("same", sha256="b" * 64)
    runs = [record(first, PATS, 4.0), record(second, PATS, 8.0)]
    found = table_of(runs).runs
    assert found["label"].to_list() == [
        "same (aaaaaa)",
        "same (bbbbbb)",
    ]


@pytest.mark.parametrize(
    "claim",
    [
        record(ONE, EXACT, None, 5.0, end=RunOutcome.NO_SCHEDULE),
        record(ONE, EXACT, 5.0, None, StopReason.OPTIMAL),
        record(ONE, EXACT, end=RunOutcome.INFEASIBLE, error="proven"),
    ],
)
def test_claims_that_a_schedule_disproves_come_first(claim: object) -> None:
    """A bound above another's loss, an optimum above it, a proof that there is no schedule."""
    runs = [claim, record(ONE, PATS, 4.0)]
    table = table_of(runs)  # type: ignore[arg-type]
    assert len(table.contradictions) == 1
    assert "milp claims" in sentences(table)[0]


def test_equal_losses_are_no_contradiction() -> None:
    runs = [record(ONE, EXACT, 4.0, 4.0, StopReason.OPTIMAL), record(ONE, PATS, 4.0 - 1e-7)]
    assert table_of(runs).contradictions == ()


def test_sentences_tell_what_the_numbers_say() -> None:
    """Gaps 1/5, 2/6 and, to a bound, 4/8; fifo's are 2/6, 2/6 and 4/8."""
    runs = [
        *(record(ONE, EXACT, 4.0, 4.0, StopReason.OPTIMAL), record(ONE, PATS, 5.0)),
        *(record(ONE, FIFO, 6.0), record(TWO, EXACT, 4.0, 4.0, StopReason.OPTIMAL)),
        *(record(TWO, PATS, 6.0), record(TWO, FIFO, 6.0)),
        *(record(THREE, EXACT, 5.0, 4.0, StopReason.TIME_LIMIT), record(THREE, PATS, 8.0)),
        record(THREE, FIFO, 8.0),
    ]
    assert sentences(table_of(runs)) == [
        "The optimum is proven on 2 of 3 instances; of the online policies pats has the smallest "
        "gap to it, 27 % in the median, and fifo the largest, 33 %.",
        "milp proved its schedule optimal on 2 of 3 instances; on the rest its gap to the bound is "
        "20 %.",
        "Of 9 runs: 1 stopped at the time limit with a schedule.",
        "Online pats has a gap of 27 % (median; 20 % to 33 %) to the optimum over 2 instances, and "
        "50 % to the bound over 1 instance.",
        "Online fifo has a gap of 33 % to the optimum over 2 instances, and 50 % to the bound over "
        "1 instance.",
    ]


def test_no_instances() -> None:
    assert sentences(collect([], [])) == ["There are no instances."]
