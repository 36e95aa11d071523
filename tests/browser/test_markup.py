"""Ids, prompts and names come from files: on every page markup in them shows as text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from pats_opt.execute.compare import compare, write_page
from pats_opt.model.checker import check
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.problem import Problem
from pats_opt.report.collect import collect
from pats_opt.report.config import ReportConfig
from pats_opt.report.pages import write_pages
from pats_opt.runs.record import InstanceInfo, SolverInfo
from pats_opt.solving.solve import solve
from pats_opt.views.html import show, write
from pats_opt.views.view import ScheduleView
from tests.execute.samples import as_predicted, executed
from tests.report.examples import record, solver, tasks_of
from tests.support.browser import visit, watch
from tests.support.markup import EVIL, SEEN, marked

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


def comparison_page(folder: Path) -> Path:
    problem = Problem(INSTANCE)
    solved = [solve(problem, name).schedule for name in ("pats", "fifo")]
    write([ScheduleView.of(problem, schedule) for schedule in solved], folder / "c.html")
    return folder / "c.html"


def report_page(folder: Path) -> Path:
    info = InstanceInfo(
        name=EVIL, file=EVIL, sha256=INSTANCE.sha256, group=EVIL, requests=7, adapters=2, gpus=2
    )
    policy = SolverInfo(spec=f"pats:note={EVIL}", name="pats", kind="online", params={"note": EVIL})
    runs = [record(info, policy, 2.0), record(info, solver("milp", "exact"), error=EVIL)]
    write_pages(collect(tasks_of(runs), runs), ReportConfig(title=EVIL), folder)
    return folder / "report.html"


def notebook_page(folder: Path) -> Path:
    result = solve(INSTANCE, "pats")
    pieces: list[Any] = [result, check(INSTANCE, result.schedule), INSTANCE]
    path = folder / "n.html"
    body = "".join(piece._repr_html_() for piece in pieces)
    path.write_text(f"<!doctype html><meta charset=utf-8><body>{body}", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "make", [schedule_page, comparison_page, report_page, execution_page, notebook_page]
)
def test_markup_shows_as_text(page: Page, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    visit(page, make(tmp_path))
    assert page.evaluate("window.harmed") is None
    assert SEEN in page.inner_text("body")
    assert page.locator("img").count() == 0


#: What would run if a text came into a page as markup.
HARM = (
    "<script>window.harmed = 1</script><img src=x onerror='window.harmed = 2'>"
    "<a href='javascript:window.harmed = 3' id=harm>x</a>"
    "<iframe src='data:text/html,x'></iframe><link rel=stylesheet href='http://127.0.0.1:9/x.css'>"
    "<script>eval('window.harmed = 4')</script>"
)


@pytest.mark.parametrize("make", [schedule_page, comparison_page, report_page, execution_page])
def test_markup_would_do_nothing(
    browser: Browser, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    """The pages' Content-Security-Policy is a second wall: no script but their own runs.

    That their own do, without a complaint, is what all other tests of this folder see.
    """
    path = make(tmp_path)
    path.write_text(path.read_text().replace("<main", f"{HARM}<main", 1))
    with browser.new_context() as context:
        page = context.new_page()
        complaints = watch(page)
        visit(page, path)
        page.locator("#harm").click()
        assert page.evaluate("window.harmed") is None
        refused = [text for text in complaints if "Content Security Policy" in text]
        for directive in ("script-src", "img-src", "default-src", "style-src"):
            assert any(directive in text for text in refused), directive
