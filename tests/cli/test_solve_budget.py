"""``pats-opt solve --latency-budget``: what is printed and written, and its exit statuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pats_opt.cli import run
from pats_opt.model.files import encode
from tests.support.zoo import document, gpu, request

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def instance(tmp_path: Path) -> str:
    """Two requests at once, of 1 or 2 s each, one at a time: means of 3, 2 and 1.5 s."""
    options = [{"steps": 1, "quality": 0.7}, {"steps": 2, "quality": 1.0}]
    made = document(
        *(request(n, options=options, demand={"vram_gib": 1.0, "batch": 1}) for n in "pq"),
        gpus=[gpu(batch=1)],
        latency_price_per_s=0.01,
    )
    path = tmp_path / "instance.json"
    path.write_bytes(encode(made))
    return str(path)


def solved(capsys: Capture, *args: str) -> dict[str, Any]:
    """The one JSON object of a run that succeeds."""
    assert run(["solve", *args, "--solver", "dp", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_schedule_is_the_instances_own(instance: str, tmp_path: Path, capsys: Capture) -> None:
    """The written schedule is valid for the given file, with the loss at its own latency price."""
    schedule = str(tmp_path / "schedule.json")
    result = solved(capsys, instance, "--latency-budget", "2", "-o", schedule)
    assert run(["check", instance, schedule, "--json"]) == 0
    checked = json.loads(capsys.readouterr().out)
    assert checked["loss"] == pytest.approx(result["loss"]) == pytest.approx(0.3 + 0.01 * 4)
    budget = result["budget"]
    assert {k: budget[k] for k in ("measure", "budget_s", "met", "reached_s")} == {
        "measure": "mean",
        "budget_s": 2.0,
        "met": True,
        "reached_s": 2.0,
    }
    assert budget["lambda"] == pytest.approx(0.15)
    assert budget["bound"] == pytest.approx(0.3) == budget["loss_without_latency"]
    assert budget["curve"][-1]["lambda"] is None
    made_by = json.loads(Path(schedule).read_text())["solver"]["extra"]["latency_budget"]
    assert made_by == {"measure": "mean", "budget_s": 2.0, "lambda": budget["lambda"]}


def test_without_a_budget_nothing_is_said_of_one(instance: str, capsys: Capture) -> None:
    assert "budget" not in solved(capsys, instance)


def test_table(instance: str, capsys: Capture) -> None:
    """The text names the multiplier and marks the schedule's row of the curve."""
    args = ["solve", instance, "--latency-budget", "2.5", "--latency-measure", "p95"]
    assert run([*args, "--solver", "dp"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "budget      p95 latency 2.5 s, reached 2 s" in lines
    head = next(i for i, line in enumerate(lines) if line.startswith("curve"))
    marked = [line for line in lines[head + 2 :] if line.startswith("*")]
    assert len(marked) == 1
    assert len({len(line) for line in lines[head + 1 :]}) == 1


@pytest.mark.parametrize(
    ("args", "status", "told"),
    [
        (["--latency-budget", "0"], 2, "not in the range"),
        (["--latency-budget", "-3"], 2, "not in the range"),
        (["--latency-budget", "nan"], 2, "no number of seconds"),
        (["--latency-budget", "soon"], 2, "is no number"),
        (["--latency-measure", "p95"], 2, "add --latency-budget S"),
        (["--latency-budget", "2", "--latency-measure", "p50"], 2, "'mean', 'p95'"),
        (["--latency-budget", "1.4"], 3, "instance.json: 'zoo': proven: no schedule has a mean"),
        (["--latency-budget", "2", "--solver", "fifo:option=most"], 4, "has 3 s; raise the budget"),
    ],
)
def test_errors_are_one_line(
    args: list[str], status: int, told: str, *, instance: str, tmp_path: Path, capsys: Capture
) -> None:
    """Bad usage is 2, proven impossible 3, not reached 4; nothing is written."""
    schedule = tmp_path / "none.json"
    given = args if "--solver" in args else [*args, "--solver", "dp"]
    assert run(["solve", instance, *given, "-o", str(schedule)]) == status
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert told in error
    assert not schedule.exists()


def test_a_missed_budget_is_still_printed_as_json(instance: str, capsys: Capture) -> None:
    """With --json what came nearest is printed beside the error."""
    args = ["solve", instance, "--latency-budget", "2", "--solver", "fifo:option=most", "--json"]
    assert run(args) == 4
    budget = json.loads(capsys.readouterr().out)["budget"]
    assert (budget["met"], budget["reached_s"]) == (False, 3.0)
