"""The command line: exit statuses, one JSON object, one-line errors (PROBLEM.md section 8)."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from pats_opt.cli import COMMANDS, group, run

DOCUMENT: dict[str, Any] = {
    "format": "pats-opt/instance",
    "version": 1,
    "name": "commands",
    "tick_s": 1.2,
    "base_vram_gib": 7.0,
    "gpus": [{"id": "gpu-0", "capacity": {"vram_gib": 40.0, "batch": 8}}],
    "adapters": [
        {"id": "a", "vram_gib": 0.2, "load_s": 1.16},
        {"id": "b", "vram_gib": 0.2, "load_s": 1.16},
    ],
    "switching": {"max_resident": 1, "price_per_s": 1.0},
    "service": {"kind": "steps", "step_s": {"base": 0.06, "per_sample": 0.0}},
    "latency_price_per_s": 0.05,
    "requests": [
        {
            "id": f"../r{i}",
            "arrival_s": 1.0 * i,
            "adapter": "ab"[i % 2],
            "demand": {"vram_gib": 4.0, "batch": 1},
            "options": [{"steps": 20, "quality": 0.97}, {"steps": 60, "quality": 1.0}],
            "complexity": 0.2,
        }
        for i in range(4)
    ],
}


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    """A small valid instance file."""
    path = tmp_path / "instance.json"
    path.write_text(json.dumps(DOCUMENT))
    return path


@pytest.mark.parametrize("as_json", [(), ("--json",)])
@pytest.mark.parametrize("tick_s", [1.2, 0.02])
def test_what_a_tick_distorts_is_said_beside_results(
    tick_s: float, as_json: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on standard error; nothing where the tick is fine."""
    path, schedule = str(tmp_path / "instance.json"), str(tmp_path / "schedule.json")
    Path(path).write_text(json.dumps({**DOCUMENT, "tick_s": tick_s}))
    said = (
        "pats-opt: note: a tick of 1.2 s distorts: the shortest load takes 1.16 s and becomes "
        "1.2 s; a step takes 0.06 s and a batch becomes up to 1.2 s longer\n"
    )
    for arguments in (
        ("solve", path, "--solver", "fifo", "-o", schedule),
        ("simulate", path, "--policy", "fifo"),
        ("check", path, schedule),
    ):
        assert run([*arguments, *as_json]) == 0
        out, err = capsys.readouterr()
        assert err == (said if tick_s == 1.2 else "")
        assert "a tick of" not in out


def test_solve_then_check_agree(
    instance: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Solve writes a schedule that check finds valid, with the same loss; JSON has all keys."""
    schedule = tmp_path / "out" / "schedule.json"
    assert run(["solve", str(instance), "-o", str(schedule), "--json"]) == 0
    solved = json.loads(capsys.readouterr().out)
    wanted = {"solver", "status", "loss", "bound", "gap", "utility", "runtime_s", "metrics"}
    assert wanted <= set(solved)
    assert solved["status"] == {"stop": "optimal", "point": "optimal"}
    assert solved["gap"] == pytest.approx(0, abs=1e-6)
    assert run(["check", str(instance), str(schedule), "--json"]) == 0
    checked = json.loads(capsys.readouterr().out)
    assert set(checked) == {"ok", "violations", "loss", "terms"}
    assert (checked["ok"], checked["violations"]) == (True, [])
    assert checked["loss"] == pytest.approx(solved["loss"])
    assert sum(checked["terms"].values()) == pytest.approx(checked["loss"])


@pytest.mark.parametrize("command", ["check", "show", "export", "execute"])
def test_a_missing_file_is_said_before_another_is_read(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first file may be large; here it is broken, which only reading it shows."""
    broken, missing = tmp_path / "broken.json", tmp_path / "missing.json"
    broken.write_text("{")
    named = {"check": f"{broken} {missing}", "export": f"bin-packing {missing} --instance {broken}"}
    line = named.get(command, f"{missing} --instance {broken}")
    assert run([command, *line.split()]) == 2
    assert f"{missing}: no such file" in capsys.readouterr().err


def test_utility_is_the_documents(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Utility is the sum of weight x best quality minus the loss."""
    assert run(["solve", str(instance), "--solver", "fifo", "--json"]) == 0
    solved = json.loads(capsys.readouterr().out)
    assert solved["utility"] == pytest.approx(4 * 1.0 - solved["loss"])


def test_check_lists_violations(
    instance: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tampered schedule exits with 3 and tells every violation."""
    schedule = tmp_path / "schedule.json"
    assert run(["solve", str(instance), "--solver", "fifo", "-o", str(schedule)]) == 0
    document = json.loads(schedule.read_text())
    document["gpus"][0]["batches"][0]["requests"][0]["completion"] += 1
    document["gpus"][0]["batches"][1]["load"] = []
    schedule.write_text(json.dumps(document))
    capsys.readouterr()
    assert run(["check", str(instance), str(schedule), "--json"]) == 3
    checked = json.loads(capsys.readouterr().out)
    assert not checked["ok"]
    assert {2, 5} <= {violation["rule"] for violation in checked["violations"]}


def test_check_refuses_another_instance(
    instance: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A schedule is never read against another instance."""
    schedule, other = tmp_path / "schedule.json", tmp_path / "other.json"
    other.write_text(json.dumps({**DOCUMENT, "latency_price_per_s": 0.06}))
    assert run(["solve", str(instance), "--solver", "fifo", "-o", str(schedule)]) == 0
    capsys.readouterr()
    assert run(["check", str(other), str(schedule)]) == 2
    assert "another instance" in capsys.readouterr().err


def broken(**changes: Any) -> dict[str, Any]:
    """The valid document with changes."""
    return {**copy.deepcopy(DOCUMENT), **changes}


def request(**changes: Any) -> dict[str, Any]:
    """The valid document whose first request has changes."""
    document = copy.deepcopy(DOCUMENT)
    document["requests"][0].update(changes)
    return document


@pytest.mark.parametrize(
    ("document", "status", "told"),
    [
        ("{", 2, "line 1"),
        ("[]", 2, "an object"),
        (json.dumps(broken(tick_s="1")), 2, "tick_s"),
        (json.dumps(broken(colour=1)), 2, "colour"),
        (json.dumps(request(adapter="c")), 2, "requests[0].adapter"),
        (json.dumps(request(weight=-1)), 2, "requests[0].weight"),
        (json.dumps(request(arrival_s=float("nan"))), 2, "NaN"),
        (json.dumps(request(id="../r1")), 2, "requests[1].id"),
        (json.dumps(request(demand={"vram_gib": 400.0})), 3, "fits no GPU"),
        (json.dumps(broken(horizon_ticks=1)), 3, "horizon_ticks"),
    ],
)
def test_bad_input_is_one_line(
    document: str, status: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad input exits with its status and one line that names the file or request and the place."""
    path = tmp_path / "bad.json"
    path.write_text(document)
    assert run(["solve", str(path), "--json"]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert told in err
    assert status == 3 or str(path) in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["slove", "x"], "solve"),
        (["solve", "{instance}", "--solver", "mlip"], "milp"),
        (["solve", "{instance}", "--solver", "milp:backend=gurobi"], "backend"),
        (["solve", "{instance}", "--solver", "milp", "--param", "bakend=cbc"], "backend"),
        (["solve", "{instance}", "--time-limit", "0"], "time-limit"),
        (["solve", "{instance}", "--time-limit", "nan"], "time-limit"),
        (["solve", "{instance}", "--seed", "-1"], "seed"),
        (["solve", "{folder}"], "folder"),
        (["solve", "{folder}/none.json"], "no such file"),
        (["solve", "{instance}", "--solver", "fifo", "-o", "{instance}/s.json"], "written"),
        (["check", "{instance}", "{instance}"], "instance.json"),
        (["simulate", "{instance}"], "policy"),
        (["simulate", "{instance}", "--policy", "milp"], "milp"),
    ],
)
def test_bad_usage_is_one_line(
    arguments: list[str], told: str, instance: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad usage exits with 2 and one line that helps."""
    filled = [a.format(instance=instance, folder=instance.parent) for a in arguments]
    assert run(filled) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert told in err


def test_an_empty_instance_costs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No requests: loss 0, gap 0, for every kind of solver."""
    path = tmp_path / "empty.json"
    path.write_text(json.dumps(broken(requests=[])))
    for solver in ("auto", "milp", "cpsat", "pats", "fifo"):
        assert run(["solve", str(path), "--solver", solver, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["loss"] == 0


def test_solvers_lists_every_name(capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON list has the keys of the contract and tells policies from solvers."""
    assert run(["solvers", "--json"]) == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert {"auto", "milp", "cpsat", "pats", "fifo"} <= set(found)
    online = {name for name, entry in found.items() if entry["online"]}
    assert {"pats", "fifo", "price-index"} <= online
    assert online == {name for name, entry in found.items() if entry["kind"] == "online"}
    assert not online & {"auto", "milp", "cpsat", "belady"}
    assert all({"name", "kind", "online", "capabilities"} <= set(e) for e in found.values())
    assert {e["kind"] for e in found.values()} <= {"exact", "bound", "heuristic", "online"}


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command has help; the overview lists them all."""
    assert run(["--help"]) == 0
    overview = capsys.readouterr().out
    for name in COMMANDS:
        assert name in overview
        assert run([name, "--help"]) == 0
        assert "Usage" in capsys.readouterr().out


def test_a_policy_without_a_schedule_exits_with_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A policy that cannot meet a hard horizon stops without a schedule; an optimum exists."""
    path = tmp_path / "tight.json"
    document = broken(horizon_ticks=8)  # fifo alternates adapters and full steps: too slow
    path.write_text(json.dumps(document))
    assert run(["solve", str(path), "--solver", "milp", "--json"]) == 0
    capsys.readouterr()
    assert run(["solve", str(path), "--solver", "fifo"]) == 4
    assert capsys.readouterr().err.count("\n") == 1


def test_verbose_logs_to_standard_error(instance: Path) -> None:
    """``-v`` tells what is solved and how it ends, and leaves ``--json`` alone."""
    command = [sys.executable, "-m", "pats_opt", "-v", "solve", str(instance), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["loss"] > 0
    assert "4 requests, 2 adapters, 1 GPUs; solver auto" in done.stderr
    assert "stopped: optimal" in done.stderr


def test_a_parameter_may_hold_a_spec(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--param`` a colon in the value is no end of it."""
    given = ["--param", "policy=exhaustive:route=cyclic", "--json"]
    assert run(["solve", str(instance), "--solver", "belady", *given]) == 0
    assert json.loads(capsys.readouterr().out)["params"] == {"policy": "exhaustive:route=cyclic"}


def test_solving_and_reporting_never_import_the_model(tmp_path: Path) -> None:
    """Torch, diffusers and peft are an extra: what needs no model does not import them."""
    instance = str(Path(__file__).parents[2] / "instances" / "demo" / "demo-slot-s0.json")
    report = ["gap-report", instance, "--solvers", "fifo", "-o", str(tmp_path / "report")]
    code = f"""
import sys
for name in ("torch", "diffusers", "peft", "transformers", "ray"):
    sys.modules[name] = None  # importing it fails
from pats_opt.cli import run
schedule = {str(tmp_path / "schedule.json")!r}
assert run(["solve", {instance!r}, "--solver", "pats", "-o", schedule]) == 0
assert run(["show", schedule, "--instance", {instance!r}, "-o", schedule + ".html"]) == 0
assert run({report!r}) == 0
import pats_opt.execute.compare
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_switch_that_is_not_given_leaves_the_default_to_the_command() -> None:
    """``--prune/--no-prune`` without a default of its own would mean no where the help says yes."""
    switches = {}
    for command in COMMANDS:
        found = group.get_command(click.Context(group), command)
        assert found is not None
        context = click.Context(found)
        for option in found.params:
            if option.secondary_opts:
                switches[command, option.name] = option.get_default(context)
    assert switches[("tune", "prune")] is None
    assert switches[("gap-report", "pictures")] is None
    assert switches[("execute", "graphs")] is True
    assert False not in switches.values()
