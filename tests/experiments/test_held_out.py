"""The experiment on held-out classes: its page, and that it leaves out the suites' own seeds."""

from __future__ import annotations

import pytest

from experiments.held_out import page, run
from experiments.questions import page as questions
from pats_opt.generate.suites import recipes


def test_the_page_is_what_the_table_gives() -> None:
    """Writing the page again changes nothing."""
    assert questions.text([page.answer()], page.INTRODUCTION) == page.PAGE.read_text("utf-8")


def test_the_table_holds_every_policy() -> None:
    """On each instance, with a loss."""
    for each in page.classes():
        assert len(each.instances) == 12
        for losses in each.instances:
            assert list(losses) == [run.OURS, run.DEARER, *run.OTHERS]
            assert min(losses.values()) > 0.0


def test_no_suite_has_its_seeds() -> None:
    """So no instance of a class is one that anything was tuned on."""
    for suite in run.SUITES:
        assert not {seed for _, seed, _ in recipes(suite)} & set(run.SEEDS)


def test_excess_is_over_the_best_other_policy() -> None:
    """It is a share of that policy's mean loss; on the second instance another one is better."""
    losses = [dict.fromkeys((run.OURS, *run.OTHERS), loss) for loss in (4.0, 6.0)]
    losses[0][run.OTHERS[0]] = 3.0
    losses[1][run.OTHERS[0]] = 6.5
    losses[1][run.OTHERS[1]] = 5.95
    each = page.Class("made", losses)
    assert each.best == run.OTHERS[0]
    assert each.excess().mean == pytest.approx((10.0 - 9.5) / 9.5)
    assert each.worse() == 1
