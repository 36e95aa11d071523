"""Loads beside serving in pictures and pages: their lane, what they evict, and their words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from pats_opt.model.files import parse_instance
from pats_opt.model.plan import PlannedBatch, PlannedLoad, plan_of, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import SolverRef
from pats_opt.solving.solve import solve
from pats_opt.tables import BY_LOADER, METRICS, ScheduleTable
from pats_opt.views import compare, style
from pats_opt.views.gantt import gantt
from pats_opt.views.html import comparison_page, schedule_page, show
from pats_opt.views.notebook import html
from pats_opt.views.overview import LOADING, time_shares
from pats_opt.views.tooltips import tooltips
from pats_opt.views.view import LANE, LOADER, SERVING, Chart, ScheduleView
from pats_opt.wording import DASH
from tests.core.test_metrics_loads import worked
from tests.support.overlap_zoo import overlapping
from tests.support.zoo import adapter, document, request


@pytest.fixture(scope="module")
def chart() -> Chart:
    """The schedule worked by hand: b from 1 to 4, c from 6 to 8 for a, a from 8 to 11 for b."""
    verdict = worked()
    assert verdict.problem is not None
    return Chart.of(ScheduleTable.from_replay(verdict.problem, verdict.replayed, verdict.loads))


def view(*loads: PlannedLoad) -> ScheduleView:
    """One request of 4 s, beside which b takes 2 s to load, and c 3 s, on two channels."""
    instance = overlapping(
        request("r0", 4),
        channels=2,
        adapters=[adapter("a"), adapter("b", 2.0), adapter("c", 3.0)],
        switching={"max_resident": 3},
    )
    problem = Problem(parse_instance(json.dumps(instance)))
    plan = plan_of([[PlannedBatch(0, ((0, 0),), frozenset({0, 1, 2}))]], [loads])
    return ScheduleView.of(problem, schedule_of(problem, plan, SolverRef(name="test")))


BOTH = PlannedLoad(1, 0), PlannedLoad(2, 1)


def test_loads_lie_below_their_gpu_from_start_to_end(chart: Chart) -> None:
    assert chart.loads is not None
    left, right, top, bottom = (side.tolist() for side in chart.loads)
    assert (left, right) == ([1.0, 6.0, 8.0], [4.0, 8.0, 11.0])
    assert {*top} == {LOADER[0]}
    assert bottom == pytest.approx([LOADER[1]] * 3)
    assert chart.batches.bottom.max() == SERVING < LOADER[0]


def test_channels_are_rows() -> None:
    boxes = view(*BOTH).chart.loads
    assert boxes is not None
    (first, second), (end, last) = boxes.top.tolist(), boxes.bottom.tolist()
    assert (first, last) == (LOADER[0], pytest.approx(LOADER[1]))
    assert second == pytest.approx(end)


def test_memory_is_that_of_the_loaders_rule(chart: Chart) -> None:
    x, y = chart.memory[0]
    found = dict(zip(x.tolist(), y.tolist(), strict=True))
    assert found == {0: 5, 1: 6, 4: 2, 5: 3, 6: 4, 7: 3, 8: 4, 9: 3, 12: 4, 13: 3}


def test_the_far_view_has_the_loaders_busy_time(chart: Chart) -> None:
    blocks = time_shares(chart)
    loading = blocks.key == LOADING
    seconds = (blocks.boxes.right - blocks.boxes.left) * blocks.share
    assert seconds[loading].sum() == pytest.approx(3 + 2 + 3)
    high = (blocks.boxes.bottom - blocks.boxes.top)[loading]
    np.testing.assert_allclose(high, blocks.share[loading] * (LOADER[1] - LOADER[0]))


def test_still_pictures_say_what_is_loaded_and_evicted(chart: Chart) -> None:
    with style.drawing():
        ax = style.figure(6, 2).add_subplot()
        gantt(ax, chart)
    texts = [text.get_text() for text in ax.texts]
    assert [text for text in texts if text.startswith("+")] == ["+b", "+c \u2212a", "+a \u2212b"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["gpu-0", "loads"]
    assert tooltips(chart)["load-1"] == (
        "gpu-0: loads c, 6 s to 8 s\nevicts a\n1 s hidden behind serving"
    )


def test_the_page_says_it_in_words_and_a_table(tmp_path: Path) -> None:
    shown = view(*BOTH)
    page = schedule_page(shown, ".").replace("\N{NO-BREAK SPACE}", " ")
    assert "100 % of the time of its 2 loads is hidden behind serving; GPUs wait 0 s" in page
    assert "<h2>Loads beside serving</h2>" in page
    assert f"<td>1</td><td>4</td><td>3</td><td>c</td><td>{DASH}</td>" in page
    for name in BY_LOADER:
        assert METRICS[name].heading in page
    for suffix in ("svg", "png", "html"):
        assert show(shown.problem.instance, shown.schedule, tmp_path / f"s.{suffix}").ok
    assert "https://" not in schedule_page(shown, ".")


def test_two_schedules_part_where_their_loads_do() -> None:
    early, late = view(*BOTH), view(BOTH[0], PlannedLoad(2, 2))
    assert compare.compared(early, early).parted is None
    assert compare.compared(early, late).parted == 1.0
    assert comparison_page(early, late, ".").count("all loads as a table") == 2


def test_a_notebook_draws_them() -> None:
    verdict = view(*BOTH).verdict
    assert "+b" in html(verdict)
    assert "+b" not in html(replace(verdict, loads=()))
    result = html(solve(view().problem.instance, "cpsat", time_limit=10))
    assert METRICS["load_wait_s"].heading in result


def test_groups_are_in_texts_at_the_pointer() -> None:
    """Where requests name one; the page's columns stay as they were without."""
    pages = []
    for groups in ({}, {"group": "g7"}):
        raw = document({**request("r0"), **groups}, request("r1"))
        instance = parse_instance(json.dumps(raw))
        shown = ScheduleView.of(Problem(instance), solve(instance, "fifo").schedule)
        told = "\n".join(tooltips(shown.chart).values())
        assert ("r0 of group g7: a" in told) == bool(groups)
        assert shown.chart.lane == LANE
        pages.append(schedule_page(shown, "."))
    assert ["@group" in page for page in pages] == [False, True]
    assert ['"group",["g7",""]' in page for page in pages] == [False, True]
