"""``pats-opt warm-up``."""

from __future__ import annotations

import json

import pytest

from pats_opt.cli import run


def test_it_compiles_the_solvers_that_have_something_to_compile(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["warm-up", "lagrangian", "fifo", "local-search", "--jobs", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["solvers"] == ["lagrangian", "local-search"]
    assert run(["warm-up", "local-search", "--jobs", "1"]) == 0
    assert capsys.readouterr().out.startswith("1 solver is ready after ")


def test_unknown_names_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["warm-up", "lagrangan"]) == 2
    assert "lagrangian" in capsys.readouterr().err
