"""A misspelt name is answered with the nearest ones, wherever a name is chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pats_opt.cli import run
from pats_opt.errors import InputError
from pats_opt.model.checker import check
from pats_opt.model.files import parse_instance
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule
from pats_opt.nearest import MOST_LISTED, choose, meant, near, nearest
from pats_opt.solving.solve import solve
from tests.support.zoo import document, request

KNOWN = ["exhaustive", "fifo", "Pats"]


def test_near() -> None:
    """The nearest first, capitals aside, and none that is not alike."""
    assert near("pats", KNOWN) == ["Pats"]
    assert near("exhastive", KNOWN) == ["exhaustive"]
    assert near("zzz", KNOWN) == []


def test_texts() -> None:
    assert choose("fif", KNOWN) == "choose one of: fifo"
    assert choose("zzz", KNOWN) == "choose one of: exhaustive, fifo, Pats"
    assert meant("fif", KNOWN) == "did you mean 'fifo'?"
    assert meant("zzz", KNOWN) == ""


def test_a_long_list_is_cut() -> None:
    names = [f"adapter-{n}" for n in range(1000)]
    assert nearest("zzz", names).endswith(f"adapter-11 and {1000 - MOST_LISTED} more")


def instance(**changes: Any) -> dict[str, Any]:
    """A document of two requests, with changes."""
    return document(request("first"), request("second"), **changes)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (instance(latency_price=1.0), "or 'latency_price_per_s'?"),
        (instance(switching={"max_residents": 1}), "did you mean 'max_resident'?"),
        (document(request("r", adapter="aa")), "did you mean 'a'?"),
        (document(request("r", wieght=1)), "did you mean 'weight' or"),
        (
            instance(gpus=[{"id": "g", "capacity": {"vram_gib": 1.0}, "resident": ["aa"]}]),
            "did you mean 'a'?",
        ),
        (instance(something_else=1), "put it below 'extra'"),
    ],
)
def test_in_an_instance(wrong: dict[str, Any], expected: str) -> None:
    """Keys and ids in a file."""
    with pytest.raises(InputError) as error:
        parse_instance(json.dumps(wrong))
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("place", "wrong", "expected"),
    [
        (("gpus", 0, "id"), "gpu0", "GPU 'gpu0' is unknown; did you mean 'gpu-0'?"),
        (("gpus", 0, "batches", 0, "requests", 0, "id"), "frist", "did you mean 'first'?"),
        (("rejected",), ["secnd"], "did you mean 'second'?"),
        (("gpus", 0, "batches", 0, "evict"), ["A"], "adapter 'A' is unknown; did you mean 'a'?"),
        (("gpus", 0, "batches", 0, "evict"), ["a", "a"], "adapter 'a' is listed twice"),
    ],
)
def test_in_a_schedule(place: tuple[Any, ...], wrong: object, expected: str) -> None:
    """Ids that a schedule has and its instance does not."""
    problem = Problem(parse_instance(json.dumps(instance())))
    written = msgspec.to_builtins(solve(problem, "fifo").schedule)
    node: Any = written
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = wrong
    verdict = check(problem, msgspec.convert(written, Schedule))
    assert any(expected in violation.message for violation in verdict.violations)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["simulatee"], "simulate"),
        (["solve", "x", "--solvr", "dp"], "--solver"),
        (["solve", "{file}", "--solver", "lagrangan"], "lagrangian"),
        (["solve", "{file}", "--solver", "pats:gama=1"], "gamma"),
        (["solve", "{file}", "--solver", "pats", "--param", "gama=1"], "gamma"),
        (["solve", "{file}", "--backend", "hihgs"], "'highs'"),
        (["simulate", "{file}", "--policy", "exhastive"], "exhaustive"),
        (["gap-report", "--suite", "dmeo", "-o", "{folder}/r"], "demo"),
        (["gap-report", "{file}", "--solvers", "fifo,patss", "-o", "{folder}/r"], "pats"),
        (["gap-report", "--config", "{config}", "-o", "{folder}/r"], "did you mean 'solvers'?"),
        (["generate", "--suite", "dmeo", "-o", "{folder}/s"], "demo"),
        (["generate", "--profile", "a100-40", "-o", "{folder}/i.json"], "a100-40g"),
        (["generate", "--config", "{recipe}", "-o", "{folder}/i.json"], "did you mean 'requests'?"),
        (["import", "tsplb", "x"], "tsplib"),
        (["export", "grph", "{file}", "--instance", "{file}"], "'graph'"),
        (["solvers", "price-indx"], "price-index"),
        (["completion", "bsh"], "'bash'"),
    ],
)
def test_on_the_command_line(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit status 2, and the name that was meant."""
    paths = {
        name: tmp_path / f"{name}.{suffix}"
        for name, suffix in (("file", "json"), ("config", "toml"), ("recipe", "toml"))
    }
    paths["file"].write_text(json.dumps(instance()))
    paths["config"].write_text('solver = ["fifo"]\n')
    paths["recipe"].write_text("request = 3\n")
    assert run([a.format(folder=tmp_path, **paths) for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert expected in err
