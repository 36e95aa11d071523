"""The HTTP interface: images, models, and every malformed request refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from pats_opt.serving.settings import RequestLimits, ServerSettings
from tests.serving.running import PATH, body, pictures, samples, served


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = ServerSettings(limits=RequestLimits(body_bytes=20_000))
    with served(tmp_path_factory.mktemp("api"), settings=settings) as (found, _):
        yield found


def sentence(answer: Any, status: int, code: str | None = None) -> str:
    """The message of an error, whose shape is OpenAI's."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"].endswith("_error")
    assert code is None or error["code"] == code
    message: str = error["message"]
    assert "\n" not in message
    assert "Traceback" not in message
    assert 0 < len(message) < 600
    return message


def test_images_in_the_response(client: TestClient) -> None:
    answer = client.post(PATH, json=body(n=2, model="a", size="1024x512")).json()
    first, second = pictures(answer)
    assert (first.size, first.format) == ((64, 64), "PNG")  # the fake model shrinks as tiny does
    assert first.tobytes() != second.tobytes()
    facts = answer["pats_opt"]["images"]
    assert [one["seed"] for one in facts] == [1, 2]
    assert [one["steps"] for one in facts] == [5, 5]
    assert first.text["pats-opt:prompt"] == "a corgi"  # type: ignore[attr-defined]
    assert first.text["pats-opt:adapter"] == "a"  # type: ignore[attr-defined]


def test_a_seed_decides_the_image(client: TestClient) -> None:
    some = [client.post(PATH, json=body(pats_opt={"seed": s})).json()["data"] for s in (7, 7, 8)]
    one, same, other = (pictures({"data": data})[0].tobytes() for data in some)
    assert one == same != other


def test_images_by_url(client: TestClient) -> None:
    answer = client.post(PATH, json={"prompt": "a corgi", "size": "64x64"}).json()
    url: str = answer["data"][0]["url"]
    assert url.startswith("http://localhost/images/")
    found = client.get(url)
    assert found.headers["content-type"] == "image/png"
    assert found.content.startswith(b"\x89PNG")
    for name in ("x.png", "..%2f..%2fetc%2fpasswd", "%00"):
        sentence(client.get(f"/images/{name}"), 404)


def test_steps_are_the_policys_unless_they_are_named(client: TestClient) -> None:
    def steps(quality: str | None = None, **extension: Any) -> int:
        request = {"prompt": "a corgi", "size": "64x64", "quality": quality, "pats_opt": extension}
        answer = client.post(PATH, json=request).json()
        found: int = answer["pats_opt"]["images"][0]["steps"]
        return found

    assert steps() in (20, 30)
    assert (steps("low"), steps("high"), steps("hd"), steps("low", steps=7)) == (20, 30, 30, 7)
    assert steps("auto", min_quality=0.985) == 30
    assert steps("low", min_quality=0.5) == 20


def test_models(client: TestClient) -> None:
    listed = client.get("/v1/models").json()
    assert [one["id"] for one in listed["data"]] == ["base", "a", "b"]
    assert client.get("/v1/models/a").json()["object"] == "model"
    sentence(client.get("/v1/models/c"), 404, "model_not_found")


def test_health(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"ready": True}


def test_metrics(client: TestClient) -> None:
    client.post(PATH, json=body(model="b"))
    found = samples(client)
    assert found['pats_opt_images_total{outcome="ok"}'] >= 1
    assert found['pats_opt_waiting_images{adapter="b"}'] == 0
    assert found["pats_opt_latency_seconds_count"] >= 1
    assert found['pats_opt_gpu_up{gpu="gpu-0"}'] == 1


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({}, "prompt", "missing"),
    ({"prompt": " "}, "prompt", "empty"),
    ({"prompt": 3}, "prompt", "a text"),
    ({"prompt": "x" * 4001}, "prompt", "4001"),
    (body(n=0), "n", ">= 1"),
    (body(n=11), "n", "10"),
    (body(n="2"), "n", "a whole number"),
    (body(n=True), "n", "a whole number"),
    (body(size="1000x1001"), "size", "multiples of 8"),
    (body(size="99999x64"), "size", "multiples of 8"),
    (body(size="٣٢x64"), "size", "multiples of 8"),
    (body(response_format="webp"), "response_format", "b64_json"),
    (body(quality="best"), "quality", "hd"),
    (body(stream=True), "stream", "Invalid"),
    (body(colour="red"), "colour", "unknown"),
    (body(pats_opt={"steps": 0}), "steps", ">= 1"),
    (body(pats_opt={"steps": 151}), "steps", "150"),
    (body(pats_opt={"seed": -1}), "seed", ">= 0"),
    (body(n=2, pats_opt={"seed": 2**63 - 1}), "seed", "2^63"),
    (body(pats_opt={"weight": 0}), "weight", "> 0"),
    (body(pats_opt={"weight": 1e9}), "weight", "100"),
    (body(pats_opt={"deadline_s": 1e6}), "deadline_s", "86400"),
    (body(pats_opt={"deadline_s": 1e-4}), "deadline_s", "at least"),
    (body(pats_opt={"min_quality": 0.9}), "min_quality", "the best here"),
    (body(pats_opt={"sead": 1}), "sead", "seed"),
    ({**body(), "pats_opt": []}, "pats_opt", "an object"),
]


@pytest.mark.parametrize(("request_", "place", "told"), BAD, ids=lambda x: str(x)[:30])
def test_a_malformed_request(
    client: TestClient, request_: dict[str, Any], place: str, told: str
) -> None:
    message = sentence(client.post(PATH, json=request_), 400)
    assert place in message
    assert told.lower() in message.lower()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[1]",
        b"\xff\xfe",
        b'{"prompt": "a", "prompt": "b"}',
        b'{"prompt": NaN}',
        b'{"prompt": "\\ud800"}',
        b"[" * 15_000,
        b'{"prompt": "a", "n": 1e400}',
        b'{"prompt": "a", "n": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_a_body_that_is_no_request(client: TestClient, data: bytes) -> None:
    headers = {"content-type": "application/json"}
    sentence(client.post(PATH, content=data, headers=headers), 400)


def test_a_body_of_another_type(client: TestClient) -> None:
    """A page of another site can send text, but JSON only where the server allows it."""
    data = json.dumps(body()).encode()
    for kind in ("text/plain", "", "application/x-www-form-urlencoded"):
        answer = client.post(PATH, content=data, headers={"content-type": kind})
        sentence(answer, 415)
        assert "access-control-allow-origin" not in answer.headers


def test_a_body_that_is_too_large(client: TestClient) -> None:
    sentence(client.post(PATH, json=body("x" * 30_000)), 413)


def test_an_adapter_that_is_not_there(client: TestClient) -> None:
    message = sentence(client.post(PATH, json=body(model="bass")), 404, "model_not_found")
    assert "did you mean 'base'" in message


def test_an_image_that_fits_no_gpu(tmp_path: Path) -> None:
    with served(tmp_path, settings=ServerSettings(limits=RequestLimits(side=4096))) as (client, _):
        sentence(client.post(PATH, json=body(size="4096x4096")), 400, "too_large")


def test_paths_and_methods(client: TestClient) -> None:
    sentence(client.get("/v1/chat/completions"), 404)
    sentence(client.get(PATH), 405)
    sentence(client.post("/v1/models"), 405)
    assert client.put("/v1/jobs/x").headers["allow"] == "DELETE, GET, HEAD"


def test_another_name_of_this_machine(client: TestClient) -> None:
    """A page whose name was made to lead to loopback is refused."""
    for host in ("evil.example", "localhost.evil.example:80", ""):
        sentence(client.get("/v1/models", headers={"host": host}), 421)
    for host in ("127.0.0.1:8000", "[::1]:8000", "LOCALHOST"):
        assert client.get("/v1/models", headers={"host": host}).status_code == 200


def test_keys(tmp_path: Path) -> None:
    with served(tmp_path, settings=ServerSettings(keys=("one", "two"))) as (client, _):
        for path in ("/v1/models", "/metrics", "/images/x", "/none"):
            sentence(client.get(path), 401, "invalid_api_key")
        for wrong in (b"Bearer three", b"one", b"Basic one", b"Bearer", b"Bearer \xe9"):
            headers = {b"authorization": wrong}
            sentence(client.get("/v1/models", headers=headers), 401)
        for key in ("one", "two"):
            answer = client.get("/v1/models", headers={"authorization": f"Bearer {key}"})
            assert answer.status_code == 200
        assert client.get("/health").status_code == client.get("/ready").status_code == 200
