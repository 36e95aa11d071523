"""The watched folder of adapters: files that come, change, go and are broken."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from starlette.testclient import TestClient
from typing_extensions import override

from pats_opt.errors import InputError
from pats_opt.execute.adapter_set import AdapterPart, AdapterSet
from pats_opt.execute.adapters import MAPPING, adapters_in, make_adapters
from pats_opt.execute.options import Options
from pats_opt.execute.record import Tier
from pats_opt.execute.work import EngineSettings, Finished, MeasuredRun, Member
from pats_opt.execute.workers import WorkerKind
from pats_opt.generate import profile
from pats_opt.generate.recipe import Recipe
from pats_opt.serving.api import ImageRequest
from pats_opt.serving.folder import AdapterFolder
from pats_opt.serving.model import ServerModel
from pats_opt.serving.settings import ServerSettings
from pats_opt.serving.timed import TimedEngine
from tests.execute.fakes import FakeEngine
from tests.serving.running import PATH, body, model, samples, served
from tests.serving.test_compositions import adapter_of, combined
from tests.serving.test_queue import TIMES, Gate, in_background, until

#: Looks often.
OFTEN = ServerSettings(watch_s=0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the adapters ``a`` and ``b``; nobody reads their content."""
    found = tmp_path / "adapters"
    found.mkdir()
    for name in "ab":
        write(found, name)
    return found


def write(folder: Path, name: str, content: str = "right") -> None:
    """Put a file in its place at once."""
    draft = folder / "draft"
    draft.write_text(content)
    draft.rename(folder / f"{name}.safetensors")


def watching(folder: Path, **options: Any) -> dict[str, Any]:
    """Arguments of a server that watches a folder."""
    made = model(folder.parent, adapters=str(folder), **options)
    return {"made": replace(made, adapters=adapters_in(folder)), "settings": OFTEN}


def names(client: TestClient) -> list[str]:
    """The adapters that are served."""
    return [one["id"] for one in client.get("/v1/models").json()["data"]]


def made_by(client: TestClient, name: str) -> str:
    """The id of the adapter that makes an image for a name."""
    return adapter_of(client.post(PATH, json=body(model=name)))


def test_a_file_that_comes_and_goes(tmp_path: Path, folder: Path) -> None:
    """What was accepted before it went is still served."""
    gate = Gate()
    gate.opened.set()
    with served(tmp_path, engine=gate, **watching(folder, gpus=2)) as (client, service):
        assert client.post(PATH, json=body(model="c")).status_code == 404
        write(folder, "c")
        until(lambda: "c" in names(client))
        assert made_by(client, "c") == "c"
        assert adapter_of(client.post(PATH, json=combined(("c", 0.5), ("a", 1.0)))) == "1.0*a+0.5*c"
        gate.opened.clear()
        some = in_background(client, *[body(f"{i}", model="c", n=4) for i in range(4)])
        until(lambda: service.pending == 16)
        (folder / "c.safetensors").unlink()
        until(lambda: "c" not in names(client))
        for request in (body(model="c"), combined(("c", 0.5), ("a", 1.0))):
            answer = client.post(PATH, json=request)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
        assert client.get("/v1/models/c").status_code == 404
        gate.opened.set()
        assert [adapter_of(one.result()) for one in some] == ["c"] * 4
        write(folder, "c", "another")
        until(lambda: "c" in names(client))
        assert made_by(client, "c") == "c@2"


def test_a_file_that_changes(tmp_path: Path, folder: Path) -> None:
    """It is another adapter of the problem; what waits has the one that it was accepted with."""
    gate, path = Gate(), tmp_path / "log.jsonl"
    (folder / MAPPING).write_text(json.dumps({"hero": [{"name": "a", "scale": 0.5}]}))
    with served(tmp_path, engine=gate, log=path, **watching(folder)) as (client, service):
        before = in_background(client, body(n=4), body(model="a"), body(model="hero"))
        until(lambda: service.pending == 6)
        write(folder, "a", "another")
        named = ImageRequest(prompt="a corgi", model="hero")
        until(lambda: service.adapters.choose(named).adapter.id == "hero@2")
        after = in_background(client, body(model="a"), body(model="hero"), combined(("a", 0.5)))
        until(lambda: service.pending == 9)
        gate.opened.set()
        assert [adapter_of(one.result()) for one in before[1:]] == ["a", "hero"]
        assert [adapter_of(one.result()) for one in after] == ["a@2", "hero@2", "hero@2"]
        assert names(client) == ["base", "a", "b", "hero"]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    hero = next(row for row in rows if row["model"] == "hero@2")
    assert (hero["adapter"], hero["scales"]) == (["a@2"], [0.5])
    assert "hero@2" in {adapter["id"] for adapter in hero["adapters"]}


def test_the_mapping_is_followed(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One that is broken changes nothing, and is said once."""

    def put(mapping: Any) -> None:
        (folder / "draft").write_text(json.dumps(mapping))
        (folder / "draft").rename(folder / MAPPING)

    with caplog.at_level(logging.WARNING), served(tmp_path, **watching(folder)) as (client, _):
        put({"hero": [{"name": "a", "scale": 0.5}, {"name": "b"}]})
        until(lambda: "hero" in names(client))
        assert made_by(client, "hero") == "hero"
        put({"hero": [{"name": "a"}, {"name": "b"}]})
        until(lambda: made_by(client, "hero") == "hero@2")
        put({"hero": 3})
        until(lambda: samples(client)["pats_opt_adapter_errors_total"] == 1)
        assert made_by(client, "hero") == "hero@2"
        put({"hero": [{"name": "a"}, {"name": "gone"}]})
        until(lambda: "hero" not in names(client))
        put({"other": "b.safetensors"})
        until(lambda: names(client) == ["base", "a", "other"])
        assert samples(client)["pats_opt_adapter_errors_total"] == 2
    told = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(told) == 2
    assert "no mapping of adapter ids" in told[0]
    assert "'gone', which is no adapter file" in told[1]


class Mortal(TimedEngine):
    """An engine that dies at a request that says so, once."""

    def __init__(self, settings: EngineSettings, clock: Callable[[], float]) -> None:
        super().__init__(TIMES, settings, clock)

    @override
    def run(self, members: Sequence[Member], finished: Callable[[Finished], None]) -> MeasuredRun:
        for member in members:
            if member.prompt.startswith("die"):
                once = Path(member.prompt.removeprefix("die "))
                if not once.exists():
                    once.touch()
                    raise RuntimeError("the device is gone")
        return super().run(members, finished)


class Strict(Mortal):
    """An engine that reads files, and refuses those that are not right."""

    def __init__(self, settings: EngineSettings, clock: Callable[[], float]) -> None:
        super().__init__(settings, clock)
        self.change_adapters(settings.adapters, ())

    @override
    def change_adapters(self, added: AdapterSet, removed: Collection[str]) -> None:
        for path in added.files.values():
            content = Path(path).read_text()
            if "wrong" in content:
                raise InputError("it is broken", file=path)
            if "deadly" in content:
                os._exit(1)
        super().change_adapters(added, removed)


def test_a_broken_file(tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once and counted; the file before it is served on, and the next one."""
    errors = "pats_opt_adapter_errors_total"
    with (
        caplog.at_level(logging.WARNING),
        served(tmp_path, engine=Strict, **watching(folder, gpus=2)) as (client, _),
    ):
        write(folder, "c", "wrong")
        write(folder, "a", "wrong")
        write(folder, "d")
        until(lambda: "d" in names(client))
        until(lambda: samples(client)[errors] >= 2)
        assert names(client) == ["base", "a", "b", "d"]
        assert made_by(client, "a") == "a"
        assert client.post(PATH, json=combined(("d", 0.5))).status_code == 200
        write(folder, "c")
        write(folder, "a")
        until(lambda: "c" in names(client))
        until(lambda: made_by(client, "a") == "a@3")
        assert made_by(client, "c") == "c@2"
        assert samples(client)[errors] == 2
    told = [one.getMessage() for one in caplog.records if "cannot be served" in one.getMessage()]
    assert len(told) == 2


def test_a_composition_after_a_broken_file(tmp_path: Path, folder: Path) -> None:
    """Its part is the content that is served, not the broken one after it."""
    with served(tmp_path, engine=Strict, **watching(folder)) as (client, service):
        write(folder, "a", "another")
        until(lambda: made_by(client, "a") == "a@2")
        write(folder, "a", "wrong")
        until(lambda: samples(client)["pats_opt_adapter_errors_total"] == 1)
        (folder / "draft").write_text(json.dumps({"hero": [{"name": "a", "scale": 0.5}]}))
        (folder / "draft").rename(folder / MAPPING)
        until(lambda: "hero" in names(client))
        assert made_by(client, "hero") == "hero"
        chosen = service.adapters.choose(ImageRequest(prompt="a corgi", model="hero"))
        assert chosen.parts == (AdapterPart("a@2", 0.5),)
        assert samples(client)["pats_opt_adapter_errors_total"] == 1


def test_a_worker_dies_where_adapters_have_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the fake model have none that could have changed."""
    monkeypatch.chdir(tmp_path)  # in which the worker writes before it dies
    with served(tmp_path, engine=Mortal) as (client, _):
        assert client.post(PATH, json=body(f"die {tmp_path / 'once'}")).status_code == 200
        assert made_by(client, "a") == "a"


def test_a_worker_dies_after_a_file_has_gone(tmp_path: Path, folder: Path) -> None:
    """Its successor cannot read it: what waits for it fails, and all else is served."""
    with served(tmp_path, engine=Strict, **watching(folder)) as (client, service):
        write(folder, "a", "wrong")
        (folder / "b.safetensors").unlink()
        until(lambda: names(client) == ["base", "a"])
        assert client.post(PATH, json=body(f"die {tmp_path / 'once'}")).status_code == 200
        until(lambda: names(client) == ["base"])
        assert client.post(PATH, json=body()).status_code == 200
        write(folder, "a")
        until(lambda: names(client) == ["base", "a"])
        assert client.post(PATH, json=body(model="a")).status_code == 200
        assert service.is_ready


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_file_of_which_workers_die(tmp_path: Path, folder: Path, gpus: int) -> None:
    """It is refused after two deaths; all else is served on."""
    options = watching(folder, gpus=gpus, workers=WorkerKind.PROCESS)
    with served(tmp_path, engine=Strict, **options) as (client, service):
        deaths = [f'pats_opt_worker_deaths_total{{gpu="gpu-{g}"}}' for g in range(gpus)]
        write(folder, "c", "deadly")
        until(lambda: samples(client)["pats_opt_adapter_errors_total"] == 1)
        until(lambda: len(service.devices) == gpus)
        assert sum(samples(client).get(gpu, 0) for gpu in deaths) == 2
        assert names(client) == ["base", "a", "b"]
        assert made_by(client, "a") == "a"
        write(folder, "c")
        until(lambda: "c" in names(client))
        assert made_by(client, "c") == "c@2"


def test_loads_from_files_that_are_gone(tmp_path: Path, folder: Path) -> None:
    """Where workers keep nothing, what waits for such a file fails at once."""
    gate = Gate()
    with served(tmp_path, engine=gate, **watching(folder, tier=Tier.DISK)) as (client, service):
        some = in_background(client, body(n=4))
        until(lambda: samples(client).get("pats_opt_running_images") == 4)
        some += in_background(client, body(model="a"), combined(("a", 0.5)))
        until(lambda: service.pending == 6)
        (folder / "a.safetensors").unlink()
        assert [one.result().status_code for one in some[1:]] == [500, 500]
        gate.opened.set()
        assert some[0].result().status_code == 200


def test_a_folder_that_cannot_be_seen(tmp_path: Path, folder: Path) -> None:
    """All is served on until it is there again."""
    with served(tmp_path, **watching(folder)) as (client, _):
        folder.rename(tmp_path / "elsewhere")
        until(lambda: samples(client)["pats_opt_adapter_errors_total"] == 1)
        assert names(client) == ["base", "a", "b"]
        (tmp_path / "elsewhere").rename(folder)
        write(folder, "c")
        until(lambda: "c" in names(client))


def test_a_file_counts_once_it_is_whole(folder: Path) -> None:
    """While it grows between two looks it may not be."""
    watched = AdapterFolder(str(folder))
    assert set(watched.first.marks) == {"a", "b"}
    path = folder / "c.safetensors"
    path.write_text("12")
    (folder / MAPPING).write_text(json.dumps({"hero": [{"name": "c"}]}))
    assert watched.look().unsettled == {"c", "hero"}
    path.write_text("1234")
    assert watched.look().unsettled == {"c", "hero"}
    found = watched.look()
    assert (found.unsettled, set(found.marks)) == (frozenset(), {"a", "b", "c", "hero"})
    assert found.adapters.compositions == {"hero": (AdapterPart("c"),)}


def test_files_of_tiny(tmp_path: Path) -> None:
    """A right one is served; of a broken one, and of one that is too large, the server lives on."""
    folder = tmp_path / "adapters"
    folder.mkdir()
    files = make_adapters("tiny", ["a", "b"], tmp_path)
    large = make_adapters("tiny", ["large"], tmp_path, 16)["large"]
    shutil.copy(files["a"], folder / "a.safetensors")
    recipe = Recipe()
    made = ServerModel(
        recipe=recipe,
        profile=profile.of(recipe.service),
        options=Options(model="tiny", adapters=str(folder), devices=("cpu",), shrink=16, threads=1),
        adapters=adapters_in(folder),
    )
    with served(tmp_path, made=made, settings=OFTEN) as (client, _):
        (folder / "broken.safetensors").write_bytes(b"no tensors")
        shutil.copy(large, folder / "large.safetensors")
        shutil.copy(files["b"], folder / "b.safetensors")
        until(lambda: names(client) == ["base", "a", "b"])
        until(lambda: samples(client)["pats_opt_adapter_errors_total"] == 2)
        assert made_by(client, "b") == "b"
        assert adapter_of(client.post(PATH, json=combined(("a", 0.8), ("b", 0.5)))) == "0.8*a+0.5*b"


class Checked(FakeEngine):
    """An engine that fails where an adapter is loaded that it does not have, or twice."""

    def __init__(self, settings: EngineSettings, clock: Callable[[], float]) -> None:
        self.known = set(settings.adapters)
        super().__init__(settings, clock, 0.0002, 0.001)

    @override
    def change_adapters(self, added: AdapterSet, removed: Collection[str]) -> None:
        assert self.known.isdisjoint(added)
        assert self.known.issuperset(removed)
        self.known = self.known.union(added).difference(removed)

    @override
    def switch(self, load: Sequence[str], evict: Sequence[str]) -> MeasuredRun:
        assert self.known.issuperset(load)
        return super().switch(load, evict)

    @override
    def reserve(self, adapter: str | None, evict: Sequence[str]) -> None:
        assert adapter is None or adapter in self.known
        super().reserve(adapter, evict)

    @override
    def _check(self) -> None:
        assert len(self.resident) == len(set(self.resident)) <= self._settings.slots


@pytest.mark.parametrize(
    ("policy", "channels"), [("price-index", None), ("price-index:prefetch=ahead", 1)]
)
def test_much_changes_under_load(
    tmp_path: Path, folder: Path, policy: str, channels: int | None
) -> None:
    """Random combinations while files come, change and go: no worker dies, nothing is lost."""
    rng = random.Random(1)
    given = watching(folder, gpus=2)
    recipe = given["made"].recipe
    switching = replace(recipe.switching, max_resident=3, channels=channels)
    given["made"] = replace(given["made"], recipe=replace(recipe, switching=switching))
    given["settings"] = replace(OFTEN, combinations=4)
    with served(tmp_path, engine=Checked, policy=policy, **given) as (client, service):

        def ask(i: int) -> int:
            name, scale = rng.choice("abcd"), rng.choice([0.25, 0.5, 1.0])
            parts = [(name, scale)] if rng.random() < 0.5 else [(name, scale), ("b", 0.5)]
            request = body(f"{i}", model=name) if rng.random() < 0.3 else combined(*parts)
            return int(client.post(PATH, json=request).status_code)

        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, i) for i in range(120)]
            for i in range(12):
                name = "acd"[i % 3]
                if i % 4 == 3:
                    (folder / f"{name}.safetensors").unlink(missing_ok=True)
                else:
                    write(folder, name, f"{i}")
                until(lambda i=i: sum(one.done() for one in asked) >= 10 * i)  # type: ignore[misc]
            statuses = Counter(one.result() for one in asked)
        assert set(statuses) <= {200, 400, 404, 429}
        assert statuses[200] > 30
        assert (service.pending, len(service.devices)) == (0, 2)
        found = samples(client)
        assert not [name for name in found if name.startswith("pats_opt_worker_deaths_total")]
        assert found["pats_opt_adapter_errors_total"] == 0
