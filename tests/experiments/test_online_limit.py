"""The experiment on the limit of online policies: its page, and the losses of single decisions."""

from __future__ import annotations

import pytest

from experiments.online_limit import page, reading, run
from experiments.online_limit.cases import EXPLAINED, POLICIES, Cell, cells, large, load_of
from experiments.online_limit.regret import BestValues
from experiments.questions import page as questions
from pats_opt.limits.limit import named_policies
from pats_opt.limits.sampling import path_losses
from pats_opt.model.problem import Problem
from pats_opt.solving.solve import solve

#: A system in which every kind of decision matters.
CELL = Cell(0.8, 3.0, 1.5, 2, 4)


def test_the_page_is_what_the_tables_give() -> None:
    """Writing the page again changes nothing."""
    assert questions.text(page.answers(), page.INTRODUCTION) == page.PAGE.read_text("utf-8")


def test_the_tables_hold_every_system() -> None:
    """Every policy on every system, and the decisions of those that are explained."""
    systems = reading.systems()
    assert [system.cell for system in systems] == [*cells(), *large()]
    for system in systems:
        names = {policy for arrivals, policy in system.losses if arrivals == "poisson"}
        assert names >= {*POLICIES, run.OFFLINE}
        assert system.optimum is None or system.decisions
        assert not system.decisions or set(system.decisions) == set(EXPLAINED)


@pytest.mark.parametrize("policy", ["price-index", "exhaustive:option=fewest"])
def test_the_losses_of_decisions_add_up_to_that_of_the_policy(policy: str) -> None:
    """Over a long path, up to the chance of its arrivals."""
    load = load_of(CELL)
    values = BestValues(load, 20, 1e-4)
    path = load.path(3000, seed=7)
    problem, [(_, made)] = Problem(path), named_policies([policy])
    lost = values.regrets(problem, solve(problem, made))
    more = path_losses(path, made).mean() / values.per_request - 1.0
    assert min(lost.values()) > -1e-4 * 3000 * values.per_request
    assert sum(lost.values()) / 3000 / values.per_request == pytest.approx(more, abs=0.05)
