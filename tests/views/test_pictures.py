"""Pictures of schedules: what is drawn, at every size, valid or not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pats_opt.cli import run
from pats_opt.errors import InputError
from pats_opt.model.checker import ReplayedBatch, check
from pats_opt.model.files import encode, parse_instance, write_instance, write_schedule
from pats_opt.model.instance import Instance
from pats_opt.model.parsing import convert
from pats_opt.model.plan import PlannedBatch, plan_of, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule, SolutionStatus, SolverRef, Status, StopReason
from pats_opt.solving.solve import solve
from pats_opt.tables import ScheduleTable
from pats_opt.views import style
from pats_opt.views.gantt import MOST_BATCHES, gantt
from pats_opt.views.html import comparison_page, schedule_page, show
from pats_opt.views.still import draw, memory, queue
from pats_opt.views.strips import memory_strips
from pats_opt.views.style import MOST_KEYS, adapter_legend, colour_list
from pats_opt.views.tooltips import tooltips
from pats_opt.views.view import Chart, NamedChart, ScheduleView
from pats_opt.wording import DASH, figure
from tests.support.markup import EVIL, Html, marked
from tests.support.zoo import (
    ZOO,
    Solved,
    documents_slots,
    horizon_forces_fewer_steps,
    loading_another_avoids_no_activation,
    loads_are_rounded_one_by_one,
    rejecting_is_cheaper,
    two_gpus_take_an_adapter_each,
)


def document(requests: int, **changes: Any) -> dict[str, Any]:
    """Requests of two adapters that arrive one a tick."""
    return {
        "format": "pats-opt/instance",
        "version": 1,
        "name": "pictures",
        "tick_s": 1.0,
        "base_vram_gib": 7.0,
        "gpus": [{"id": "gpu-0", "capacity": {"vram_gib": 40.0}}, {"id": "gpu-1",
                 "capacity": {"vram_gib": 24.0}}],
        "adapters": [{"id": "a", "vram_gib": 0.5, "load_s": 2.0},
                     {"id": "b", "vram_gib": 0.5, "load_s": 2.0}],
        "switching": {"max_resident": 1, "price_per_s": 1.0},
        "service": {"kind": "steps", "step_s": {"base": 0.1, "per_sample": 0.0}},
        "latency_price_per_s": 0.05,
        "requests": [
            {"id": f"r{i}", "arrival_s": float(i), "adapter": "ab"[i % 2],
             "demand": {"vram_gib": 4.0},
             "options": [{"steps": 20, "quality": 0.9}, {"steps": 40, "quality": 1.0}]}
            for i in range(requests)
        ],
        **changes,
    }  # fmt: skip


def planned(
    requests: int, size: int = 2, **changes: Any
) -> tuple[Instance, Problem, Schedule, list[ReplayedBatch]]:
    """Batches of ``size`` of one adapter after another on the first GPU, options in turn."""
    instance = parse_instance(json.dumps(document(requests, **changes)))
    problem = Problem(instance)
    batches, free = [], 2
    for adapter in range(2):
        mine = [job for job in problem.jobs if job.adapter == adapter]
        for k in range(0, len(mine), size):
            jobs = mine[k : k + size]
            start = max(free, jobs[-1].arrival) + (2 if k == 0 else 0)
            members = tuple((job.index, job.index // 2 % 2) for job in jobs)
            batches.append(PlannedBatch(start, members, frozenset({adapter})))
            free = start + 4
    schedule = schedule_of(problem, plan_of([batches, []]), SolverRef(name="test"))
    return instance, problem, schedule, list(check(problem, schedule).replayed)


def chart_of(problem: Problem, replayed: list[ReplayedBatch]) -> Chart:
    return Chart.of(ScheduleTable.from_replay(problem, replayed))


def values(numbers: Any) -> list[float]:
    """Data kept by matplotlib, as plain numbers."""
    return [float(number) for number in np.asarray(numbers)]


def test_memory_falls_when_members_leave() -> None:
    """7 GiB of the base, 0.5 of the adapter, and 4 for each member until its own end."""
    _, problem, _, batches = planned(4)
    with style.drawing():
        ax = style.figure(4, 2).add_subplot()
        memory(ax, chart_of(problem, batches))
    strips = memory_strips(chart_of(problem, batches))
    assert [strip.full for strip in strips] == [40.0, 24.0]
    gib = [
        dict(
            zip(
                values(line.get_xdata()),
                (
                    strip.full * (strip.bottom - values_) / (strip.bottom - strip.top)
                    for values_ in values(line.get_ydata())
                ),
                strict=True,
            )
        )
        for line, strip in zip(ax.get_lines(), strips, strict=True)
    ]
    steps = {0: 7, 2: 7.5, 4: 15.5, 6: 11.5, 8: 7.5, 10: 15.5, 12: 11.5, 14: 7.5}
    assert gib[0] == pytest.approx(steps)
    assert list(gib[1].values()) == pytest.approx([7.0, 7.0])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["gpu-0", "gpu-1"]
    assert ax.get_title(loc="left") == "VRAM in use, each strip 24 GiB or 40 GiB"


def test_one_gpu_has_a_line_of_memory_with_its_capacity() -> None:
    raw = document(4)
    raw["gpus"] = raw["gpus"][:1]
    problem = Problem(parse_instance(json.dumps(raw)))
    result = solve(problem, "fifo")
    chart = chart_of(problem, list(result.replayed))
    assert memory_strips(chart) == []
    with style.drawing():
        ax = style.figure(4, 2).add_subplot()
        memory(ax, chart)
    line, capacity = ax.get_lines()
    assert max(values(line.get_ydata())) == max(chart.memory[0].y)
    assert values(capacity.get_ydata()) == [40.0, 40.0]


def test_queue_counts_arrivals_that_wait() -> None:
    """r0 to r3 arrive at 0 to 3; r0 and r2 start at 4, r1 and r3 at 10."""
    _, problem, _, batches = planned(4)
    with style.drawing():
        ax = style.figure(4, 2).add_subplot()
        queue(ax, [NamedChart("", chart_of(problem, batches))])
    (area,) = ax.collections
    corners = {tuple(values(point)) for point in np.asarray(area.get_paths()[0].vertices)}
    assert {(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0), (4.0, 2.0), (10.0, 0.0)} <= corners


def test_gantt_draws_switches_only_where_there_are_any() -> None:
    _, problem, _, batches = planned(8)
    with style.drawing():
        ax = style.figure(4, 2).add_subplot()
        gantt(ax, chart_of(problem, batches))
    *_, switches = ax.collections
    assert len(switches.get_paths()) == 2


def test_a_switch_that_takes_no_time_is_a_line() -> None:
    _, problem, _, batches = planned(4, service={"kind": "slot"})
    with style.drawing():
        ax = style.figure(4, 2).add_subplot()
        gantt(ax, chart_of(problem, batches))
    taken, sudden = ax.collections[-2:]
    assert len(taken.get_paths()) == 0
    assert len(sudden.get_paths()) == 2


@pytest.mark.parametrize("requests", [0, 1, 90, 10_000])
def test_every_size_can_be_drawn(tmp_path: Path, requests: int) -> None:
    """Many requests become blocks, then pixels; the picture stays small."""
    instance, problem, schedule, batches = planned(requests, size=4)
    assert show(instance, schedule, tmp_path / "s.svg").ok
    picture = (tmp_path / "s.svg").read_text()
    assert len(picture) < 2_000_000
    told = tooltips(chart_of(problem, batches))
    assert bool(told) == (0 < len(batches) <= MOST_BATCHES)
    assert picture.count("<title>") == len(told)


def test_no_gpus_and_no_requests(tmp_path: Path) -> None:
    instance = parse_instance(json.dumps(document(0, gpus=[], adapters=[])))
    schedule = schedule_of(Problem(instance), plan_of([]), SolverRef(name="test"))
    for suffix in ("html", "svg", "png"):
        assert show(instance, schedule, tmp_path / f"s.{suffix}").ok


@pytest.mark.parametrize("suffix", ["html", "svg"])
def test_text_from_files_stays_text(tmp_path: Path, suffix: str) -> None:
    """Names, ids and prompts full of mark-up: no tag and no end of a script is from them."""
    calm = parse_instance(encode(json.loads(json.dumps(marked()).replace(EVIL[1:-1], "calm"))))
    evil = parse_instance(encode(marked()))
    pages = []
    for instance in (calm, evil):
        schedule = solve(instance, "pats", time_limit=1).schedule
        show(instance, schedule, tmp_path / f"s.{suffix}")
        pages.append(Html((tmp_path / f"s.{suffix}").read_text()).tags)
    assert pages[0] == pages[1]
    assert pages[1]["img"] == 0


def test_an_invalid_schedule_is_drawn_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown requests, a batch nobody knows anything of, overlaps: exit status 0, one warning."""
    instance, _, schedule, _ = planned(4)
    lane = schedule.gpus[0]
    unknown = msgspec.structs.replace(
        lane.batches[0],
        requests=(msgspec.structs.replace(lane.batches[0].requests[0], id="who?"),),
    )
    early = msgspec.structs.replace(lane.batches[1], switch_start=1, start=1)
    broken = msgspec.structs.replace(
        schedule, gpus=(msgspec.structs.replace(lane, batches=(unknown, early)),)
    )
    write_instance(instance, tmp_path / "i.json")
    write_schedule(broken, tmp_path / "s.json")
    for suffix in ("html", "svg", "png"):
        out = tmp_path / f"s.{suffix}"
        args = ["show", str(tmp_path / "s.json"), "--instance", str(tmp_path / "i.json")]
        assert run([*args, "-o", str(out)]) == 0
        (warning,) = capsys.readouterr().err.splitlines()
        assert "not valid" in warning
        assert out.stat().st_size > 1000
    assert "request &#39;who?&#39; is unknown" in (tmp_path / "s.html").read_text()
    assert "NOT VALID" in (tmp_path / "s.svg").read_text()


def test_another_suffix_and_another_instance_are_refused(tmp_path: Path) -> None:
    instance, _, schedule, _ = planned(2)
    with pytest.raises(InputError, match=r"\.html, \.svg, \.png"):
        show(instance, schedule, tmp_path / "s.pdf")
    other = planned(3)[0]
    with pytest.raises(InputError, match="another instance"):
        show(other, schedule, tmp_path / "s.html")


def test_drawing_leaves_no_trace() -> None:
    """Neither pyplot nor a changed setting stays behind."""
    code = (
        "import sys; from matplotlib import rcParams;"
        "from tests.views.test_pictures import chart_of, planned;"
        "settings = lambda: {k: rcParams[k] for k in rcParams if k != 'backend'};"
        "before = settings();"
        "from pats_opt.views.still import draw;"
        "from pats_opt.views.view import NamedChart;"
        "_, problem, _, batches = planned(4);"
        "draw([NamedChart('', chart_of(problem, batches))], 'x');"
        "assert settings() == before;"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_the_page_shows_waits_and_adapters(tmp_path: Path) -> None:
    """r1 waits longest, 1 to 10; it and r3 wait longer than the policy's bound of 5 s."""
    instance, _, schedule, _ = planned(4)
    maker = SolverRef(name="test", params={"max_wait_s": 5.0})
    show(instance, msgspec.structs.replace(schedule, solver=maker), tmp_path / "s.html")
    page = (tmp_path / "s.html").read_text()
    for name, text in (("wait max, s", "9"), ("wait max request", "r1"), ("starved", "2")):
        assert f'<th scope="row">{name}</th><td>{text}</td>' in page
    assert '<tr><th scope="row">a</th><td>2</td><td>2</td><td>0</td>' in page
    assert "By adapter" in page


def seen_by(solved: Callable[[], Solved]) -> list[ScheduleView]:
    """Two policies' schedules of an instance."""
    problem = Problem(convert(solved().document, Instance))
    policies = ("fcfs-grouped", "fifo")
    return [ScheduleView.of(problem, solve(problem.instance, p).schedule) for p in policies]


@pytest.mark.parametrize("solved", ZOO, ids=lambda s: s.__name__)
def test_every_feature_can_be_drawn(solved: Callable[[], Solved]) -> None:
    named = [NamedChart(str(k), one.chart) for k, one in enumerate(seen_by(solved))]
    lanes = draw(named).axes[0]
    served = named[0].chart.table.requests.job
    assert sum(len(c.get_paths()) for c in lanes.collections) >= len(served)


@pytest.mark.parametrize(
    "solved",
    [
        documents_slots,
        horizon_forces_fewer_steps,
        loading_another_avoids_no_activation,
        loads_are_rounded_one_by_one,
        two_gpus_take_an_adapter_each,
    ],
    ids=lambda s: s.__name__,
)
def test_every_feature_has_a_page(solved: Callable[[], Solved]) -> None:
    """Slots, a horizon, caches, mixed batches, fleets."""
    first, second = seen_by(solved)
    page = comparison_page(first, second, ".")
    assert "Loss by term" in page
    assert figure(first.verdict.loss) in page


def test_prices_and_rejected_requests_are_drawn(tmp_path: Path) -> None:
    """The panel of prices is there where a schedule carries them; so are those it rejects."""
    instance = convert(rejecting_is_cheaper().document, Instance)
    priced = solve(instance, "lagrangian", time_limit=10).schedule
    plain = msgspec.structs.replace(priced, extra={})
    show(instance, priced, tmp_path / "s.svg")
    assert "Price of GPU time" in (tmp_path / "s.svg").read_text()
    show(instance, plain, tmp_path / "s.svg")
    assert "Price of GPU time" not in (tmp_path / "s.svg").read_text()
    page = schedule_page(ScheduleView.of(Problem(instance), priced), ".")
    assert "It rejects 1 request." in page
    assert '["id",["r1"]]' in page  # the cross at its arrival


def test_many_adapters_leave_the_colours_to_cache_hits_and_batch_sizes() -> None:
    """200 adapters: every batch is a miss of one request; a legend of adapters repeats colours."""
    raw = document(200)
    raw["adapters"] = [{"id": f"a{k}", "vram_gib": 0.1, "load_s": 1.0} for k in range(200)]
    for k, request in enumerate(raw["requests"]):
        request["adapter"] = f"a{k}"
    problem = Problem(parse_instance(json.dumps(raw)))
    known = adapter_legend(problem)
    assert (len(known.keys), known.more, known.repeat) == (MOST_KEYS, 200 - MOST_KEYS, True)
    colours = colour_list(problem)
    assert style.OTHER not in colours
    assert len(set(colours)) == 14
    schedule = solve(problem.instance, "fcfs-grouped").schedule
    page = schedule_page(ScheduleView.of(problem, schedule), ".")
    assert "There are more adapters than colours" in page
    assert "</i>miss, batch of 1 <small>200</small>" in page
    assert "</i>hit, batch of 1 <small>0</small>" in page
    assert "more adapters</li>" not in page


def test_a_schedule_in_words() -> None:
    _, problem, schedule, _ = planned(4)
    page = schedule_page(ScheduleView.of(problem, schedule), ".").replace("\N{NO-BREAK SPACE}", " ")
    assert "test serves 4 of 4 requests in 2 batches on 2 GPUs, the last done after 14 s." in page
    assert "gpu-0 is busiest, serving 57 % of that time" in page  # 8 of 14 s
    assert "switching takes 14 % of GPU time, and 57 % is idle." in page  # 4 and 16 of 28 s
    assert "r1 waits longest, 9 s; the mean latency is 8.5 s." in page


def test_nothing_is_proven_of_a_schedule_that_breaks_rules() -> None:
    """Whatever its file says: neither an optimum nor a gap."""
    _, problem, schedule, _ = planned(4)
    claimed = msgspec.structs.replace(
        schedule,
        status=Status(stop=StopReason.OPTIMAL, point=SolutionStatus.OPTIMAL),
        bound=check(problem, schedule).loss,
    )
    assert "it is proven optimal" in schedule_page(ScheduleView.of(problem, claimed), ".")
    lane = claimed.gpus[0]
    early = msgspec.structs.replace(lane.batches[0], switch_start=0, start=0)
    lanes = (msgspec.structs.replace(lane, batches=(early, *lane.batches[1:])), *claimed.gpus[1:])
    page = schedule_page(
        ScheduleView.of(problem, msgspec.structs.replace(claimed, gpus=lanes)), "."
    )
    assert "proven optimal" not in page
    assert "the schedule is not valid." in page
    assert re.search(rf">gap</th>\s*<td>{DASH}</td>", page)
