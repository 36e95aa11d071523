"""A server and its workers, killed at random under load: nothing acknowledged is lost or doubled.

The server restarts on its journal after each kill. What is counted at the end: every acknowledged
job has exactly one end, and a request that waited for its images got them or an error.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from pats_opt.serving.journal import FILE
from tests.serving.running import PATH, PROFILE, ServerProcess, body
from tests.serving.test_queue import until
from tests.support import scale
from tests.support.killing import needs_proc, workers_of

#: Kills, of the server and of workers.
KILLS = 60 if scale.FULL else 4

#: Clients that post jobs, and clients that wait for images.
CLIENTS = 3


class Clients:
    """Clients that go on whatever becomes of the server.

    Args:
        seed: Of what they ask for.

    Attributes:
        url: Address of the server; a new one has another.
        jobs: Number of images of each acknowledged job, by id.
        cancelled: Jobs whose cancelling was acknowledged.
        waited: How requests that waited for their images ended.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.url = "http://127.0.0.1:9"
        self.jobs: dict[str, int] = {}
        self.cancelled: set[str] = set()
        self.waited: Counter[int | str] = Counter()
        self.over = threading.Event()

    def post_jobs(self, number: int) -> None:
        """Post jobs, watch some for a moment, and cancel some."""
        rng = random.Random(f"{self.seed} {number}")
        with httpx2.Client(timeout=60) as client:
            while not self.over.wait(rng.expovariate(40)):
                count = rng.randint(1, 3)
                with suppress(httpx2.HTTPError):
                    answer = client.post(f"{self.url}/v1/jobs", json=asked(rng, n=count))
                    if answer.status_code == 202:
                        name = answer.json()["id"]
                        self.jobs[name] = count
                        if rng.random() < 0.3:
                            self.watch(client, name)
                        if rng.random() < 0.2:
                            answer = client.delete(f"{self.url}/v1/jobs/{name}")
                            if answer.status_code == 200:
                                self.cancelled.add(name)

    def watch(self, client: httpx2.Client, name: str) -> None:
        """Take the first events of a job, and go away."""
        with client.stream("GET", f"{self.url}/v1/jobs/{name}/events") as events:
            next(events.iter_raw())

    def wait_for_images(self, number: int) -> None:
        """Ask for images and wait."""
        rng = random.Random(f"{self.seed} waits {number}")
        with httpx2.Client(timeout=60) as client:
            while not self.over.wait(rng.expovariate(40)):
                try:
                    answer = client.post(f"{self.url}{PATH}", json=asked(rng))
                    assert (answer.status_code == 200) == ("data" in answer.json())
                    self.waited[answer.status_code] += 1
                except httpx2.HTTPError:
                    self.waited["error"] += 1

    def ends(self) -> dict[str, dict[str, Any]]:
        """Documents of all acknowledged jobs, once each has an end."""
        found = {}
        with httpx2.Client(timeout=60) as client:
            for name in self.jobs:
                with client.stream("GET", f"{self.url}/v1/jobs/{name}/events") as events:
                    assert events.status_code == 200, name
                    events.read()
                found[name] = client.get(f"{self.url}/v1/jobs/{name}").json()
        return found


def asked(rng: random.Random, **others: Any) -> dict[str, Any]:
    """A request of random steps; some combine adapters."""
    extension: dict[str, Any] = {"steps": rng.randint(1, 20)}
    name = rng.choice(["base", "lora-1", "lora-2"])
    if name != "base" and rng.random() < 0.5:
        scale = rng.choice([0.2, 0.4, 0.6, 0.8])
        extension["adapters"] = [{"name": name, "scale": scale}, {"name": "lora-3"}]
        return body(pats_opt=extension, **others)
    return body(model=name, pats_opt=extension, **others)


def kill(server: ServerProcess, rng: random.Random) -> bool:
    """Kill the server or one of its workers; whether it was the server."""
    workers = workers_of(server.process.pid)
    if workers and rng.random() < 0.5:
        with suppress(ProcessLookupError):
            os.kill(rng.choice(workers), signal.SIGKILL)
        return False
    server.process.kill()
    return True


@needs_proc
@pytest.mark.parametrize("seed", range(3 if scale.FULL else 1))
def test_kills_at_random(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    (tmp_path / "quick.toml").write_text(PROFILE.replace("0.0001", "0.001"), encoding="utf-8")
    options = ("--model", "fake", "--profile", "quick.toml", "--gpus", "2", "--policy", "fifo")
    started = (*options, "--journal", "journal")
    clients, lost = Clients(seed), 0
    with ThreadPoolExecutor(2 * CLIENTS) as pool:
        load = [pool.submit(clients.post_jobs, i) for i in range(CLIENTS)]
        load += [pool.submit(clients.wait_for_images, i) for i in range(CLIENTS)]
        try:
            left = KILLS
            while left:
                with ServerProcess(*started, folder=tmp_path) as server:
                    clients.url = server.url
                    is_dead = False
                    while left and not is_dead:
                        time.sleep(rng.uniform(0.05, 0.5))
                        is_dead, left = kill(server, rng), left - 1
                        lost += not is_dead
            with ServerProcess(*started, folder=tmp_path) as server:
                clients.url = server.url
                until(lambda: clients.waited[200] > 0)  # a slow machine may answer none before
                clients.over.set()
                for each in load:
                    each.result(120)
                ends = clients.ends()
                assert server.end()[0] == 0
        finally:
            clients.over.set()
    statuses = Counter(job["status"] for job in ends.values())
    assert set(statuses) <= {"done", "failed", "cancelled"}
    assert statuses["done"] > 0
    assert clients.waited[200] > 0
    assert set(clients.waited) <= {200, 500, 503, "error"}
    assert {ends[name]["status"] for name in clients.cancelled} <= {"cancelled"}
    # Only a job whose worker was killed twice fails, at most a batch of each pair of kills.
    assert statuses["failed"] <= 4 * lost // 2
    for name, job in ends.items():
        assert job["status"] != "done" or len(job["result"]["data"]) == clients.jobs[name]
    with closing(sqlite3.connect(tmp_path / "journal" / FILE)) as db:
        rows = dict(db.execute("SELECT id, status FROM jobs"))
        made = dict(
            db.execute(
                "SELECT id, count(name) FROM jobs LEFT JOIN images ON job = number GROUP BY 1"
            )
        )
    assert {name: job["status"] for name, job in ends.items()}.items() <= rows.items()
    assert "queued" not in rows.values()
    for name, count in clients.jobs.items():
        assert made[name] == (count if rows[name] == "done" else 0)
