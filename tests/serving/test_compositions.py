"""Requests that combine adapters: their images, their limits, their log, and who waits for whom."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from PIL import Image
from starlette.testclient import TestClient
from typing_extensions import override

from pats_opt.errors import InputError
from pats_opt.execute.adapter_set import AdapterPart, AdapterSet
from pats_opt.execute.adapters import make_adapters
from pats_opt.execute.engine import open_engine
from pats_opt.execute.options import Options
from pats_opt.execute.work import EngineSettings, Finished, MeasuredRun, Member
from pats_opt.generate import profile
from pats_opt.generate.recipe import Recipe
from pats_opt.importers.trace import import_trace
from pats_opt.model.checker import check
from pats_opt.report.served_log import served_instances
from pats_opt.serving import timed
from pats_opt.serving.client import ReplaySettings, body_of
from pats_opt.serving.model import ServerModel
from pats_opt.serving.settings import RequestLimits, ServerSettings
from pats_opt.serving.timed import TimedEngine
from pats_opt.solving.solve import solve
from tests.serving.running import PATH, body, journal_in, model, pictures, samples, served
from tests.serving.test_queue import TIMES, Gate, in_background, until


def combined(*parts: tuple[str, float], prompt: str = "a corgi", **others: Any) -> dict[str, Any]:
    """A request that combines adapters."""
    adapters = [{"name": name, "scale": scale} for name, scale in parts]
    return body(prompt, pats_opt={"adapters": adapters, **others})


BOTH = (("a", 0.8), ("b", -0.5))


def adapter_of(answer: Any) -> str:
    """The adapter that made an image, as its file says."""
    assert answer.status_code == 200, answer.text
    found: str = pictures(answer.json())[0].text["pats-opt:adapter"]  # type: ignore[attr-defined]
    return found


def refusal(client: TestClient, request: dict[str, Any]) -> tuple[int, str]:
    """Status and message of a request that is refused."""
    answer = client.post(PATH, json=request)
    return answer.status_code, answer.json()["error"]["message"]


def test_combinations_are_adapters_of_their_own(tmp_path: Path) -> None:
    """The order does not matter; one adapter as it is, is no combination."""
    with served(tmp_path) as (client, service):
        first = adapter_of(client.post(PATH, json=combined(*BOTH)))
        assert first == "0.8*a+-0.5*b"
        assert adapter_of(client.post(PATH, json=combined(*BOTH[::-1]))) == first
        assert adapter_of(client.post(PATH, json=combined(("a", 0.5)))) == "0.5*a"
        assert adapter_of(client.post(PATH, json=combined(("a", 1.0)))) == "a"
        assert service.models == ("base", "a", "b")  # they have no name


def test_the_fake_model_loads_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A combination takes the load time of its parts, as the policy expects."""
    slept = list[float]()
    monkeypatch.setattr(timed, "time", SimpleNamespace(sleep=slept.append))
    parts = (AdapterPart("a", 0.5), AdapterPart("b"))
    settings = EngineSettings(
        model="fake",
        device="cpu",
        dtype="float32",
        guidance=5.0,
        adapter_files={"a": "", "b": ""},
        compositions={"hero": parts},
        slots=2,
    )
    engine = TimedEngine(replace(TIMES, load_s=3.0), settings, lambda: 0.0)
    engine.fill("a")
    engine.fill("hero")
    engine.change_adapters(AdapterSet(compositions={"a+b": parts}), ["hero"])
    engine.fill("a+b")
    assert slept == [3.0, 6.0, 6.0]


BAD: list[tuple[dict[str, Any], int, str]] = [
    (combined(), 400, "adapters"),
    (combined(("a", 1.0), ("b", 1.0), ("c", 1.0)), 400, "3 are more than the 2 allowed"),
    (combined(("a", 1.0), ("a", 2.0)), 400, "once"),
    (combined(("a", 11.0)), 400, "from -10 to 10"),
    (combined(("a", -1e300)), 400, "from -10 to 10"),
    (combined(("a", 1.0), ("bb", 1.0)), 404, "did you mean 'b'"),
    (combined(("base", 0.5)), 400, "the bare model"),
    ({**combined(*BOTH), "model": "a"}, 400, "not both"),
    (body(pats_opt={"adapters": [{"scale": 1.0}]}), 400, "name"),
    (body(pats_opt={"adapters": [{"name": "a", "weight": 1.0}]}), 400, "weight"),
    (body(pats_opt={"adapters": "a"}), 400, "adapters"),
]


def test_bad_combinations(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        for request, status, told in BAD:
            found, message = refusal(client, request)
            assert (found, told in message) == (status, True), message


def test_a_combination_of_the_folder(tmp_path: Path) -> None:
    """One that has a name is asked for by it, or by its parts, but is no part itself."""
    parts = (AdapterPart("b", -0.5), AdapterPart("a", 0.8))
    made = model(tmp_path)
    adapters = AdapterSet(files=made.adapters.files, compositions={"hero": parts})
    made = ServerModel(
        recipe=made.recipe, profile=made.profile, options=made.options, adapters=adapters
    )
    with served(tmp_path, made=made) as (client, _):
        assert adapter_of(client.post(PATH, json=body(model="hero"))) == "hero"
        assert adapter_of(client.post(PATH, json=combined(*BOTH))) == "hero"
        assert "a composition itself" in refusal(client, combined(("hero", 0.5)))[1]


def test_unused_combinations_give_way(tmp_path: Path) -> None:
    """The least recently used of those for which nothing waits; where all are used, 429."""
    gate = Gate()
    with served(tmp_path, engine=gate, settings=ServerSettings(combinations=2)) as (
        client,
        service,
    ):
        gate.opened.set()
        for scale in (0.1, 0.2, 0.1, 0.3, 0.1):
            assert adapter_of(client.post(PATH, json=combined(("a", scale)))) == f"{scale}*a"
        queues = [name for name in samples(client) if name.startswith("pats_opt_waiting_images")]
        assert sorted(queues) == [
            f'pats_opt_waiting_images{{adapter="{name}"}}'
            for name in ("0.1*a", "0.3*a", "a", "b", "base")
        ]
        gate.opened.clear()
        some = in_background(client, combined(("a", 0.4)), combined(("a", 0.5)))
        until(lambda: service.pending == 2)
        answer = client.post(PATH, json=combined(("a", 0.6)))
        assert (answer.status_code, "retry-after" in answer.headers) == (429, True)
        assert answer.json()["error"]["code"] == "combinations_full"
        more = in_background(client, combined(("a", 0.4)), body(model="b"))
        until(lambda: service.pending == 4)
        gate.opened.set()
        assert [one.result().status_code for one in some + more] == [200] * 4


def test_the_log_has_the_scales(tmp_path: Path) -> None:
    """``import trace`` and ``gap-report --log`` read combinations back."""
    path = tmp_path / "log.jsonl"
    with served(tmp_path, log=path) as (client, _):
        for request in (combined(*BOTH), body(), body(model="a"), combined(("a", 0.5))):
            assert client.post(PATH, json=request).status_code == 200
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["adapter"], row["scales"]) for row in rows] == [
        (["a", "b"], [0.8, -0.5]),
        ([], []),
        (["a"], []),
        (["a"], [0.5]),
    ]
    imported = import_trace(path).instance
    assert [request.adapter for request in imported.requests] == ["a+b", "base", "a", "a"]
    played = body_of(imported.requests[0], ReplaySettings(url=""))
    assert "model" not in played
    assert played["pats_opt"]["adapters"] == combined(*BOTH)["pats_opt"]["adapters"]
    scales = [(request.extra or {}).get("adapter_scales") for request in imported.requests]
    assert scales == [{"a": 0.8, "b": -0.5}, None, None, {"a": 0.5}]
    (instance,) = served_instances(path, 1e9)
    known = {adapter.id: adapter for adapter in instance.adapters}
    assert set(known) == {"base", "a", "b", "0.8*a+-0.5*b", "0.5*a"}
    assert known["0.8*a+-0.5*b"].vram_gib == pytest.approx(2 * known["a"].vram_gib)
    found = solve(instance, "served")
    assert check(instance, found.schedule).ok


def test_a_job_with_a_combination_survives(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    with served(tmp_path, engine=Gate(), journal=journal_in(folder)) as (client, _):
        job = client.post("/v1/jobs", json=combined(*BOTH)).json()
        until(lambda: samples(client).get("pats_opt_running_images") == 1)
    with served(tmp_path, journal=journal_in(folder)) as (client, _):
        until(lambda: client.get(f"/v1/jobs/{job['id']}").json()["status"] == "done")
        data = client.get(f"/v1/jobs/{job['id']}").json()["result"]["data"][0]["b64_json"]
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        assert image.text["pats-opt:adapter"] == "0.8*a+-0.5*b"  # type: ignore[attr-defined]


class Reader(TimedEngine):
    """An engine that waits before it reads adapters, and reads none with a scale of 9."""

    opened = threading.Event()

    @override
    def change_adapters(self, added: AdapterSet, removed: Collection[str]) -> None:
        assert self.opened.wait(300)
        if any(part.scale == 9.0 for parts in added.compositions.values() for part in parts):
            raise InputError("it is broken")

    @override
    def run(self, members: Sequence[Member], finished: Callable[[Finished], None]) -> MeasuredRun:
        if any(member.prompt == "die" for member in members) and not self.opened.is_set():
            self.opened.set()
            raise RuntimeError("the device is gone")
        return super().run(members, finished)


def open_reader(settings: EngineSettings, clock: Callable[[], float]) -> Reader:
    """Open one."""
    return Reader(TIMES, settings, clock)


def test_requests_wait_until_every_worker_has_read(tmp_path: Path) -> None:
    """Others do not wait for them."""
    Reader.opened.clear()
    with served(tmp_path, engine=open_reader, gpus=2) as (client, service):
        some = in_background(client, combined(*BOTH), combined(("a", 0.5)))
        until(lambda: service.pending == 2)
        assert client.post(PATH, json=body(model="a")).status_code == 200
        assert service.pending == 2
        Reader.opened.set()
        assert [one.result().status_code for one in some] == [200, 200]


def test_a_worker_that_dies_while_it_reads(tmp_path: Path) -> None:
    """The next one reads what was asked for meanwhile."""
    Reader.opened.clear()
    with served(tmp_path, engine=open_reader) as (client, service):
        waits = in_background(client, combined(*BOTH))
        until(lambda: service.pending == 1)
        assert client.post(PATH, json=body("die")).status_code == 200
        assert adapter_of(waits[0].result()) == "0.8*a+-0.5*b"


def test_a_combination_that_cannot_be_read(tmp_path: Path) -> None:
    """What asks for it fails, and nothing else."""
    Reader.opened.set()
    with served(tmp_path, engine=open_reader, gpus=2) as (client, service):
        assert client.post(PATH, json=combined(("a", 9.0))).status_code == 500
        assert client.post(PATH, json=combined(("a", 9.0))).status_code == 500
        assert client.post(PATH, json=combined(("a", 8.0))).status_code == 200
        assert (service.pending, len(service.devices)) == (0, 2)


def test_tiny_combines_as_the_engine_does(tmp_path: Path) -> None:
    """Bit for bit, so as ``set_adapters`` of diffusers does."""
    files = make_adapters("tiny", ["a", "b"], tmp_path)
    recipe = Recipe()
    made = ServerModel(
        recipe=recipe,
        profile=profile.of(recipe.service),
        options=Options(model="tiny", devices=("cpu",), shrink=16, guidance=5.0, threads=1),
        adapters=AdapterSet(files=files),
    )
    settings = ServerSettings(limits=RequestLimits(parts=2))
    request = {**combined(*BOTH), "size": "1024x1024"}
    with served(tmp_path, made=made, settings=settings) as (client, _):
        (answer,) = pictures(client.post(PATH, json=request).json())
        (other,) = pictures(client.post(PATH, json={**body(model="a"), "size": "1024x1024"}).json())
    parts = tuple(AdapterPart(*part) for part in BOTH)
    own = EngineSettings(
        model="tiny",
        device="cpu",
        dtype="float32",
        guidance=5.0,
        adapter_files=files,
        compositions={"x": parts},
        slots=1,
        resident=("x",),
        threads=1,
    )
    engine = open_engine(own, lambda: 0.0)
    member = Member(
        id="x",
        option=0,
        adapter="x",
        prompt="a corgi",
        negative_prompt="",
        seed=1,
        width=64,
        height=64,
        steps=5,
    )
    found: list[Finished] = []
    engine.run([member], found.append)
    assert answer.tobytes() == found[0].picture.tobytes() != other.tobytes()
