"""``pats-opt simulate``: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pats_opt.cli import run
from tests.support.terminal import in_terminal
from tests.support.zoo import adapter, document, gpu, request


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


def test_json_tables(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Besides the flat metrics, a table by adapter and the queue over time."""
    assert run(["simulate", str(instance), "--policy", "fifo", "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert all(not isinstance(value, dict | list) for value in told["metrics"].values())
    assert told["metrics"]["wait_max_s"] == 0.0
    (line,) = told["adapters"]
    assert (line["adapter"], line["served"], line["loss_share"]) == ("a", 2, 1.0)
    assert told["queue"]["span_s"] == 4.0
    assert told["queue"]["bucket_max"] == [0, 0, 0, 0]


def test_several_policies_are_a_table(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That of gap-report, the smallest gap first."""
    command = ["simulate", str(instance), "--policy", "fifo:option=most,pats"]
    assert run(command) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.startswith("solver")
    assert "gap to the best known" in head
    assert [line.split()[0] for line in (first, second)] == ["pats", "fifo:option=most"]
    assert run([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["against"] == "the best known"
    losses = [
        json.loads(capsys.readouterr().out)["loss"]
        for policy in ("pats", "fifo:option=most")
        if run(["simulate", str(instance), "--policy", policy, "--json"]) == 0
    ]
    gaps = [0.0, (losses[1] - losses[0]) / losses[1]]
    assert [row["gap"] for row in told["policies"]] == pytest.approx(gaps)


@pytest.mark.parametrize("extra", [["-o", "s.json"], ["--param", "gamma=1"]])
def test_what_is_for_one_policy(
    instance: Path, extra: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", str(instance), "--policy", "fifo,pats", *extra]) == 2
    assert "are for one policy" in capsys.readouterr().err


def test_text(instance: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For people: every term, the figures by what they are about, the decisions and their time."""
    schedule = str(tmp_path / "schedule.json")
    assert run(["simulate", str(instance), "--policy", "fifo", "-o", schedule]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines == [line.rstrip() for line in lines]
    assert "\x1b" not in printed
    told = dict(line.strip().split("  ", 1) for line in lines if line.startswith("  "))
    told = {name: text.strip() for name, text in told.items()}
    assert lines[0] == "fifo (eviction=lru, max_wait_s=None, adaptive_wait=False, prefetch=none, " \
        "dispatch=central, steal=False, rebalance=False, option=best, threshold=0.5)"  # fmt: skip
    assert told["loss"] == "5"
    assert told["served"] == "2 in 1 batch, 0 rejected, 0 late"
    assert told["terms"] == "quality 0, latency 5, late 0, switching 0, rejection 0"
    assert told["latency, s"] == "mean 2.5, p50 1, p95 4, p99 4, max 4"
    assert told["wait, s"] == "mean 0, p95 0, p99 0, max 0 (request r0)"
    assert told["time"] == "100 % serving, 0 % switching, 0 % idle, of 4 s"
    assert told["cache hits"] == "100 % of requests, 100 % of batches"
    assert told["worst"] == "a: p95 4 s"
    assert told["decisions"].startswith("1 in ")
    assert "starved" not in told
    for name in ("utility", "quality", "Jain's index", "queue"):
        assert name in told
    head, line = lines[-3].split(), lines[-2].split()
    assert head[:2] == ["adapter", "requests"]
    assert line[:3] == ["a", "2", "2.5"]
    assert lines[-1] == f"written to {schedule}"


@pytest.mark.parametrize("command", [["simulate", "--policy", "fifo"], ["solve", "--solver=fifo"]])
def test_service_by_group(
    command: list[str], instance: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both tell it, as text and as JSON, where there are groups; else they say nothing of it."""
    made = json.loads(instance.read_text())
    for group in ({}, {"group": "call"}):
        requests = [{**asked, **group} for asked in made["requests"]]
        instance.write_text(json.dumps({**made, "requests": requests}))
        assert run([*command, str(instance)]) == 0
        text = " ".join(capsys.readouterr().out.split())
        assert run([*command, str(instance), "--json"]) == 0
        metrics = json.loads(capsys.readouterr().out)["metrics"]
        if not group:
            assert "group" not in text + str(metrics)
            continue
        assert "group latency, s mean 4, p50 4, p95 4, p99 4, max 4" in text
        assert ("groups 1 served, 0 rejected" in text) == (command[0] == "simulate")
        assert (metrics["groups_served"], metrics["group_latency_max_s"]) == (1, 4.0)


def test_text_counts_the_starved(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", str(instance), "--policy", "fifo:max_wait_s=7.5"]) == 0
    assert "starved     0 waited longer than 7.5 s" in capsys.readouterr().out


def test_a_narrow_terminal_and_many_adapters(
    tmp_path: Path,
) -> None:
    """Columns and adapters that are left out are named; ids do not mark anything up."""
    names = ["[red]\x1b[31m", *(f"lora-{i}" for i in range(29))]
    path = tmp_path / "instance.json"
    requests = [request(f"r{i}", adapter=name) for i, name in enumerate(names)]
    made = document(*requests, gpus=[gpu(resident=())], adapters=[adapter(n) for n in names])
    path.write_text(json.dumps(made))
    shown = in_terminal(["simulate", str(path), "--policy", "fifo"], columns=60)
    assert shown.status == 0
    assert "[red]" in shown.text
    assert "\x1b[31m" not in shown.raw
    told = " ".join(shown.text.split())
    assert "not shown here, but with --json: 10 more adapters; " in told
    assert told.endswith("; batches; mean batch; rejected")


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


def test_a_time_limit_leaves_no_schedule(
    instance: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Part of a simulation is no schedule."""
    assert run(["simulate", str(instance), "--policy", "fifo", "--time-limit", "1e-9"]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "stopped (time-limit) without a schedule" in captured.err
