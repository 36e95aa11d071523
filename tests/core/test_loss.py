"""The loss, term by term: section 6 of PROBLEM.md."""

from __future__ import annotations

import json

import pytest

from pats_opt.model.files import parse_instance
from pats_opt.model.loss import (
    LossTerms,
    best_utility,
    gap,
    is_late,
    late_loss,
    latency_loss,
    serving_loss,
    switching_loss,
)
from pats_opt.model.problem import Problem
from tests.support.zoo import document, request


def problem() -> Problem:
    """One request of weight 2 that arrives at tick 2 (0.15 s) and is due 0.3 s later."""
    options = [{"steps": 1, "quality": 0.6}, {"steps": 3, "quality": 0.9}]
    return Problem(
        parse_instance(
            json.dumps(
                document(
                    request(
                        "r0",
                        arrival_s=0.15,
                        deadline_s=0.3,
                        weight=2.0,
                        options=options,
                        reject_loss=4.0,
                    ),
                    tick_s=0.1,
                    latency_price_per_s=0.5,
                    late_price=7.0,
                    switching={"price_per_s": 3.0},
                )
            )
        )
    )


def test_terms() -> None:
    """Every term carries the weight; latency counts from the arrival's tick, in seconds."""
    found = problem()
    (job,) = found.jobs
    assert job.arrival == 2
    assert job.options[0].quality_loss == pytest.approx(2 * 0.3)
    assert job.options[1].quality_loss == 0
    assert job.reject_loss == 8.0
    assert latency_loss(found.site, job, 5) == pytest.approx(0.5 * 2 * 0.3)
    assert not is_late(job, 5)
    assert late_loss(found.site, job, 5) == 0
    assert is_late(job, 6)
    assert late_loss(found.site, job, 6) == 14
    assert serving_loss(found.site, job, 0, 6) == pytest.approx(0.6 + 0.4 + 14)
    assert switching_loss(found.site, 1.5) == 4.5
    assert best_utility(found) == pytest.approx(2 * 0.9)


def test_total_is_the_sum() -> None:
    terms = LossTerms(quality=1, latency=2, late=4, switching=8, rejection=16)
    assert terms.total == 31


@pytest.mark.parametrize(
    ("loss", "bound", "expected"),
    [
        (10.0, 8.0, 0.2),
        (10.0, 10.0, 0.0),
        (0.0, 0.0, 0.0),
        (0.5, 0.25, 0.5),
        (10.0, 10.0 + 1e-9, 0.0),
        (10.0, -10.0, 2.0),
        (None, 1.0, None),
        (1.0, None, None),
    ],
)
def test_gap(loss: float | None, bound: float | None, expected: float | None) -> None:
    """``(loss - bound) / loss``, 0 when both are 0, None where one is missing."""
    found = gap(loss, bound)
    assert found == (None if expected is None else pytest.approx(expected))
