"""Status of a server: what waits and runs, by adapter and by GPU, and the last minutes."""

from __future__ import annotations

import json
from pathlib import Path

from pats_opt.execute.record import BatchRun, LoadRun
from pats_opt.serving.events import GpuWork
from pats_opt.serving.settings import ServerSettings
from pats_opt.serving.status import INTERVAL_S, INTERVALS, ServerStatus, StatusRecorder
from tests.serving.running import body, served
from tests.serving.test_queue import Gate, in_background, until


def batch(*seconds: float, load: tuple[str, ...] = (), evict: tuple[str, ...] = ()) -> GpuWork:
    """A batch of GPU 0: start of the switch, start, end."""
    switch, start, end = seconds
    return GpuWork(
        gpu=0,
        batch=BatchRun(
            index=0,
            load=load,
            evict=evict,
            switch_start_s=switch,
            start_s=start,
            end_s=end,
            members=(),
            spans=(),
            peak_gib=None,
        ),
    )


def at(history: StatusRecorder, second: float) -> ServerStatus:
    return history.status(second, (), [("gpu-0", "fake")], unix_s=second, ready=True)


def test_history() -> None:
    """Spans are spread over intervals, images are averaged, and what is old is forgotten."""
    history = StatusRecorder([("a",)])
    history.worked(batch(1.0, 3.0, 11.0, load=("b",), evict=("a",)))
    history.made(11.0, 2.0)
    history.made(11.5, 4.0)
    found = at(history, 12.0)
    assert found.gpus[0].switching[-3:] == (0.4, 0.0, 0.0)
    assert found.gpus[0].serving[-3:] == (0.4, 1.0, 0.2)
    assert found.gpus[0].resident == ("b",)
    assert (found.made[-2:], found.wait_s[-2:]) == ((0, 2), (None, 3.0))
    later = at(history, 12.0 + INTERVAL_S * (INTERVALS - 1))
    assert (later.made[0], sum(later.made), later.gpus[0].serving[0]) == (2, 2, 0.2)
    history.made(12.0 + INTERVAL_S * INTERVALS, 0.0)
    assert sum(at(history, 12.0 + INTERVAL_S * INTERVALS).made) == 1


def test_residents() -> None:
    """Loads beside batches count, and a worker that is lost begins with none."""
    history = StatusRecorder([()])
    load = LoadRun(index=0, adapter="b", start_s=0.0, seconds=1.0)
    history.worked(GpuWork(gpu=0, load=load))
    assert at(history, 1.0).gpus[0].resident == ("b",)
    history.lost(0)
    assert at(history, 1.0).gpus[0].resident == ()


def test_a_server(tmp_path: Path) -> None:
    gate = Gate()
    with served(tmp_path, engine=gate) as (client, service):
        some = in_background(client, body(model="a"))
        until(lambda: client.get("/v1/status").json()["running"] == 1)
        some += in_background(client, body(n=2, model="b"))
        until(lambda: service.pending == 3)
        found = client.get("/v1/status").json()
        assert found["queue"] == [
            {"adapter": "a", "waiting": 0, "running": 1},
            {"adapter": "b", "waiting": 2, "running": 0},
        ]
        (gpu,) = found["gpus"]
        assert (gpu["adapters"], gpu["images"]) == (["a"], 1)
        assert gpu["busy_s"] >= 0
        assert len(gpu["serving"]) == len(found["made"]) == INTERVALS
        gate.opened.set()
        assert [one.result().status_code for one in some] == [200, 200]
        until(lambda: client.get("/v1/status").json()["gpus"][0]["resident"] == ["a", "b"])
        found = client.get("/v1/status").json()
        assert (found["waiting"], found["running"], sum(found["made"])) == (0, 0, 3)
        assert found["queue"] == []


def test_the_page(tmp_path: Path) -> None:
    """It needs no key, as it has no figures itself, and may run no script but its own."""
    with served(tmp_path, settings=ServerSettings(keys=("one",))) as (client, _):
        answer = client.get("/")
        assert answer.headers["content-type"].startswith("text/html")
        policy = answer.headers["content-security-policy"]
        for part in ("default-src 'none'", "frame-ancestors 'none'", "connect-src 'self'"):
            assert part in policy
        assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
        assert client.get("/v1/status").status_code == 401
        assert client.get("/", headers={"host": "evil.example"}).status_code == 421
        assert client.post("/", content=json.dumps({})).status_code in (401, 405)
