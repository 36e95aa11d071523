"""Workers of a server as Ray actors: requests are served, and an actor that dies is replaced."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pats_opt.execute.workers import WorkerKind
from tests.serving.running import PATH, body, model, samples, served
from tests.serving.test_compositions import adapter_of, combined
from tests.serving.test_queue import in_background, until
from tests.serving.test_watching import names, watching, write
from tests.support.clusters import NO_RAY, cluster_of

pytestmark = [
    pytest.mark.skipif(NO_RAY, reason="the extra 'ray' is not installed"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def test_actors_serve_and_are_replaced(tmp_path: Path) -> None:
    """Requests of one that dies are served again, by its successor or by the other."""
    with cluster_of(2):
        made = model(tmp_path, step_s=0.01, gpus=2, workers=WorkerKind.RAY)
        with served(tmp_path, made=made) as (client, service):
            assert client.post(PATH, json=body(n=2)).status_code == 200
            some = in_background(client, *[body(f"{i}", pats_opt={"steps": 50}) for i in range(8)])
            until(lambda: client.get("/v1/status").json()["running"] >= 2)
            os.kill(actors()[0], signal.SIGKILL)
            assert [one.result().status_code for one in some] == [200] * 8
            until(lambda: len(service.devices) == 2)
            dead = [name for name in samples(client) if name.startswith("pats_opt_worker_deaths_t")]
            assert sum(samples(client)[name] for name in dead) == 1


def test_actors_read_adapters_that_come(tmp_path: Path) -> None:
    """Combinations of requests, and files of the folder, which both have to see."""
    folder = tmp_path / "adapters"
    folder.mkdir()
    write(folder, "a")
    with (
        cluster_of(2),
        served(tmp_path, **watching(folder, gpus=2, workers=WorkerKind.RAY)) as (client, _),
    ):
        assert adapter_of(client.post(PATH, json=combined(("a", 0.5)))) == "0.5*a"
        write(folder, "b")
        until(lambda: "b" in names(client))
        some = in_background(client, *[combined(("a", 0.5), ("b", 0.1 * i)) for i in range(1, 5)])
        assert [one.result().status_code for one in some] == [200] * 4


def actors() -> list[int]:
    """Processes of the actors of this process's cluster."""
    psutil = pytest.importorskip("psutil")  # accelerate and peft need it
    processes = psutil.Process().children(recursive=True)
    return [each.pid for each in processes if each.name().startswith("ray::RayActor")]
