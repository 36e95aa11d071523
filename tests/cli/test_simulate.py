"""``pats-opt simulate``: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pats_opt.cli import run
from tests.support.zoo import document, request


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    """Two requests, one of which can choose its steps."""
    options = [{"steps": 2, "quality": 0.5}, {"steps": 4, "quality": 1.0}]
    path = tmp_path / "instance.json"
    path.write_text(
        json.dumps(document(request("r0", options=options, complexity=0.4), request("r1")))
    )
    return path


def test_json(instance: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object with the loss, its terms, metrics and decisions; the schedule passes the check."""
    schedule = tmp_path / "schedule.json"
    arguments = ["--policy", "pats:gamma=0.5", "--param", "threshold=0.3", "--seed", "3"]
    assert run(["simulate", str(instance), *arguments, "-o", str(schedule), "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["solver"] == "pats"
    assert told["seed"] == 3
    assert told["params"]["gamma"] == 0.5
    assert told["params"]["threshold"] == 0.3
    # r1 leads (1 step against 4), r0 joins it: 1 + 4 seconds of latency, no quality lost.
    assert told["loss"] == 5.0
    assert told["terms"]["latency"] == 5.0
    assert told["metrics"]["served"] == 2
    assert told["details"]["decisions"] == 1
    assert told["details"]["events"] == 2
    assert run(["check", str(instance), str(schedule), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == 5.0


def test_text(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For people: every term, every metric, the decisions and their time."""
    assert run(["simulate", str(instance), "--policy", "fifo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = dict(line.strip().split("  ", 1) for line in lines)
    assert told["policy"].strip() == "fifo (option=best)"
    assert told["loss"].strip() == "5"
    assert told["decisions"].strip().startswith("1, ")
    for name in ("quality", "latency", "late", "switching", "rejection", "latency_p95_s"):
        assert name in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--policy", "fifoo"], "choose one of: fifo"),
        (["--policy", "fifo:option=worst"], "option"),
        (["--policy", "pats", "--param", "gama=1"], "it has: gamma"),
        (["--policy", "cpsat"], "'cpsat' is no online policy (exact)"),
        ([], "--policy"),
    ],
)
def test_refuses(
    instance: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    """Bad usage is one line on standard error, nothing on standard output, and status 2."""
    assert run(["simulate", str(instance), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert told in captured.err
    assert len(captured.err.splitlines()) == 1


def test_statuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """3 where no schedule exists, 4 where the policy misses a horizon that could be met."""
    path = tmp_path / "instance.json"
    large = request("r0", demand={"vram_gib": 99.0})
    path.write_text(json.dumps(document(large)))
    assert run(["simulate", str(path), "--policy", "fifo"]) == 3
    assert "'r0'" in capsys.readouterr().err
    # First come first served keeps the urgent one waiting: 2 + 3 ticks, but r1 could go first.
    steps = [request("r0", steps=3, demand={"vram_gib": 9.0})]
    steps.append(request("r1", steps=4, demand={"vram_gib": 9.0}))
    path.write_text(json.dumps(document(*steps, horizon_ticks=6)))
    assert run(["simulate", str(path), "--policy", "fifo"]) == 4
    assert "'r1' in time" in capsys.readouterr().err
