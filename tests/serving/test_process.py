"""``pats-opt serve`` as users run it: a process, the official client, signals, bad options."""

from __future__ import annotations

import base64
import io
import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image

from pats_opt.cli import run
from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.adapters import make_adapters
from pats_opt.execute.engine import open_engine
from pats_opt.execute.options import Options
from pats_opt.execute.work import EngineSettings, Finished, Member
from pats_opt.generate import profile
from pats_opt.generate.recipe import Recipe
from pats_opt.serving.model import ServerModel
from pats_opt.serving.server import listen
from pats_opt.serving.settings import read_keys
from tests.serving.running import PATH, PROFILE, ServerProcess, body, pictures, served


def client(server: ServerProcess, key: str = "none") -> openai.OpenAI:
    """The official client."""
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


@pytest.fixture
def quick(tmp_path: Path) -> str:
    path = tmp_path / "quick.toml"
    path.write_text(PROFILE, encoding="utf-8")
    return str(path)


def test_the_official_client(tmp_path: Path, quick: str) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# of the lab\n\nsecret\n", encoding="utf-8")
    options = ("--model", "fake", "--profile", quick, "--api-key-file", "keys", "--gpus", "2")
    with ServerProcess(*options, "--log", "log.jsonl", folder=tmp_path) as server:
        assert "fake with 4 adapters on 2 GPUs" in server.line
        images = client(server, "secret")
        found = images.images.generate(
            prompt="a corgi",
            model="lora-1",
            n=2,
            size="1024x1024",
            response_format="b64_json",
            extra_body={"pats_opt": {"steps": 7, "seed": 3, "negative_prompt": "cats"}},
        )
        assert found.data is not None
        first = Image.open(io.BytesIO(base64.b64decode(found.data[0].b64_json or "")))
        assert first.text["pats-opt:steps"] == "7"  # type: ignore[attr-defined]
        assert [model.id for model in images.models.list()][:2] == ["base", "lora-1"]
        with pytest.raises(openai.AuthenticationError):
            client(server, "other").models.list()
        with pytest.raises(openai.NotFoundError, match="lora-9"):
            images.images.generate(prompt="a corgi", model="lora-9")
        with pytest.raises(openai.BadRequestError, match="multiples of 8"):
            images.images.generate(prompt="a corgi", size="1x1")
        assert server.end() == (0, "stopped\n")
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["ok", "ok"]


def test_a_signal_drains(tmp_path: Path) -> None:
    """What was accepted before the first signal is answered."""
    path = tmp_path / "slow.toml"
    path.write_text(PROFILE.replace("0.0001", "0.01"), encoding="utf-8")
    with ServerProcess("--model", "fake", "--profile", str(path), folder=tmp_path) as server:
        images = client(server)

        def ask(i: int) -> Any:
            return images.images.generate(
                prompt=f"{i}", response_format="b64_json", extra_body={"pats_opt": {"steps": 30}}
            )

        with ThreadPoolExecutor(10) as pool:
            asked = [pool.submit(ask, i) for i in range(10)]
            while waiting(server) < 10:
                time.sleep(0.01)
            assert server.end(signal.SIGINT)[0] == 0
            assert [len(one.result().data) for one in asked] == [1] * 10


def waiting(server: ServerProcess) -> float:
    """Images that wait or run."""
    import urllib.request

    with urllib.request.urlopen(f"{server.url}/metrics") as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    names = ("pats_opt_waiting_images{", "pats_opt_running_images ")
    return sum([float(line.rpartition(" ")[2]) for line in lines if line.startswith(names)])


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    path = tmp_path / "slow.toml"
    path.write_text(PROFILE.replace("0.0001", "10.0"), encoding="utf-8")
    with ServerProcess("--model", "fake", "--profile", str(path), folder=tmp_path) as server:
        images = client(server)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(images.images.generate, prompt="a corgi")
            while waiting(server) < 1:
                time.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            status, told = server.end()
            assert status == 4
            assert told.endswith("stopped with 1 image that was accepted and not made\n")
            assert asked.exception() is not None


def test_jobs_outlive_the_drain(tmp_path: Path) -> None:
    """What the journal has is not given up, and the next server makes it."""
    path = tmp_path / "slow.toml"
    path.write_text(PROFILE.replace("0.0001", "0.01"), encoding="utf-8")
    options = ("--model", "fake", "--profile", str(path), "--journal", "journal")
    with ServerProcess(*options, "--drain", "0", folder=tmp_path) as server:
        job = httpx2.post(f"{server.url}/v1/jobs", json=body(n=2, pats_opt={"steps": 100})).json()
        status, told = server.end()
        assert (status, told.splitlines()[-1]) == (0, "stopped")
        assert "2 images are left to the next server with this journal" in told
    with ServerProcess(*options, folder=tmp_path) as server:
        events = httpx2.get(f"{server.url}/v1/jobs/{job['id']}/events", timeout=60).text
        assert "event: done\n" in events
        assert server.end()[0] == 0


def test_tiny_makes_the_images_of_the_engine(tmp_path: Path) -> None:
    """Bit for bit: a server adds nothing to an image."""
    files = make_adapters("tiny", ["a"], tmp_path)
    settings = EngineSettings(
        model="tiny",
        device="cpu",
        dtype="float32",
        guidance=5.0,
        adapter_files=files,
        slots=1,
        resident=("a",),
        threads=1,
    )
    engine, made = open_engine(settings, time.monotonic), list[Finished]()
    member = Member(
        id="x",
        option=0,
        adapter="a",
        prompt="a corgi",
        negative_prompt="cats",
        seed=3,
        width=64,
        height=64,
        steps=3,
    )
    engine.run([member], made.append)
    recipe = Recipe()
    model = ServerModel(
        recipe=recipe,
        profile=profile.of(recipe.service),
        options=Options(threads=1),
        adapters=AdapterSet(files=files),
    )
    with served(tmp_path, made=model, policy="price-index") as (asked, _):
        extension = {"steps": 3, "seed": 3, "negative_prompt": "cats"}
        answer = asked.post(PATH, json=body(model="a", size="1024x1024", pats_opt=extension))
        (picture,) = pictures(answer.json())
    assert picture.tobytes() == made[0].picture.tobytes()


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that does not start."""
    assert run(["serve", "--model", "fake", "--port", "0", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    return told.err


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").write_text("# nothing\n")
    (tmp_path / "odd").write_text("a key\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = mistake(capsys, "--port", port)
        assert f"cannot listen on 127.0.0.1 port {port} (Address already in use)" in told
    assert "no such folder" in mistake(capsys, "--adapters", str(tmp_path / "none"))
    assert "no key" in mistake(capsys, "--api-key-file", str(tmp_path / "empty"))
    assert "key 1" in mistake(capsys, "--api-key-file", str(tmp_path / "odd"))
    assert ".jsonl" in mistake(capsys, "--log", str(tmp_path / "log.csv"))
    assert "cannot be written" in mistake(capsys, "--log", str(tmp_path / "none" / "log.jsonl"))
    told = mistake(capsys, "--journal", str(tmp_path / "odd"))
    assert "cannot be used as a folder" in told
    assert "choose one of: fifo" in mistake(capsys, "--policy", "fife")
    assert "no online policy" in mistake(capsys, "--policy", "milp")
    assert "h100-80g" in mistake(capsys, "--profile", "h100")
    assert "cannot listen" in mistake(capsys, "--host", "192.0.2.1")


def test_connections_send_at_once() -> None:
    """No part of a response waits for the client to acknowledge the one before it."""
    with listen("127.0.0.1", 0) as sock, socket.create_connection(sock.getsockname()):
        accepted, _ = sock.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_keys_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# a comment\n one \n\ntwo#2\n")
    assert read_keys(str(path)) == ("one", "two#2")
