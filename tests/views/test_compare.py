"""Differences between two schedules, in words and figures."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from pats_opt.cli import run
from pats_opt.model.files import write_instance, write_schedule
from pats_opt.model.instance import Instance
from pats_opt.model.parsing import convert
from pats_opt.model.plan import PlannedBatch, plan_of, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule, SolverRef
from pats_opt.views.compare import compared, sentences
from pats_opt.views.html import schedule_page
from pats_opt.views.view import ScheduleView
from pats_opt.wording import DASH, signed
from tests.support.zoo import adapter, document, gpu, request

RAW = document(
    request("r0"),
    request("r1"),
    request("r2", adapter="b", reject_loss=4.0),
    gpus=[gpu(resident=("a",))],
    adapters=[adapter("a", 1.0), adapter("b", 1.0)],
)
PROBLEM = Problem(convert(RAW, Instance))
A, B = frozenset({0}), frozenset({1})


def planned(*batches: PlannedBatch, name: str = "test") -> Schedule:
    return schedule_of(PROBLEM, plan_of([list(batches)]), SolverRef(name=name))


#: Both of a at once, then b: latencies 1, 1 and 3, a second of loading.
TOGETHER = planned(PlannedBatch(0, ((0, 0), (1, 0)), A), PlannedBatch(2, ((2, 0),), B))
#: One after the other, b is rejected: latencies 1 and 2, and 4.
APART = planned(PlannedBatch(0, ((0, 0),), A), PlannedBatch(1, ((1, 0),), A), name="other")


def test_terms_requests_and_the_moment_they_part() -> None:
    first, second = ScheduleView.of(PROBLEM, TOGETHER), ScheduleView.of(PROBLEM, APART)
    of = compared(first, second)
    assert of.names == ("A: test", "B: other")
    terms = {row.name: (row.first, row.second, row.change) for row in of.terms}
    assert terms["latency"] == ("5", "3", "\N{MINUS SIGN}2")
    assert terms["switching"] == ("1", "0", "\N{MINUS SIGN}1")
    assert terms["rejection"] == ("0", "4", "+4")
    assert terms["loss"] == ("6", "7", "+1")
    assert {row.name: row.share for row in of.terms}["latency"] == -0.5
    assert of.parted == 0.0  # their first batches have other members
    assert (of.both, of.same_mates, of.changed) == (2, 0, 2)
    rows = {cells[0]: cells for cells in of.requests}
    assert set(rows) == {"r1", "r2"}  # r0 has the same start, option and latency
    assert rows["r2"][2:] == ["1", DASH, "2", DASH, "3", DASH, "+1"]
    assert rows["r1"][-1] == "+1"
    words = " ".join(sentences(of, first, second))
    assert "B: other loses 17 % more than A: test: 7 against 6." in words
    assert "2 of 3 requests fare differently; 0 of the 2" in words


def test_metrics_by_group_where_there_are_groups() -> None:
    """r1 and r2 are a call: from 0 to 3, and of the second schedule rejected."""
    assert "groups served" not in _metrics_of(PROBLEM)
    raw = {**RAW, "requests": [dict(r) for r in RAW["requests"]]}
    for asked in raw["requests"][1:]:
        asked["group"] = "call"
    rows = _metrics_of(Problem(convert(raw, Instance)))
    assert rows["groups served"] == ("1", "0", "\N{MINUS SIGN}1")
    assert rows["group latency mean, s"] == ("3", DASH, "")


def _metrics_of(problem: Problem) -> dict[str, tuple[str, str, str]]:
    """The metrics of the two schedules that ``show`` compares, and those that a page lists."""
    digest = problem.instance.sha256
    first, second = (
        ScheduleView.of(problem, replace(s, instance=replace(s.instance, sha256=digest)))
        for s in (TOGETHER, APART)
    )
    rows = {
        row.name: (row.first, row.second, row.change) for row in compared(first, second).metrics
    }
    page = schedule_page(first, ".")
    assert [name for name in rows if f">{name}<" not in page] == []
    assert ("group latency" in page) == ("groups served" in rows)
    return rows


def test_they_part_where_the_first_other_thing_begins() -> None:
    """The same first batch; then b's load starts at 1 in one, and at 4 in the other."""
    later = planned(PlannedBatch(0, ((0, 0), (1, 0)), A), PlannedBatch(5, ((2, 0),), B))
    of = compared(ScheduleView.of(PROBLEM, TOGETHER), ScheduleView.of(PROBLEM, later))
    assert of.parted == 1.0
    assert (of.both, of.same_mates, of.changed) == (3, 3, 1)


def test_the_same_schedule_twice() -> None:
    first = ScheduleView.of(PROBLEM, TOGETHER)
    of = compared(first, first)
    assert (of.parted, of.changed, of.requests) == (None, 0, [])
    assert list(sentences(of, first, first)) == [
        "Both lose 6.",
        "Their GPUs do the same at all times.",
    ]


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (1e-12, "0"), (1.5, "+1.5"),
                                             (-2.0, "\N{MINUS SIGN}2")])  # fmt: skip
def test_differences_carry_their_sign(value: float, text: str) -> None:
    assert signed(value) == text


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the instance and three schedules."""
    write_instance(PROBLEM.instance, tmp_path / "i.json")
    for name, schedule in (("a", TOGETHER), ("b", APART), ("c", APART)):
        write_schedule(schedule, tmp_path / f"{name}.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_show_takes_two_and_writes_every_format(files: Path) -> None:
    outputs = ["-o", "cmp.html", "--png", "cmp.png", "--svg", "cmp.svg"]
    assert run(["show", "a.json", "b.json", "--instance", "i.json", *outputs]) == 0
    page, picture = (files / "cmp.html").read_text(), (files / "cmp.svg").read_text()
    assert "B: other loses 17 % more" in page.replace("\N{NO-BREAK SPACE}", " ")
    assert "A: test: GPUs" in picture
    assert (files / "cmp.png").read_bytes().startswith(b"\x89PNG")


def test_show_names_its_file_where_none_is_named(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["show", "a.json", "--instance", "i.json"]) == 0
    assert capsys.readouterr().out == "a.html\n"
    assert (files / "a.html").is_file()
    assert run(["show", "b.json", "--instance", "i.json", "--svg", "b.svg"]) == 0
    assert not (files / "b.html").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "name one schedule, or two to compare, not 0"),
        (["a.json", "b.json", "c.json"], "name one schedule, or two to compare, not 3"),
        (["a.json", "--png", "x.svg"], "--png writes .png files"),
        (["a.json", "-o", "x.pdf"], ".html, .svg, .png"),
    ],
)
def test_show_refuses_what_it_cannot_draw(
    files: Path, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    assert run(["show", *given, "--instance", "i.json"]) == 2
    assert said in capsys.readouterr().err


def test_an_invalid_one_of_two_is_named(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = msgspec.structs.replace(APART, rejected=())
    write_schedule(broken, files / "b.json")
    assert run(["show", "a.json", "b.json", "--instance", "i.json", "-o", "cmp.html"]) == 0
    assert "b.json: not valid" in capsys.readouterr().err
    page = (files / "cmp.html").read_text()
    assert "B: other breaks rules" in page
    assert 'class="lead broken" id="chart-words">B: other is not valid: ' in page
