"""Levels of approximate caching in pictures and pages: colours, allocation, quality, words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pats_opt.model.files import encode, parse_instance, read_schedule
from pats_opt.model.problem import Problem
from pats_opt.solving.solve import solve
from pats_opt.views import compare, style
from pats_opt.views.bars import bar_legend
from pats_opt.views.gantt import gantt
from pats_opt.views.html import comparison_page, schedule_page, show
from pats_opt.views.interactive import figure_json
from pats_opt.views.lines import floor_of, meaned, quality_lines, stack_until
from pats_opt.views.overview import time_shares
from pats_opt.views.still import allocation, quality
from pats_opt.views.tooltips import tooltips
from pats_opt.views.view import AllocationSeries, Chart, NamedChart, ScheduleView
from tests.core.test_levels import worked
from tests.online.levels import examples
from tests.support.zoo import document, request


def viewed(policy: str, adapters: int = 1, requests: int = 24) -> ScheduleView:
    """Requests at three levels, in turn of so many adapters, that have deadlines; on two GPUs."""
    names = ["base", *(f"lora-{k}" for k in range(1, adapters))]
    asked = [
        examples.request(
            k,
            0.4 * k,
            cache_level=2 * (k % 3),
            adapter=names[k % adapters],
            deadline_s=8.0,
            reject_loss=1.0,
        )
        for k in range(requests)
    ]
    known = [{"id": name, "vram_gib": 0.0, "load_s": 0.0} for name in names]
    problem = examples.problem(asked, gpus=2, adapters=known)
    return ScheduleView.of(problem, solve(problem, policy).schedule)


def test_bars_have_the_colours_of_levels_where_there_is_one_adapter() -> None:
    """In every view of them, with a legend that counts requests."""
    seen = viewed("nirvana")
    bars, table = seen.chart.style, seen.table
    assert (bars.by_level, bars.names) == (True, ["0 skipped", "2 skipped", "4 skipped"])
    legend = bar_legend(table)
    assert legend.of == "levels"
    assert sum(key.requests or 0 for key in legend.keys) == seen.metrics.served
    assert [key.colour for key in legend.keys] == bars.colours
    assert set(time_shares(seen.chart).key.tolist()) - {-1} <= {0, 1, 2}
    with style.drawing():
        ax = style.figure(6, 2).add_subplot()
        gantt(ax, seen.chart)
    drawn = ax.get_legend()
    assert drawn is not None
    assert [text.get_text() for text in drawn.get_texts()][:3] == bars.names


def test_bars_keep_the_colours_of_several_adapters() -> None:
    """Then the level is written on them."""
    seen = viewed("nirvana", adapters=2)
    assert not seen.chart.style.by_level
    assert bar_legend(seen.table).keys[0].name in {"base", "lora-1"}
    with style.drawing():
        ax = style.figure(6, 2).add_subplot()
        gantt(ax, seen.chart)
    texts = {text.get_text() for text in ax.texts}
    assert texts & {"r0, K0", "r0, K2", "r0, K4"}
    assert "skipped, quality" in "".join(tooltips(seen.chart).values())


def test_allocation_and_quality_are_drawn() -> None:
    """Two GPUs of which one is at level 0 at first, the other at 2 from 1 s on."""
    chart = Chart.of(worked())
    with style.drawing():
        above, below = style.figure(6, 4).subplots(2)
        allocation(above, chart)
        quality(below, [NamedChart("", chart)])
    first, second = (np.asarray(area.get_paths()[0].vertices) for area in above.collections)
    corners = [{tuple(map(float, point)) for point in some} for some in (first, second)]
    assert {(0.0, 1.0), (4.0, 1.0), (4.0, 0.0), (6.0, 0.0), (6.0, 1.0)} <= corners[0]
    assert {(1.0, 1.0), (1.0, 2.0), (10.0, 2.0)} <= corners[1]
    (line,) = below.get_lines()
    assert np.asarray(line.get_ydata()).tolist() == [0.75, 1.0, 0.75, 0.75, 1.0, 1.0]
    assert floor_of(quality_lines([NamedChart("", chart)])) == 0.7


def test_a_stack_seen_from_afar_keeps_its_means() -> None:
    """Every span's mean height is that of the steps in it."""
    rng = np.random.default_rng(0)
    x = np.append(0.0, np.sort(rng.uniform(0, 90, 500)))
    stack = AllocationSeries(x, rng.integers(0, 4, (501, 3)).astype(np.float64))
    assert meaned(stack, 100.0, 501 + 1).x[-1] == 100.0
    far, whole = meaned(stack, 100.0, 50), stack_until(stack, 100.0)
    areas = [(some.y[:-1] * np.diff(some.x)[:, None]).sum(axis=0) for some in (far, whole)]
    assert len(far.x) == 51
    np.testing.assert_allclose(areas[0], areas[1])


@pytest.mark.parametrize("adapters", [1, 2])
def test_the_page_has_them_in_its_figure_in_words_and_in_tables(
    tmp_path: Path, adapters: int
) -> None:
    seen = viewed("prompt-aware", adapters)
    page = schedule_page(seen, ".")
    for heading in ("<h2>Deadlines</h2>", "<h2>Levels</h2>"):
        assert heading in page
    assert "more than at any other level." in page.replace("\N{NO-BREAK SPACE}", " ")
    assert ("GPUs at each level:" in page) == (adapters == 2)
    assert "requests waiting, GPUs at each level and quality, over time" in page
    figure = figure_json([NamedChart("", seen.chart)])
    assert "GPUs at each level" in figure
    assert "Mean quality of requests done" in figure
    served = sum(int(row[1]) for row in _rows(page, "Levels")[:-1])
    assert served == seen.metrics.served
    in_time = dict(row[:2] for row in _rows(page, "Deadlines"))["within 1 times"]
    share = (seen.metrics.served - seen.metrics.deadline_misses) / len(seen.problem.jobs)
    assert in_time == f"{100 * share:.0f} %"
    for suffix in ("svg", "png"):
        assert show(seen.problem.instance, seen.schedule, tmp_path / f"s.{suffix}").ok
    assert "GPUs at each level" in (tmp_path / "s.svg").read_text()


def _rows(page: str, heading: str) -> list[list[str]]:
    """Cells of the first table after a heading."""
    table = (
        page.partition(f"<h2>{heading}</h2>")[2].partition("<table>")[2].partition("</table>")[0]
    )
    return [
        [cell.partition(">")[2].rpartition("</i>")[2].partition("<")[0] for cell in cells]
        for row in table.split("<tr>")[1:]
        if (cells := row.replace("<th", "<td").split("<td")[1:])
    ]


def test_two_schedules_are_compared_by_level_and_deadline() -> None:
    first, second = viewed("nirvana"), viewed("clipper:level=throughput")
    rows = {row.name: row for row in compare.compared(first, second).metrics}
    assert (rows["0 skipped"].second, rows["2 skipped"].second) == ("0", "0")
    assert int(rows["4 skipped"].second) == second.metrics.served
    assert rows["within 1 deadlines"].first.endswith("%")
    page = comparison_page(first, second, ".")
    assert "A: GPUs at each level" in page
    assert "Mean quality (A solid, B dashed)" in page


def test_a_schedule_that_serves_nobody_can_be_drawn(tmp_path: Path) -> None:
    seen = viewed("nirvana", requests=3)
    nobody = json.loads(encode(seen.schedule))
    nobody["gpus"] = [{**gpu, "batches": []} for gpu in nobody["gpus"]]
    nobody["rejected"] = [job.id for job in seen.problem.jobs]
    path = tmp_path / "s.json"
    path.write_text(json.dumps(nobody))
    for suffix in ("html", "svg"):
        drawn = show(seen.problem.instance, read_schedule(path), tmp_path / f"s.{suffix}")
        assert drawn.loss == 3.0


def test_without_levels_nothing_of_it_is_there() -> None:
    problem = Problem(parse_instance(json.dumps(document(request("r0"), request("r1")))))
    seen = ScheduleView.of(problem, solve(problem, "fifo").schedule)
    page = schedule_page(seen, ".")
    texts = ("<h2>Levels", "<h2>Deadlines", "GPUs at each level", "Levels (K)", '["skip"')
    assert not any(text in page for text in texts)
    assert (seen.chart.style.by_level, bar_legend(seen.table).of) == (False, "adapters")
