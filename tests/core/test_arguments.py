"""A newcomer's mistakes in Python: each is refused with what to write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pats_opt
from pats_opt.errors import InputError
from pats_opt.model.files import parse_instance
from pats_solvers.online.simple import Fifo
from tests.support.zoo import document, request

INSTANCE = parse_instance(json.dumps(document(request("r0"))))
RESULT = pats_opt.solve(INSTANCE, "fifo")

#: The functions with arguments of any type, as a user may call them.
solve: Callable[..., Any] = pats_opt.solve
within: Callable[..., Any] = pats_opt.solve_within
check: Callable[..., Any] = pats_opt.check
write_schedule: Callable[..., Any] = pats_opt.write_schedule
write_instance: Callable[..., Any] = pats_opt.write_instance


@pytest.mark.parametrize(
    ("mistake", "mend"),
    [
        (lambda: solve(INSTANCE, timelimit=3), "'time_limit'"),
        (lambda: solve(INSTANCE, "fifo", timeout=3), "'time_limit'"),
        (lambda: within(INSTANCE, 3, "fifo", sed=3), "'seed'"),
        (lambda: solve(INSTANCE, "fifo", time_limit="3"), "give seconds"),
        (lambda: solve(INSTANCE, "fifo", time_limit=float("nan")), "None for no limit"),
        (lambda: solve(INSTANCE, "fifo", seed=-1), "at least 0"),
        (lambda: solve(INSTANCE, "fifo", jobs=0), "at least 1"),
        (lambda: solve(INSTANCE, Fifo), "Fifo()"),
        (lambda: solve(INSTANCE, ["fifo"]), "give its name"),
        (lambda: solve(INSTANCE, Fifo(), option="fewest"), "'option'"),
        (lambda: solve(INSTANCE, "milp", start=RESULT.schedule), "Plan"),
        (lambda: solve("file.json"), "pats_opt.read_instance(path)"),
        (lambda: solve(Path("file.json"), "fifo"), "pats_opt.read_instance(path)"),
        (lambda: within("file.json", 3), "pats_opt.read_instance(path)"),
        (lambda: within(INSTANCE, "fifo"), "seconds"),
        (lambda: check("file.json", RESULT.schedule), "; read it: pats_opt.read_instance(path)"),
        (lambda: check(INSTANCE, RESULT), "; take result.schedule, or read it: pats_opt.read_s"),
        (lambda: check(INSTANCE, "file.json"), "pats_opt.read_schedule(path)"),
        (lambda: check(RESULT.schedule, INSTANCE), "expected Instance, got Schedule"),
        (lambda: write_schedule(RESULT, "x.json"), "give result.schedule"),
        (lambda: write_schedule(INSTANCE, "x.json"), "expected Schedule, got Instance"),
        (lambda: write_instance(RESULT.schedule, "x.json"), "expected Instance, got Schedule"),
    ],
)
def test_a_mistake_is_refused_with_its_mend(
    mistake: Callable[[], object], mend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        mistake()
    assert mend in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_numbers_of_numpy_are_numbers() -> None:
    limits: dict[str, Any] = {"time_limit": np.float32(9), "seed": np.int64(1), "jobs": np.int8(2)}
    assert solve(INSTANCE, "fifo", **limits).loss == RESULT.loss
