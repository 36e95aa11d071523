"""``trace.json``: what a viewer of trace events needs, and times that fit the execution."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pats_opt.execute.record import Execution, Pace, Phase
from pats_opt.execute.trace import BATCH, COMPUTE, LANES, QUEUE, SAVE, SWITCH
from tests.execute.runs import of, problem, run
from tests.support.zoo import request

Event = dict[str, Any]


@pytest.fixture
def made(tmp_path: Path) -> tuple[Execution, list[Event]]:
    """A paced run on two GPUs, and its trace."""
    outcome = run(tmp_path / "out", problem(9, gpus=2), pace=Pace.SCHEDULE)
    document = json.loads((tmp_path / "out" / "trace.json").read_bytes())
    return outcome.execution, document["traceEvents"]


def test_every_event_is_well_formed(made: tuple[Execution, list[Event]]) -> None:
    """Known phases, integer processes and lanes, finite times; waiting begins before it ends."""
    _, events = made
    pending: dict[str, float] = {}
    for event in events:
        assert event["ph"] in {"M", "X", "C", "b", "e", "i"}
        assert isinstance(event["pid"], int)
        assert isinstance(event["name"], str)
        if event["ph"] != "M":
            assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
            assert event["tid"] in LANES
        if event["ph"] == "b":
            pending[event["id"]] = event["ts"]
        if event["ph"] == "e":
            assert pending.pop(event["id"]) <= event["ts"]
    assert not pending


def test_gpus_are_named_processes(made: tuple[Execution, list[Event]]) -> None:
    """One process a GPU with its device and lanes, one for the queue."""
    _, events = made
    named = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert named == {QUEUE: "waiting requests", 1: "gpu-0 (fake cpu)", 2: "gpu-1 (fake cpu)"}
    lanes = [e["args"]["name"] for e in events if e["name"] == "thread_name" and e["pid"] == 1]
    assert lanes == list(LANES.values())


def test_spans_are_where_they_were(made: tuple[Execution, list[Event]]) -> None:
    """Each span and batch is an event in its lane, at its time, and a switch comes before."""
    execution, events = made
    lanes = {Phase.LOAD: SWITCH, Phase.STEP: COMPUTE, Phase.SAVE: SAVE}
    for pid, gpu in enumerate(execution.gpus, 1):
        mine = [e for e in events if e["pid"] == pid and e["ph"] == "X"]
        for phase, lane in lanes.items():
            expected = [
                (pytest.approx(1e6 * s.start_s, abs=1), pytest.approx(1e6 * s.seconds, abs=1))
                for batch in gpu.batches
                for s in batch.spans
                if s.phase is phase
            ]
            found = [
                (e["ts"], e["dur"])
                for e in mine
                if e["tid"] == lane and e["name"].startswith(phase.value)
            ]
            assert found == expected
        batches = [e for e in mine if e["tid"] == BATCH and "requests" in e["args"]]
        assert [e["args"]["batch"] for e in batches] == [b.index for b in gpu.batches]


def test_waiting_ends_where_batches_begin(made: tuple[Execution, list[Event]]) -> None:
    """From the arrival to the batch; the counter comes back to none."""
    execution, events = made
    ends = {e["id"]: e["ts"] for e in events if e["ph"] == "e"}
    for _, batch in execution.batches():
        for member in batch.members:
            assert ends[member.id] == pytest.approx(1e6 * batch.start_s, abs=1)
    begins = {e["id"]: e["ts"] for e in events if e["ph"] == "b"}
    assert begins == {f"r{i}": pytest.approx(1e4 * i) for i in range(9)}
    waiting = [e["args"]["requests"] for e in events if e["name"] == "waiting"]
    assert min(waiting) == waiting[-1] == 0


def test_failures_are_marked(tmp_path: Path) -> None:
    """With their reason."""
    run(tmp_path / "out", of(request("r0", prompt="fail"), request("r1")))
    document = json.loads((tmp_path / "out" / "trace.json").read_bytes())
    (mark,) = [e for e in document["traceEvents"] if e["ph"] == "i"]
    assert mark["name"] == "r0 failed"
    assert mark["args"] == {"error": "the prompt says so"}
