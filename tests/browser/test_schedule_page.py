"""The pages of schedules in a browser: pointing, zooming by every means, levels of detail."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, ViewportSize

from pats_opt.model.instance import Instance
from pats_opt.model.parsing import convert
from pats_opt.model.plan import PlannedBatch, PlannedLoad, plan_of, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule, SolverRef
from pats_opt.solving.solve import solve
from pats_opt.views.html import show, write
from pats_opt.views.page import write_assets
from pats_opt.views.view import ScheduleView
from tests.support.browser import NARROW, WIDE, barriers, overflow, too_wide, visit
from tests.support.markup import marked
from tests.support.zoo import adapter, document, gpu, request
from tests.views.test_levels import viewed
from tests.views.test_loads import view

#: Longest that a page may take to draw itself on a busy machine, in milliseconds.
PATIENCE = 60_000

#: A look into the figure: its range, and what is drawn of each kind of bar.
LOOK = """(() => {
  const {range, charts} = Bokeh.documents.at(-1).get_model_by_name("figure").tags[0]
  const many = name => charts.map(c => Object.values(c.sources[name].data)[0].length)
  return {start: range.start, end: range.end, members: many("members"), batches: many("batches"),
          switches: many("switches"), sudden: many("sudden"), wait: many("wait"),
          loads: many("loads"),
          labels: charts.map(c => c.sources.labels.data.text)}
})()"""

#: All text in the page's tooltips, which stand in shadow trees.
TOLD = """(() => {
  const found = []
  const walk = root => { for (const e of root.querySelectorAll("*")) {
    if (e.tagName === "TD" && e.getRootNode() !== document) found.push(e.textContent)
    if (e.shadowRoot) walk(e.shadowRoot) } }
  walk(document)
  return found
})()"""


def planned(requests: int, name: str = "plain", gap: int = 2) -> tuple[Instance, Schedule]:
    """Pairs of requests, of two adapters in turn, on one GPU; each batch after a load of 1 s."""
    raw = document(
        *[request(f"r{i}", adapter="ab"[i // 2 % 2], steps=3) for i in range(requests)],
        request("refused", reject_loss=1.0),
        gpus=[gpu(resident=())],
        adapters=[adapter("a", 1.0, 1.0), adapter("b", 1.0, 1.0)],
    )
    problem = Problem(convert(raw, Instance))
    batches = [
        PlannedBatch(1 + 4 * k * gap // 2, ((2 * k, 0), (2 * k + 1, 0)), frozenset({k % 2}))
        for k in range(requests // 2)
    ]
    return problem.instance, schedule_of(problem, plan_of([batches]), SolverRef(name=name))


def opened(page: Page, path: Path) -> None:
    """Open a page and wait until its figure is drawn."""
    visit(page, path)
    page.wait_for_selector("#chart[data-ready]", timeout=PATIENCE)
    page.wait_for_function("document.getElementById('chart-view').textContent !== ''")


def look(page: Page) -> Any:
    """Items drawn in the next frame."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.evaluate(LOOK)


def point(page: Page, x: float, y: float) -> None:
    """Put the pointer on a place of the first panel: shares of its plotting area."""
    box = page.evaluate(
        """(() => {
          const {panel} = Bokeh.documents.at(-1).get_model_by_name("figure").tags[0].charts[0]
          const view = Bokeh.index.find_one(panel), at = view.el.getBoundingClientRect()
          const {left, top} = view.frame.bbox
          return [at.left + left, at.top + top, panel.inner_width, panel.inner_height]
        })()"""
    )
    left, top, width, height = box
    page.mouse.move(left + x * width - 3, top + y * height)
    page.mouse.move(left + x * width, top + y * height)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of eight requests in four batches, and one that is rejected."""
    path = tmp_path_factory.mktemp("schedule") / "s.html"
    instance, schedule = planned(8)
    assert show(instance, schedule, path).ok
    return path


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["desktop", "telephone"])
def test_it_fits_and_everyone_can_use_it(page: Page, written: Path, size: ViewportSize) -> None:
    page.set_viewport_size(size)
    opened(page, written)
    assert overflow(page) == 0
    assert too_wide(page) == []
    assert barriers(page) == []
    assert page.locator("#chart").get_attribute("aria-label")
    assert "serves 8 of 9 requests" in page.inner_text("#chart-words")


@pytest.mark.parametrize("adapters", [1, 2])
def test_levels_are_drawn_and_read(page: Page, tmp_path: Path, adapters: int) -> None:
    """On a telephone too: a stack of GPUs by level and quality over time; the pointer reads a K."""
    write([viewed("nirvana", adapters)], tmp_path / "s.html")
    page.set_viewport_size(NARROW)
    opened(page, tmp_path / "s.html")
    assert overflow(page) == 0
    assert barriers(page) == []
    stack = """(() => {
      const {lines} = Bokeh.documents.at(-1).get_model_by_name("figure").tags[0]
      const {x, y0, y3} = lines.find(line => "y3" in line).source.data
      return [x.length, Math.max(...y0), Math.max(...y3)]
    })()"""
    steps, bottom, top = page.evaluate(stack)
    assert steps > 2
    assert (bottom, top) == (0, 2)
    page.set_viewport_size(WIDE)
    look(page)
    point(page, 0.12, 0.4)
    page.wait_for_function(f"{TOLD}.some(cell => cell.includes(' skipped, quality '))")


def test_everything_is_drawn(page: Page, written: Path) -> None:
    """Members with their ids, batches, hatched switches; the pointer has drawn no wait yet."""
    opened(page, written)
    seen = look(page)
    assert (seen["members"], seen["batches"], seen["switches"]) == ([8], [4], [4])
    assert (seen["sudden"], seen["wait"]) == ([0], [0])
    assert sorted(seen["labels"][0]) == [f"r{k}" for k in range(8)]
    assert "Each bar is a request" in page.inner_text("#chart-view")


def test_the_pointer_reads_a_request_with_its_wait(page: Page, written: Path) -> None:
    """The last batch is b's at 13 to 16 s: its members waited 13 s."""
    opened(page, written)
    point(page, 0.9, 0.75)
    page.wait_for_function(f"{TOLD}.includes('b')")
    told = page.evaluate(TOLD)
    assert told[0] in {"r6", "r7"}
    assert "3 steps, quality 1" in told
    assert "0 s, waits 13 s" in told
    assert "16 s, latency 16 s" in told
    assert look(page)["wait"] == [1]
    point(page, 0.78, 0.5)
    page.wait_for_function(f"{TOLD}.includes('1 s')")
    assert "nothing" not in page.evaluate(TOLD)  # it loads b and evicts a
    assert look(page)["wait"] == [0]


def test_the_pointer_reads_a_load_beside_serving(page: Page, tmp_path: Path) -> None:
    """Adapter c is loaded from 2 s to 5 s for b, the last second of it after the only batch."""
    write([view(PlannedLoad(1, 0), PlannedLoad(2, 2, frozenset({1})))], tmp_path / "s.html")
    opened(page, tmp_path / "s.html")
    assert (look(page)["loads"], look(page)["members"]) == ([2], [1])
    point(page, 0.7, 0.72)
    page.wait_for_function(f"{TOLD}.includes('c')")
    assert page.evaluate(TOLD) == ["c", "gpu-0", "b", "2 s", "5 s", "2 s of 3 s"]
    assert barriers(page) == []


def test_wheel_buttons_and_keys_zoom(page: Page, written: Path) -> None:
    opened(page, written)
    whole = look(page)

    def span() -> float:
        seen = look(page)
        width: float = seen["end"] - seen["start"]
        return width

    full = whole["end"] - whole["start"]
    point(page, 0.5, 0.5)
    page.mouse.wheel(0, -200)
    page.wait_for_function(f"{LOOK}.end - {LOOK}.start < {full * 0.95}")
    page.click("[data-zoom=all]")
    assert span() == pytest.approx(full)
    page.click("[data-zoom=in]")
    assert span() == pytest.approx(full / 2)
    page.click("[data-zoom=out]")
    assert span() == pytest.approx(full)
    page.focus("#chart")
    for key in "++":
        page.keyboard.press(key)
    assert span() == pytest.approx(full / 4)
    before = look(page)["start"]
    page.keyboard.press("ArrowRight")
    assert look(page)["start"] == pytest.approx(before + full / 16)
    page.click("[data-zoom=earlier]")
    assert look(page)["start"] == pytest.approx(before)
    page.focus("#chart")
    for key in ["ArrowLeft"] * 20:
        page.keyboard.press(key)
    assert look(page)["start"] == pytest.approx(whole["start"])  # not beyond what there is
    assert span() == pytest.approx(full / 4)
    page.keyboard.press("0")
    assert look(page) == whole


def test_dragging_moves_or_zooms(page: Page, written: Path) -> None:
    opened(page, written)
    select = page.locator("[data-select]")

    def drag() -> tuple[float, float]:
        point(page, 0.4, 0.5)
        page.mouse.down()
        point(page, 0.5, 0.5)
        point(page, 0.6, 0.5)
        page.mouse.up()
        seen = look(page)
        return seen["start"], seen["end"]

    page.click("[data-zoom=in]")
    before = look(page)
    start, end = drag()
    assert end - start == pytest.approx(before["end"] - before["start"])
    assert start < before["start"]
    page.click("[data-zoom=all]")
    whole = look(page)
    select.click()
    assert select.get_attribute("aria-pressed") == "true"
    start, end = drag()
    assert end - start == pytest.approx(0.2 * (whole["end"] - whole["start"]), rel=0.05)


def test_levels_of_detail(page: Page, tmp_path: Path) -> None:
    """2,000 batches: shares of time from afar, then batches, then requests; little is drawn."""
    instance, schedule = planned(4000)
    show(instance, schedule, tmp_path / "s.html")
    opened(page, tmp_path / "s.html")
    view = page.locator("#chart-view")
    page.focus("#chart")
    levels = []
    for _ in range(9):
        seen = look(page)
        levels.append(view.get_attribute("data-level"))
        assert max(*seen["members"], *seen["batches"], *seen["switches"]) <= 1500
        page.keyboard.press("+")
    assert list(dict.fromkeys(levels)) == ["shares", "batches", "requests"]


def test_tooltips_show_markup_as_text(page: Page, tmp_path: Path) -> None:
    """Ids, adapters and prompts of markup, and of what Bokeh fills in (@id, $index)."""
    instance = convert(marked(), Instance)
    show(instance, solve(instance, "pats").schedule, tmp_path / "s.html")
    opened(page, tmp_path / "s.html")
    x, y = page.evaluate(
        """(() => {
          const {range, charts: [{panel, sources}]} =
            Bokeh.documents.at(-1).get_model_by_name("figure").tags[0]
          const {left, right, y} = sources.members.data, {start, end} = panel.y_range
          return [((left[0] + right[0]) / 2 - range.start) / (range.end - range.start),
                  (y[0] - end) / (start - end)]
        })()"""
    )
    point(page, x, y)
    page.wait_for_function(f"{TOLD}.length > 0")
    told = page.evaluate(TOLD)
    assert "<img src=x" in told[0]
    assert "<img src=x" in told[1]
    assert re.search(r"@\{id\}\$index prompt \d$", told[-1])
    assert page.evaluate("window.harmed") is None
    assert page.locator("img").count() == 0


def test_two_schedules_share_one_axis(page: Page, tmp_path: Path) -> None:
    instance, first = planned(8, "one")
    second = planned(8, "two", gap=4)[1]
    problem = Problem(instance)
    both = [ScheduleView.of(problem, one) for one in (first, second)]
    write(both, tmp_path / "c.html")
    for size in (NARROW, WIDE):
        page.set_viewport_size(size)
        opened(page, tmp_path / "c.html")
        assert overflow(page) == 0
        assert barriers(page) == []
    assert look(page)["members"] == [8, 8]
    page.focus("#chart")
    for key in "+++":
        page.keyboard.press(key)
    assert max(look(page)["members"]) < 8
    assert "B: two loses" in page.inner_text("#chart-words")


def test_pages_may_share_a_script(page: Page, tmp_path: Path) -> None:
    instance, schedule = planned(8)
    folder = tmp_path / "runs & more"
    folder.mkdir()
    script = write_assets(tmp_path / "the scripts")
    show(instance, schedule, folder / "s.html", assets="../the scripts")
    assert (folder / "s.html").stat().st_size < script.stat().st_size / 10
    opened(page, folder / "s.html")
    assert look(page)["members"] == [8]
