"""Servers for tests: in this process with engines of set times, or as a process of its own."""

from __future__ import annotations

import base64
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from PIL import Image
from starlette.testclient import TestClient

from pats_opt.core.policy import Policy
from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.options import Options
from pats_opt.execute.worker import OpenEngine
from pats_opt.generate import profile
from pats_opt.generate.config import as_table
from pats_opt.generate.recipe import Recipe
from pats_opt.serving.app import make_app
from pats_opt.serving.jobs import JobService
from pats_opt.serving.journal import JobJournal
from pats_opt.serving.log import RequestLog
from pats_opt.serving.model import ServerModel
from pats_opt.serving.server import listen, serve
from pats_opt.serving.service import ImageService
from pats_opt.serving.settings import ServerSettings
from pats_opt.serving.site import make_service
from tests.execute.runs import policy_of
from tests.serving.documented import DocumentedClient

ROOT = Path(__file__).parents[2]

PATH = "/v1/images/generations"

#: A GPU that holds four images, of which each takes 0.1 ms a step.
PROFILE = """
format = "pats-opt/profile"
version = 1
name = "quick"
device = "none"
tick_s = 0.001
step_s = { base = 0.0001, per_sample = 0.0 }
[memory]
capacity_gib = 16.0
adapter_gib = 0.1
base_gib = 7.0
per_sample_gib = 2.0
[load]
tier = "host"
tiers.host.seconds = [0.001]
[sources]
all = "made up"
"""


def model(folder: Path, *, step_s: float = 0.0001, gpus: int = 1, **options: Any) -> ServerModel:
    """The fake model with the adapters ``a`` and ``b``; a step takes ``step_s``."""
    path = folder / "quick.toml"
    path.write_text(PROFILE.replace("0.0001", repr(step_s)), encoding="utf-8")
    document = {
        "service": {"profile": str(path)},
        "gpus": {"count": gpus},
        "switching": {"max_resident": 2},
    }
    recipe = as_table(document, Recipe)
    return ServerModel(
        recipe=recipe,
        profile=profile.of(recipe.service),
        options=replace(Options(model="fake", devices=("cpu",) * gpus), **options),
        adapters=AdapterSet(files={"a": "", "b": ""}),
    )


def journal_in(folder: Path | None, **others: Any) -> JobJournal:
    """A journal that keeps much for long, not opened yet."""
    return JobJournal(folder, **{"kept_s": 1e9, "kept_bytes": 10**9, **others})


@contextmanager
def served(
    folder: Path,
    *,
    policy: str | Policy = "fifo",
    engine: OpenEngine | None = None,
    settings: ServerSettings | None = None,
    log: Path | None = None,
    made: ServerModel | None = None,
    journal: JobJournal | None = None,
    **others: Any,
) -> Iterator[tuple[TestClient, ImageService]]:
    """A client of a server in this process, which opens the journal; it checks responses."""
    chosen = policy_of(policy) if isinstance(policy, str) else policy
    with ExitStack() as stack:
        log_file = None if log is None else stack.enter_context(RequestLog(log))
        service, scheduler = make_service(
            made or model(folder, **others), chosen, settings or ServerSettings(), log_file, engine
        )
        jobs = JobService(service, stack.enter_context(journal or journal_in(None)))
        scheduler.start(jobs.first_arrival)
        stack.callback(scheduler.stop)
        app = make_app(service, jobs)
        with DocumentedClient(
            app, base_url="http://localhost", raise_server_exceptions=False
        ) as client:
            yield client, service


@contextmanager
def listening(folder: Path, **others: Any) -> Iterator[tuple[str, ImageService]]:
    """The address of a server in this process, on a socket; see :func:`served`."""
    policy, settings = policy_of(others.pop("policy", "fifo")), ServerSettings(port=0)
    engine, chosen = others.pop("engine", None), others.pop("settings", settings)
    made = others.pop("made", None) or model(folder, **others)
    service, scheduler = make_service(made, policy, chosen, None, engine)
    began, failures = threading.Event(), list[BaseException]()
    sock = listen("127.0.0.1", 0)

    def work() -> None:
        try:
            with journal_in(None) as journal:
                serve(service, JobService(service, journal), scheduler, sock, began.set)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert began.wait(60)
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}", service
    finally:
        assert service.loop is not None
        service.loop.call_soon_threadsafe(service.drain)
        thread.join(60)
        sock.close()
    assert not failures


def body(prompt: str = "a corgi", **others: Any) -> dict[str, Any]:
    """A request for one image in the response, of the smallest size."""
    extension = others.pop("pats_opt", {})
    fields = {"prompt": prompt, "size": "64x64", "response_format": "b64_json", **others}
    return {**fields, "pats_opt": {"steps": 5, "seed": 1, **extension}}


def pictures(answer: dict[str, Any]) -> list[Image.Image]:
    """The pictures of a response."""
    files = [base64.b64decode(one["b64_json"]) for one in answer["data"]]
    return [Image.open(io.BytesIO(data)) for data in files]


def samples(client: TestClient) -> dict[str, float]:
    """The metrics by name and labels."""
    lines = client.get("/metrics").text.splitlines()
    pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in pairs}


class ServerProcess:
    """``pats-opt serve`` as a process; its address once it serves.

    Args:
        arguments: Of the command; a free port is taken.
        folder: Its working folder.
    """

    def __init__(self, *arguments: str, folder: Path) -> None:
        path = os.pathsep.join([str(ROOT), str(ROOT / "solvers")])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pats_opt", "serve", "--port", "0", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        self.url = self.line.rpartition(" ")[2].strip()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; the exit status and standard error."""
        self.process.send_signal(number)
        _, told = self.process.communicate(timeout=120)
        return self.process.returncode, told

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=60)
