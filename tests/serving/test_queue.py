"""Full queues, deadlines, clients that go away, failures, deaths and the end of a server."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from starlette.testclient import TestClient
from typing_extensions import override

from pats_opt.core.policy import Decide, State
from pats_opt.execute.work import EngineSettings, Finished, MeasuredRun, Member
from pats_opt.execute.workers import WorkerKind
from pats_opt.importers.trace import import_trace
from pats_opt.model.instance import StepTime
from pats_opt.model.problem import Site
from pats_opt.serving.api import ImageOrder, ImageRequest
from pats_opt.serving.log import RequestLog
from pats_opt.serving.service import ImageService
from pats_opt.serving.settings import ServerSettings
from pats_opt.serving.timed import EngineTimes, TimedEngine, open_timed
from pats_solvers.online.simple import Fifo
from tests.serving.running import PATH, body, model, samples, served

TIMES = EngineTimes(step_s=StepTime(base=1e-4, per_sample=0.0))


class Gate:
    """Holds every batch until it is opened; each of its members has taken three steps then."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def __call__(self, settings: EngineSettings, clock: Callable[[], float]) -> TimedEngine:
        """Open an engine that waits at the gate."""
        gate = self.opened

        class Held(TimedEngine):
            held: Mapping[str, int] = {}

            @override
            def run(
                self, members: Sequence[Member], finished: Callable[[Finished], None]
            ) -> MeasuredRun:
                self.held = {member.id: 3 for member in members}
                assert gate.wait(300)
                return super().run(members, finished)

            @override
            def progress(self) -> Mapping[str, int]:
                return self.held

        return Held(TIMES, settings, clock)


def until(reached: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 300
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.002)


def in_background(client: Any, *bodies: dict[str, Any]) -> list[Any]:
    """Post requests at the same time, in any order."""
    pool = ThreadPoolExecutor(len(bodies))
    return [pool.submit(client.post, PATH, json=one) for one in bodies]


def test_a_full_queue(tmp_path: Path) -> None:
    """More than fits is refused, with the seconds that the backlog takes; later there is room."""
    gate, settings = Gate(), ServerSettings(queue=6)
    with served(tmp_path, engine=gate, settings=settings, step_s=2.0) as (client, service):
        first = in_background(client, body(n=3))
        until(lambda: samples(client).get("pats_opt_running_images") == 3)
        first += in_background(client, body(n=2))
        until(lambda: service.pending == 5)
        refused = client.post(PATH, json=body(n=2))
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "queue_full"
        # Two wait: 5 steps of 2 s for a batch of four, so 2.5 s of a GPU for each.
        assert client.post(PATH, json=body(n=2)).headers["retry-after"] == "5"
        third = in_background(client, body())
        until(lambda: service.pending == 6)
        gate.opened.set()
        assert [one.result().status_code for one in first + third] == [200] * 3
        assert client.post(PATH, json=body(n=2)).status_code == 200
        assert samples(client)['pats_opt_rejections_total{code="queue_full"}'] == 2


def test_a_deadline_that_the_backlog_outlasts(tmp_path: Path) -> None:
    """Only where it is asked for; requests with later deadlines, or none, still wait."""
    gate, settings = Gate(), ServerSettings(reject_late=True)
    with served(tmp_path, engine=gate, settings=settings, step_s=2.0) as (client, service):
        running = in_background(client, body())
        until(lambda: samples(client).get("pats_opt_running_images") == 1)
        waiting = in_background(client, body(n=2))
        until(lambda: service.pending == 3)
        # Two wait for 5 s of a GPU in all, and the image itself takes 10 s.
        late = client.post(PATH, json=body(pats_opt={"deadline_s": 14.0}))
        assert (late.status_code, late.json()["error"]["code"]) == (429, "backlog")
        assert "about 15 s" in late.json()["error"]["message"]
        assert late.headers["retry-after"] == "5"
        waiting += in_background(client, body(pats_opt={"deadline_s": 60.0}))
        until(lambda: service.pending == 4)
        gate.opened.set()
        assert [one.result().status_code for one in running + waiting] == [200] * 3


def test_a_deadline_that_passes(tmp_path: Path) -> None:
    """What waits too long is answered at the last moment, and what runs is finished, late."""
    gate, log = Gate(), tmp_path / "log.jsonl"
    with served(tmp_path, engine=gate, log=log) as (client, service):
        short = {"deadline_s": 0.3}
        running = in_background(client, body("first", pats_opt=short))
        until(lambda: samples(client).get("pats_opt_running_images") == 1)
        waited = client.post(PATH, json=body("second", pats_opt=short))
        assert (waited.status_code, waited.json()["error"]["code"]) == (504, "deadline")
        gate.opened.set()
        assert running[0].result().json()["pats_opt"]["images"][0]["late"]
        assert service.pending == 0
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert {row["prompt"]: row["status"] for row in rows} == {"first": "late", "second": "expired"}


def test_until_its_deadline_a_request_is_worth_serving(tmp_path: Path) -> None:
    """However long it has waited, no policy leaves it out for what waiting costs."""
    with served(tmp_path) as (_, service):
        given = msgspec.convert(body(pats_opt={"deadline_s": 3600.0}), ImageRequest)

        async def accepted() -> ImageOrder:
            return service.accept(given)[0]

        assert service.loop is not None
        order = asyncio.run_coroutine_threadsafe(accepted(), service.loop).result()
    [request], site = order.images, service.problem.site
    best = max(option.quality for option in request.options)
    waiting = site.latency_price_per_s * 3600.0 + site.late_price
    assert waiting > 100 * best
    assert request.reject_loss == pytest.approx(best + waiting)


def test_a_request_fails_alone(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        some = in_background(client, body("fail: now"), body("a corgi"), body("a cat"))
        answers = [one.result() for one in some]
        assert [one.status_code for one in answers] == [500, 200, 200]
        assert "prompt" not in answers[0].text  # the reason is in the log, not for clients


def test_a_client_that_goes_away(tmp_path: Path) -> None:
    """Its place is free at once, what waits is not made, and the others are served."""
    gate, log = Gate(), tmp_path / "log.jsonl"
    with served(tmp_path, engine=gate, log=log) as (client, service):
        others = in_background(client, body("first"))
        until(lambda: samples(client).get("pats_opt_running_images") == 1)
        assert leave(client, service, body("gone", n=3), until_pending=4) is None
        until(lambda: service.pending == 1)
        others += in_background(client, body("last"))
        until(lambda: service.pending == 2)
        gate.opened.set()
        assert [one.result().status_code for one in others] == [200, 200]
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    states = {row["prompt"]: row["status"] for row in rows}
    assert states == {"first": "ok", "gone": "cancelled", "last": "ok"}
    assert {row["gpu"] for row in rows if row["prompt"] == "gone"} == {None}


def leave(
    client: TestClient, service: ImageService, sent: dict[str, Any], until_pending: int
) -> int | None:
    """Send a request and go away once it waits; the status of the answer, if any came."""
    data, told = json.dumps(sent).encode(), list[int]()
    parts = [{"type": "http.request", "body": data, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if parts:
            return parts.pop()
        while service.pending < until_pending:
            await asyncio.sleep(0.001)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start" and message["status"] != 499:
            told.append(message["status"])

    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    }
    loop = service.loop
    assert loop is not None

    async def ask() -> None:
        await client.app(scope, receive, send)

    asyncio.run_coroutine_threadsafe(ask(), loop).result(60)
    return told[0] if told else None


def test_draining(tmp_path: Path) -> None:
    """What was accepted is served, nothing new is accepted."""
    gate, ended = Gate(), threading.Event()
    with served(tmp_path, engine=gate) as (client, service):
        service.ended = ended.set
        some = in_background(client, body(n=3), body(n=3), body(model="b"))
        until(lambda: service.pending == 7)
        assert service.loop is not None
        service.loop.call_soon_threadsafe(service.drain)
        until(lambda: service.is_draining)
        refused = client.post(PATH, json=body())
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        assert client.get("/ready").status_code == 503
        assert not ended.is_set()
        gate.opened.set()
        assert [one.result().status_code for one in some] == [200] * 3
        assert ended.wait(60)


class Mortal(TimedEngine):
    """An engine that dies of prompts which begin with ``die``, as often as they say."""

    left: ClassVar[dict[str, int]] = {}

    @override
    def run(self, members: Sequence[Member], finished: Callable[[Finished], None]) -> MeasuredRun:
        deadly = {member.prompt for member in members if member.prompt.startswith("die")}
        left = {prompt: self.left.get(prompt, int(prompt.split()[1])) for prompt in deadly}
        self.left.update({prompt: max(0, count - 1) for prompt, count in left.items()})
        if any(left.values()):
            raise RuntimeError("the device is gone")
        return super().run(members, finished)


def open_mortal(settings: EngineSettings, clock: Callable[[], float]) -> Mortal:
    """Open one."""
    return Mortal(TIMES, settings, clock)


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_worker_that_dies(tmp_path: Path, gpus: int) -> None:
    """It is started again, and its requests are served again, once."""
    Mortal.left.clear()
    with served(tmp_path, engine=open_mortal, gpus=gpus) as (client, service):
        bodies = [body("die 1", n=4), body("a corgi"), body("die 2"), body("a cat", model="a")]
        answers = [one.result() for one in in_background(client, *bodies)]
        assert [one.status_code for one in answers] == [200, 200, 500, 200]
        assert "died" not in answers[2].text
        until(lambda: service.is_ready)
        deaths = [
            samples(client).get(f'pats_opt_worker_deaths_total{{gpu="gpu-{g}"}}', 0) for g in (0, 1)
        ]
        assert sum(deaths) in (2, 3)  # fewer where both that kill were in one batch


def test_a_worker_that_is_killed(tmp_path: Path) -> None:
    """So it is where workers are processes."""
    made = model(tmp_path, step_s=0.01, workers=WorkerKind.PROCESS)
    with served(tmp_path, made=made) as (client, service):
        some = in_background(client, body(pats_opt={"steps": 100}), body("a cat"))
        until(lambda: samples(client).get("pats_opt_running_images", 0) >= 1)
        kill_children()
        assert [one.result().status_code for one in some] == [200, 200]
        assert service.pending == 0


def kill_children() -> None:
    """Kill every worker process of this one."""
    import multiprocessing

    for process in multiprocessing.active_children():
        if process.name.startswith("worker-"):
            process.kill()


class Stumbling(Fifo, frozen=True, kw_only=True):
    """First come, first served, but it fails at its first decisions."""

    failures: ClassVar[list[int]] = [0]

    @override
    def start(self, site: Site, seed: int) -> Decide:
        decide = super().start(site, seed)

        def answer(state: State) -> Any:
            if self.failures[0]:
                self.failures[0] -= 1
                raise RuntimeError("an index is out of range")
            return decide(state)

        return answer


def test_a_policy_that_fails(tmp_path: Path) -> None:
    """It begins again and sees all that waits; one that goes on failing ends the server."""
    Stumbling.failures[0] = 2
    with served(tmp_path, policy=Stumbling()) as (client, service):
        assert client.post(PATH, json=body(n=2)).status_code == 200
        Stumbling.failures[0] = 100
        assert client.post(PATH, json=body()).status_code == 500
        until(lambda: service.error is not None)
        assert "an index is out of range" in str(service.error)
        assert client.post(PATH, json=body()).status_code == 503
        assert client.get("/health").status_code == 500


@pytest.mark.parametrize("policy", ["price-index", "pats", "exhaustive", "edd", "nirvana"])
def test_every_accepted_image_is_made_once(tmp_path: Path, policy: str) -> None:
    log = tmp_path / "log.jsonl"
    with served(tmp_path, policy=policy, log=log, gpus=2) as (client, _):
        bodies = [
            body(f"{i}", n=1 + i % 3, model=("base", "a", "b")[i % 3], pats_opt={"seed": i})
            for i in range(24)
        ]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda one: client.post(PATH, json=one), bodies))
        assert [len(one.json()["data"]) for one in answers] == [one["n"] for one in bodies]
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len({row["id"] for row in rows}) == len(rows) == sum(one["n"] for one in bodies)


def test_the_log_is_a_trace(tmp_path: Path) -> None:
    """``import trace`` reads it as it is: adapters, steps, sizes, groups, deadlines, prompts."""
    log = tmp_path / "log.jsonl"
    with served(tmp_path, log=log) as (client, _):
        client.post(PATH, json=body("a corgi", n=2, model="a"))
        client.post(PATH, json=body("a cat", size="512x256", pats_opt={"deadline_s": 50.0}))
        client.post(PATH, json=body("fail: x", model="b", pats_opt={"weight": 2.0}))
    found = import_trace(log)
    requests = found.instance.requests
    assert [r.adapter for r in requests] == ["a", "a", "base", "b"]
    assert [r.prompt for r in requests] == ["a corgi", "a corgi", "a cat", "fail: x"]
    assert requests[0].group == requests[1].group
    assert (requests[2].width, requests[2].height, requests[2].deadline_s) == (512, 256, 50.0)
    assert (requests[3].weight, requests[3].options[-1].steps) == (2.0, 5)
    assert any("status" in line for line in found.noticed)


def test_a_log_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"id": 0}\n{"id"')  # a kill left half a line
    with RequestLog(path, rotate_bytes=60, kept=2) as log:
        for i in range(1, 12):
            log.write({"id": i, "text": "x" * 20})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.1.jsonl", "log.2.jsonl", "log.jsonl"]
    assert json.loads(path.read_text().splitlines()[-1])["id"] == 11
    sizes = [len(p.read_bytes()) for p in tmp_path.iterdir()]
    assert max(sizes) < 130


def test_times_of_the_fake_model(tmp_path: Path) -> None:
    """They are those of the profile, and members leave when their steps are done."""
    engine = open_timed(EngineTimes.of(model(tmp_path, step_s=0.01).profile, None))
    began = time.monotonic()
    made = engine(
        EngineSettings(
            model="fake", device="cpu", dtype="float32", guidance=5.0, adapter_files={}, slots=1
        ),
        lambda: time.monotonic() - began,
    )
    left: list[tuple[str, float]] = []
    members = [
        Member(
            id=str(steps),
            option=0,
            adapter=None,
            prompt="x",
            negative_prompt="",
            seed=0,
            width=64,
            height=64,
            steps=steps,
        )
        for steps in (20, 5)
    ]
    made.run(members, lambda one: left.append((one.member.id, time.monotonic() - began)))
    assert [name for name, _ in left] == ["5", "20"]
    assert left[0][1] >= 0.05
    assert left[1][1] >= 0.2
