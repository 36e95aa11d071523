"""Asynchronous jobs over HTTP: status, result, cancelling, events, and going on after a restart."""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from pats_opt.serving.errors import ApiError
from pats_opt.serving.journal import JobJournal, JobRecord, JobStatus
from pats_opt.serving.settings import RequestLimits, ServerSettings
from tests.serving.running import PATH, body, journal_in, pictures, served
from tests.serving.test_queue import Gate, Stumbling, until

JOBS = "/v1/jobs"


def submitted(client: TestClient, **others: Any) -> str:
    """The id of a job that was accepted."""
    answer = client.post(JOBS, json=body(**others))
    assert answer.status_code == 202, answer.text
    name: str = answer.json()["id"]
    assert answer.headers["location"] == f"{JOBS}/{name}"
    return name


def shown(client: TestClient, name: str) -> dict[str, Any]:
    """A job's document."""
    answer = client.get(f"{JOBS}/{name}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ended(client: TestClient, name: str) -> dict[str, Any]:
    """A job's document, once it has an end."""
    until(lambda: shown(client, name)["status"] not in ("queued", "running"))
    return shown(client, name)


def events(client: TestClient, name: str, **headers: str) -> list[dict[str, Any]]:
    """All events of a job, until its end."""
    answer = client.get(f"{JOBS}/{name}/events", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        document = json.loads(fields["data"])
        assert fields["event"] == fields["id"] == document["status"]
        found.append(document)
    return found


def test_a_job_from_start_to_end(tmp_path: Path) -> None:
    """It gives what a request that waits gets."""
    gate = Gate()
    with served(tmp_path, engine=gate) as (client, service):
        name = submitted(client, n=2, model="a", pats_opt={"steps": 50})
        until(lambda: shown(client, name)["status"] == "running")
        waiting = [submitted(client, model="b") for _ in range(2)]
        until(lambda: service.pending == 4)
        assert [shown(client, one).get("position") for one in waiting] == [0, 1]
        progress = shown(client, name)["progress"]
        assert (progress["images"], progress["made"]) == (2, 0)
        assert 0 <= progress["expected_s"] <= 50 * 0.0001
        assert progress["steps"] == 100
        until(lambda: shown(client, name)["progress"]["step"] == 6)
        gate.opened.set()
        job = ended(client, name)
        assert job["status"] == "done"
        assert job["object"] == "image.job"
        waited = client.post(PATH, json=body(n=2, model="a")).json()
    colours = [[picture.tobytes() for picture in pictures(one)] for one in (job["result"], waited)]
    assert colours[0] == colours[1]
    assert [one["seed"] for one in job["result"]["pats_opt"]["images"]] == [1, 2]
    assert len(colours[0]) == 2


def test_images_by_url(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        job = ended(client, submitted(client, response_format="url"))
        (one,) = job["result"]["data"]
        assert one["url"].startswith("http://localhost/images/")
        assert client.get(one["url"]).content.startswith(b"\x89PNG")


def test_events(tmp_path: Path) -> None:
    """Queued, running, done; a client that comes later sees the present first."""
    gate = Gate()
    with served(tmp_path, engine=gate) as (client, _):
        first = submitted(client)
        until(lambda: shown(client, first)["status"] == "running")
        name = submitted(client, n=2)
        with ThreadPoolExecutor(2) as pool:
            watched = pool.submit(events, client, name)
            steps = pool.submit(events, client, first)
            until(lambda: shown(client, first)["progress"]["step"] == 3)
            gate.opened.set()
            assert 3 in [one["progress"].get("step") for one in steps.result()]
            states = [one["status"] for one in watched.result()]
        assert states[-1] == "done"
        order = ["queued", "running", "done"]
        assert [order.index(state) for state in states] == sorted(map(order.index, states))
        again = events(client, name)
        assert [one["status"] for one in again] == ["done"]
        assert len(again[0]["result"]["data"]) == 2
        path, seen = f"{JOBS}/{name}/events", {"last-event-id": "done"}
        assert client.get(path, headers=seen).status_code == 204
        assert events(client, name, **{"last-event-id": "running"}) == again


def test_cancelling(tmp_path: Path) -> None:
    """What waits is not made, what runs is thrown away, and an end cannot be changed."""
    gate, log = Gate(), tmp_path / "log.jsonl"
    with served(tmp_path, engine=gate, log=log) as (client, service):
        runs = submitted(client)
        until(lambda: shown(client, runs)["status"] == "running")
        waits = submitted(client)
        for name in (runs, waits, waits):
            answer = client.delete(f"{JOBS}/{name}")
            assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert service.pending == 0
        gate.opened.set()
        done = submitted(client)
        ended(client, done)
        assert client.delete(f"{JOBS}/{done}").json()["error"]["code"] == "job_ended"
        assert shown(client, runs)["error"]["code"] == "cancelled"
        assert [one["status"] for one in events(client, waits)] == ["cancelled"]
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["status"] for row in rows] == ["cancelled", "cancelled", "ok"]


def test_jobs_that_fail(tmp_path: Path) -> None:
    with served(tmp_path) as (client, service):
        failed = ended(client, submitted(client, prompt="fail: now"))
        assert (failed["status"], failed["error"]["code"]) == ("failed", "failed")
        assert "prompt" not in failed["error"]["message"]
        assert service.pending == 0
        for path in (f"{JOBS}/img-0", f"{JOBS}/img-0/events", f"{JOBS}/%00"):
            assert client.get(path).json()["error"]["code"] == "job_not_found"
        assert client.delete(f"{JOBS}/img-0").status_code == 404
        assert client.post(JOBS, json=body(n=0)).status_code == 400


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The journal of a server that was killed: two jobs done or cancelled, four without an end."""
    folder, sent = tmp_path / "journal", msgspec.json.encode(body(n=2, model="a"))
    late = msgspec.json.encode(body(pats_opt={"deadline_s": 5.0}))
    with journal_in(folder) as journal:
        for name, request in (("done", sent), ("x", sent), ("y", late), ("z", sent), ("w", b"{}")):
            journal.add(
                JobRecord(
                    id=name, arrived=1e9, request=request, status=JobStatus.QUEUED, result=None
                )
            ).result()
        gone = msgspec.json.encode(ApiError(410, "the job was cancelled").facts)
        journal.end("done", JobStatus.CANCELLED, gone).result()
    return folder


@pytest.mark.parametrize("policy", ["fifo", "price-index"])
def test_a_restart(tmp_path: Path, left: Path, policy: str) -> None:
    """What was accepted is made, or fails by its own deadline or by what the server has not."""
    log = tmp_path / "log.jsonl"
    with served(tmp_path, journal=journal_in(left), log=log, policy=policy) as (client, service):
        found = {name: ended(client, name) for name in ("done", "x", "y", "z", "w")}
        assert service.pending == 0
    assert {name: job["status"] for name, job in found.items()} == {
        "done": "cancelled",
        "x": "done",
        "y": "failed",
        "z": "done",
        "w": "failed",
    }
    assert found["y"]["error"]["code"] == "deadline"
    assert "prompt" in found["w"]["error"]["message"]
    assert found["x"]["created"] == int(1e9)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert {row["id"] for row in rows} == {"x.0", "x.1", "y", "z.0", "z.1"}
    assert min(row["wait_s"] for row in rows if row["status"] == "ok") > 1e6
    with served(tmp_path, journal=journal_in(left)) as (client, service):
        assert shown(client, "x") == found["x"]
        assert service.pending == 0


def test_the_order_is_kept(tmp_path: Path, left: Path) -> None:
    """First come, first served goes on as it was, before all that comes now."""
    gate = Gate()
    settings = ServerSettings(queue=3)  # what was accepted before does not count against it
    with served(tmp_path, journal=journal_in(left), engine=gate, settings=settings) as (
        client,
        service,
    ):
        assert service.pending == 4
        assert client.post(JOBS, json=body()).status_code == 429
        gate.opened.set()
        until(lambda: service.pending == 0)
        ends = [ended(client, name)["result"]["pats_opt"]["images"][0] for name in "xz"]
        assert ends[0]["latency_s"] <= ends[1]["latency_s"]


def test_a_policy_that_fails(tmp_path: Path) -> None:
    """It is the server that fails then, not the job: the next server makes it."""
    Stumbling.failures[0] = 100
    folder = tmp_path / "journal"
    with served(tmp_path, journal=journal_in(folder), policy=Stumbling()) as (client, service):
        name = submitted(client)
        until(lambda: service.error is not None)
        assert client.post(JOBS, json=body()).status_code == 503
        assert shown(client, name)["status"] == "queued"
    Stumbling.failures[0] = 0
    with served(tmp_path, journal=journal_in(folder), policy=Stumbling()) as (client, _):
        assert ended(client, name)["status"] == "done"


def test_a_journal_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No job is acknowledged; one whose end cannot be written goes on until it can."""
    monkeypatch.setattr("pats_opt.serving.jobs.RETRY_S", 0.01)
    journal, gate = journal_in(tmp_path / "journal"), Gate()
    settings = ServerSettings(limits=RequestLimits(prompt=200_000))
    with served(tmp_path, journal=journal, engine=gate, settings=settings) as (client, service):
        prompt = secrets.token_hex(50_000)  # the image's file has it too
        name = submitted(client, prompt=prompt)
        limit(journal, 1)
        refused = client.post(JOBS, json=body(prompt))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "journal")
        gate.opened.set()
        until(lambda: "cannot be written (database or disk is full)" in caplog.text)
        until(lambda: service.pending == 0)
        assert shown(client, name)["status"] == "running"
        assert client.post(JOBS, json=body()).status_code == 503
        limit(journal, 10**9)
        assert ended(client, name)["status"] == "done"
        assert client.post(JOBS, json=body()).status_code == 202


def limit(journal: JobJournal, pages: int) -> None:
    """Bound the size of the database, as a full disk does."""
    journal._do(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone()).result()
