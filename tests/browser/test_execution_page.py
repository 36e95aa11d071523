"""The page of an execution in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize

from pats_opt.core.solver import Feature
from pats_opt.execute.compare import compare, write_page
from pats_opt.model.problem import Problem
from pats_opt.solving.solve import solve
from pats_opt.testing.instances import random_instance
from tests.execute.samples import as_predicted, executed
from tests.support.browser import NARROW, WIDE, barriers, overflow, too_wide, visit


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    problem = Problem(random_instance(3, (Feature.GPUS, Feature.OPTIONS), requests=(20, 20)))
    schedule = solve(problem, "fcfs-grouped").schedule
    run = executed(problem, schedule, as_predicted(problem))
    path = tmp_path_factory.mktemp("execution") / "report.html"
    write_page(compare(problem, run, schedule), run, problem, path)
    return path


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["desktop", "telephone"])
def test_it_fits_and_everyone_can_use_it(page: Page, written: Path, size: ViewportSize) -> None:
    page.set_viewport_size(size)
    visit(page, written)
    assert overflow(page) == 0
    assert too_wide(page) == []
    assert barriers(page) == []


def test_the_keyboard_reaches_the_content(page: Page, written: Path) -> None:
    """The first stop leads past what is above the content; the next ones are what scrolls."""
    visit(page, written)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tabIndex") == 0
