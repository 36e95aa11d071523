"""``pats-opt replay``: an open loop, counts of what came of each request, and the prediction."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from pats_opt.cli import run
from pats_opt.execute.workers import WorkerKind
from pats_opt.model.checker import check
from pats_opt.model.files import write_instance
from pats_opt.model.instance import Instance
from pats_opt.serving.client import ReplaySettings, body_of, replay
from pats_opt.serving.replaying import predict, summarize
from pats_opt.serving.settings import ServerSettings
from pats_opt.solving.solve import solve
from tests.execute.runs import of, policy_of
from tests.serving.running import listening
from tests.serving.test_queue import Gate, until
from tests.support.zoo import request


def load(count: int = 12, **others: Any) -> Instance:
    """Requests for the adapters of the test server, 2 ms apart; fewer steps are an option."""
    requests = [
        request(
            f"r{i}",
            steps=6,
            adapter=("a", "b", "base")[i % 3],
            arrival_s=0.002 * i,
            prompt=f"a corgi, {i}",
            seed=i,
            width=64,
            height=64,
            **others,
        )
        for i in range(count)
    ]
    service = {"kind": "steps", "step_s": {"base": 0.0001, "per_sample": 0.0}}
    return of(*requests, service=service).instance


def test_every_request_is_played(tmp_path: Path) -> None:
    instance = load()
    with listening(tmp_path) as (url, service):
        found = replay(instance, ReplaySettings(url=url, speed=2.0))
        assert service.pending == 0
    assert [one.id for one in found] == [r.id for r in instance.requests]
    assert [(one.status, one.error, one.steps) for one in found] == [(200, None, 6)] * 12
    assert all(one.arrival_s <= one.sent_s <= one.end_s for one in found)
    assert [one.arrival_s for one in found] == [0.001 * i for i in range(12)]
    summary = summarize(instance, found, 2.0, policy_of("fifo"))
    assert (summary.measured.served, summary.measured.errors, summary.errors) == (12, 0, {})
    assert summary.measured.quality_loss == 0.0
    price, seconds = instance.latency_price_per_s, [one.latency_s for one in found]
    assert summary.measured.latency_loss == pytest.approx(price * sum(seconds))
    assert summary.measured.latency_max_s == max(seconds)
    assert summary.predicted is not None
    assert summary.predicted.served == 12


def test_the_loop_is_open(tmp_path: Path) -> None:
    """All are sent while none is answered."""
    gate, instance, found = Gate(), load(), list[Any]()
    with listening(tmp_path, engine=gate) as (url, service):
        thread = threading.Thread(
            target=lambda: found.extend(replay(instance, ReplaySettings(url=url)))
        )
        thread.start()
        until(lambda: service.pending == 12)
        assert found == []
        gate.opened.set()
        thread.join(60)
    assert len(found) == 12


def test_errors_are_counted(tmp_path: Path) -> None:
    instance = load()
    with listening(tmp_path, settings=ServerSettings(keys=("one",))) as (url, _):
        found = replay(instance, ReplaySettings(url=url, key="one", model="c"))
    summary = summarize(instance, found)
    assert (summary.measured.served, summary.measured.errors) == (0, 12)
    assert list(summary.errors.values()) == [12]
    assert next(iter(summary.errors)).startswith("404: there is no adapter 'c'")
    assert (summary.measured.latency_mean_s, summary.measured.goodput_per_s) == (None, 0.0)


def test_the_prediction_is_the_simulators() -> None:
    """Its losses are those that the checker finds."""
    instance = load(8, deadline_s=0.003)
    found = predict(instance, policy_of("fifo"))
    result = solve(of_instance(instance), policy_of("fifo"))
    terms = check(of_instance(instance), result.schedule).terms
    assert terms is not None
    assert found.quality_loss == pytest.approx(terms.quality)
    assert found.late_loss == pytest.approx(terms.late)
    # Latencies count from the arrival itself, not from its tick.
    early = sum([-r.arrival_s % instance.tick_s for r in instance.requests])
    more = instance.latency_price_per_s * early
    assert found.latency_loss == pytest.approx(terms.latency + more, abs=1e-6)


def of_instance(instance: Instance) -> Any:
    """The problem of an instance."""
    from pats_opt.model.problem import Problem

    return Problem(instance)


def test_bodies() -> None:
    instance = load(1, deadline_s=2.0, negative_prompt="cats", weight=2.0)
    (one,) = instance.requests
    full = body_of(one, ReplaySettings(url=""))
    assert full["pats_opt"] == {
        "negative_prompt": "cats",
        "seed": 0,
        "steps": 6,
        "weight": 2.0,
        "deadline_s": 2.0,
    }
    plain = body_of(one, ReplaySettings(url="", plain=True, model="dall-e-3"))
    assert plain == {
        "model": "dall-e-3",
        "prompt": "a corgi, 0",
        "n": 1,
        "size": "64x64",
        "response_format": "b64_json",
    }


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    instance, out = tmp_path / "load.json", tmp_path / "out"
    write_instance(load(), instance)
    with listening(tmp_path, workers=WorkerKind.THREAD) as (url, _):
        command = ["replay", str(instance), "--url", url, "-o", str(out)]
        assert run([*command, "--predict", "fifo"]) == 0
        told = capsys.readouterr().out
        assert run([*command, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
    assert "predicted" in told
    assert "12 requests in" in told
    assert document["measured"]["served"] == 12
    lines = [json.loads(line) for line in (out / "requests.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"r{i}" for i in range(12)]
    assert json.loads((out / "summary.json").read_text())["requests"] == 12


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    instance = tmp_path / "load.json"
    write_instance(load(1), instance)

    def told(*arguments: str) -> str:
        assert run(["replay", *arguments, "-o", str(tmp_path / "out")]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert not (tmp_path / "out").exists()
        return said.err

    assert "no server answers" in told(str(instance), "--url", "http://127.0.0.1:1")
    assert "no address" in told(str(instance), "--url", "localhost")
    assert "no such file" in told("none.json")
    log = tmp_path / "log.csv"
    log.write_text("arrived,lora,prompt\n0,a,a corgi\n")
    assert "import trace" in told(str(log), "--predict", "fifo")
    with listening(tmp_path, settings=ServerSettings(keys=("one",))) as (url, _):
        assert "wants a key" in told(str(instance), "--url", url)
