"""Ids, prompts and names come from files: on every page markup in them shows as text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from pats_opt.execute.compare import compare, write_page
from pats_opt.files import encode, parse_instance
from pats_opt.plot.pages import show
from pats_opt.problem import Problem
from pats_opt.solving import solve
from tests.execute.samples import as_predicted, executed
from tests.support.browser import visit
from tests.support.markup import SEEN, marked

INSTANCE = parse_instance(encode(marked()))


def schedule_page(folder: Path) -> Path:
    show(INSTANCE, solve(INSTANCE, "local-search", time_limit=1).schedule, folder / "s.html")
    return folder / "s.html"


def execution_page(folder: Path) -> Path:
    problem = Problem(INSTANCE)
    schedule = solve(problem, "pats").schedule
    run = executed(problem, schedule, as_predicted(problem))
    write_page(compare(problem, run, schedule), run, problem, folder / "e.html")
    return folder / "e.html"


@pytest.mark.parametrize("make", [schedule_page, execution_page])
def test_markup_shows_as_text(page: Page, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    visit(page, make(tmp_path))
    assert page.evaluate("window.harmed") is None
    assert SEEN in page.inner_text("body")
    assert page.locator("img").count() == 0
