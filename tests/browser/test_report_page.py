"""The gap report's page in a browser: sorting, choosing, links, keyboard, page screens."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, expect

from pats_opt.model.files import encode
from pats_opt.model.schedule import StopReason
from pats_opt.report.config import ReportConfig, tasks
from pats_opt.report.gap import gap_report
from pats_opt.report.pages import write_pages
from pats_opt.runs.record import Record, RunOutcome
from pats_opt.runs.task import perform
from pats_opt.wording import DASH
from tests.report.examples import document, instance, record, solver, table_of
from tests.report.test_pages import CONFIG
from tests.support.browser import NARROW, barriers, overflow, too_wide, visit

#: Requests within multiples of their deadline, and by level.
WITHIN, LEVELS = ((0.0, 0.5), (0.5, 1.0), (0.9, 3.0)), ((0, 4), (10, 2), (25, 3))

MARKUP = '<b onclick="x">&"\'</b>'


def many() -> list[Record]:
    """Runs of twelve instances in two classes; gaps fall from 60 % to 5 %, one run failed."""
    exact, policy = solver("milp", "exact"), solver(f"pats:note={MARKUP}", "online")
    found = []
    for k in range(12):
        case = instance(f"case-{k} {MARKUP}" if k == 3 else f"case-{k}", ("small", "large")[k % 2])
        best = 4.0 + k
        trace = [(0.1, None, 2 * best), (0.5, 1.0, best), (2.0, best, best)]
        shares = [(0.0, 2.0), (0.5, 4.0), (1.0, 9.6)]
        proven = record(case, exact, best, best, StopReason.OPTIMAL, trace=trace, latencies=shares)
        found.append(replace(proven, attainment=WITHIN, levels=LEVELS))
        if k == 7:
            found.append(record(case, policy, end=RunOutcome.FAILED, error=MARKUP))
        else:
            made = record(case, policy, best / (0.4 + 0.05 * k), latencies=shares)
            found.append(replace(made, attainment=WITHIN, levels=LEVELS))
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of fixed runs."""
    folder = tmp_path_factory.mktemp("report")
    write_pages(table_of(many()), CONFIG, folder)
    return folder / "report.html"


def load(page: Page, report: Path) -> None:
    """Open a report, and wait until its table is ready."""
    visit(page, report)
    expect(page.locator(".dt-info")).to_be_visible()


def column(page: Page, heading: str) -> list[str]:
    """Cells of a column of the table of all runs, from top to bottom."""
    at = page.locator("#all-runs thead th").all_inner_texts().index(heading)
    rows = page.locator("#all-runs tbody tr").all()
    return [row.locator("th, td").nth(at).inner_text() for row in rows]


def gaps(page: Page) -> list[float]:
    return [float(text.removesuffix(" %")) for text in column(page, "gap")]


def test_a_click_sorts_by_the_figures(page: Page, report: Path) -> None:
    """As numbers, not as text, with what has none last both ways; ``aria-sort`` tells it."""
    load(page, report)
    page.locator("[data-pick=solver]").select_option(index=2)
    head = page.locator("#all-runs thead th").filter(has_text="gap").first
    before = gaps(page)
    head.click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    rising = gaps(page)
    assert rising == sorted(before) != before
    assert max(rising) == 100
    head.click()
    expect(head).to_have_attribute("aria-sort", "descending")
    assert gaps(page) == rising[::-1]
    for _ in range(2):
        page.locator("#all-runs thead th").filter(has_text="loss").first.click()
        assert column(page, "loss")[-1] == DASH


def test_the_keyboard_sorts(page: Page, report: Path) -> None:
    load(page, report)
    before = column(page, "seconds"), column(page, "solver")
    page.get_by_role("button", name="solver: Activate to sort").focus()
    page.keyboard.press("Enter")
    expect(page.locator("th[aria-sort=ascending]", has_text="solver").first).to_be_visible()
    assert column(page, "solver") == sorted(before[1]) != before[1]


def test_choices_leave_rows_and_columns(page: Page, report: Path) -> None:
    """Class, solver and end narrow the rows together, the search further; columns can change."""
    load(page, report)
    info = page.locator(".dt-info")
    expect(info).to_have_text("1 to 24 of 24 runs")
    page.locator("[data-pick=class]").select_option("large")
    expect(info).to_contain_text("of 12 runs (of 24)")
    assert set(column(page, "class")) == {"large"}
    page.locator("[data-pick=solver]").select_option("milp")
    expect(info).to_contain_text("of 6 runs")
    page.get_by_role("searchbox").fill("case-11")
    assert column(page, "instance") == ["case-11"]
    page.locator("[data-pick=end]").select_option("failed")
    expect(page.locator("#all-runs tbody")).to_contain_text("no run is like that")
    for pick in page.locator("[data-pick]").all():
        pick.select_option("")
    page.get_by_role("searchbox").fill("")
    heads = page.locator("#all-runs thead th")
    assert "bound" in heads.all_inner_texts()
    assert "Jain" not in heads.all_inner_texts()
    page.locator("[data-columns]").select_option("service")
    assert "Jain" in heads.all_inner_texts()
    assert "bound" not in heads.all_inner_texts()
    page.locator("[data-columns]").select_option("everything")
    assert {"bound", "Jain", "optimum"} <= set(heads.all_inner_texts())


def test_pages_of_rows(page: Page, report: Path) -> None:
    load(page, report)
    page.locator(".dt-length select").select_option("10")
    assert len(column(page, "loss")) == 10
    first = column(page, "instance")
    page.get_by_role("link", name="2", exact=True).or_(
        page.get_by_role("button", name="2", exact=True)
    ).click()
    assert column(page, "instance") != first


def test_names_are_text(page: Page, report: Path) -> None:
    """Markup in the names of instances, solvers and errors shows as it is written."""
    load(page, report)
    assert f"case-3 {MARKUP}" in column(page, "instance")
    assert page.locator("main b[onclick]").count() == 0
    options = page.locator("[data-pick=solver] option").all_inner_texts()
    assert options == ["all", "milp", f"pats:note={MARKUP}"]
    expect(page.locator(".failures")).to_contain_text(MARKUP)


def test_nothing_keeps_people_out(page: Page, report: Path) -> None:
    load(page, report)
    page.locator("[data-columns]").select_option("everything")
    for details in page.locator("details").all():
        details.locator("summary").click()
    assert barriers(page) == []


def test_on_a_telephone_only_boxes_scroll(page: Page, report: Path) -> None:
    page.set_viewport_size(NARROW)
    load(page, report)
    assert overflow(page) == 0
    assert too_wide(page) == []
    for name in ("Deadlines", "Levels"):
        expect(page.get_by_role("group", name=f"{name}: picture")).to_be_visible()
    box = page.get_by_role("region", name="All runs")
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    box.focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    expect(box).not_to_have_js_property("scrollLeft", 0)


def test_without_scripts_all_runs_show(browser: Browser, report: Path) -> None:
    """The table is plain HTML before anything else."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("#all-runs tbody tr").count() == 24
    expect(page.locator(".picks")).to_be_hidden()
    context.close()


def test_a_run_links_to_its_picture(page: Page, tmp_path: Path) -> None:
    """From the table to the schedule's page, which draws itself with the script beside it."""
    path = tmp_path / "one.json"
    path.write_bytes(encode(document("one")))
    config = ReportConfig(instances=(str(path),), solvers=("fifo",))
    folder = tmp_path / "out"
    to_do = tasks(config, folder)
    for task in to_do:
        perform(task)
    gap_report(config, folder, to_do)
    load(page, folder / "report.html")
    page.get_by_role("link", name="Schedule of fifo on one").click()
    expect(page).to_have_title("one: fifo")
    expect(page.locator("canvas").first).to_be_visible()
