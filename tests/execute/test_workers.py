"""Workers in threads, processes and Ray actors: the same images, and plain words for a death."""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pats_opt.errors import InputError, UnfinishedError
from pats_opt.execute.workers import WorkerKind
from tests.execute.fakes import open_failing, open_refusing, open_slow
from tests.execute.runs import makings, pictures, problem, run, run_live
from tests.support.clusters import NO_RAY, cluster_of
from tests.support.killing import needs_proc, workers_of

ROOT = Path(__file__).parents[2]

KINDS = [
    WorkerKind.PROCESS,
    pytest.param(
        WorkerKind.RAY, marks=pytest.mark.skipif(NO_RAY, reason="the extra 'ray' is not installed")
    ),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One Ray for the module, where it is installed: starting one takes seconds."""
    if NO_RAY:
        yield
        return
    with cluster_of(2):
        yield


@pytest.mark.skipif(NO_RAY, reason="the extra 'ray' is not installed")
@pytest.mark.usefixtures("cluster")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_ray_listens_on_loopback_only() -> None:
    """None of its processes can be reached from another machine."""
    psutil = pytest.importorskip("psutil")  # accelerate and peft need it
    own = psutil.Process()
    processes = [own, *own.children(recursive=True)]
    listening = [
        ipaddress.ip_address(c.laddr.ip.removeprefix("::ffff:"))
        for process in processes
        for c in process.net_connections("inet")
        if c.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3
    assert all(address.is_loopback for address in listening)


@pytest.mark.skipif(NO_RAY, reason="the extra 'ray' is not installed")
@pytest.mark.usefixtures("cluster")
def test_ray_leaves_sigterm_to_the_command() -> None:
    """Its own handler would end the process before anything is written."""
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("pool", KINDS)
@pytest.mark.usefixtures("cluster")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_every_kind_makes_the_same_images(tmp_path: Path, pool: WorkerKind) -> None:
    """Two GPUs, a schedule and a live policy."""
    run(tmp_path / "threads", problem(8, gpus=2))
    outcome = run(tmp_path / "others", problem(8, gpus=2), workers=pool)
    assert outcome.error is None
    assert outcome.execution.engine == pool.value
    assert pictures(tmp_path / "others") == pictures(tmp_path / "threads")
    live = run_live(tmp_path / "live", problem(8, gpus=2), workers=pool)
    assert live.error is None
    assert len(pictures(tmp_path / "live")) == 8


@pytest.mark.parametrize("pool", KINDS)
@pytest.mark.usefixtures("cluster")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_errors_come_through(tmp_path: Path, pool: WorkerKind) -> None:
    """Bad input stays bad input; a device that fails is told with its GPU."""
    refused = run(tmp_path / "one", problem(), workers=pool, engine=open_refusing)
    assert isinstance(refused.error, InputError)
    assert "adapter 'a' has no weights" in str(refused.error)
    failed = run(tmp_path / "two", problem(), workers=pool, engine=open_failing)
    assert isinstance(failed.error, UnfinishedError)
    assert str(failed.error).startswith("GPU 'gpu-0': RuntimeError: the device is gone; 6 of 6")


@needs_proc
def test_a_killed_worker_is_reported(tmp_path: Path) -> None:
    """With its GPU, its signal and how to go on; the others are stopped, and it can be resumed."""
    folder = tmp_path / "out"
    story = problem(16, gpus=2)
    (folder / "images").mkdir(parents=True)

    def kill() -> None:
        while not list((folder / "images").glob("*.png")):
            time.sleep(0.005)
        os.kill(workers_of(os.getpid())[0], signal.SIGKILL)

    threading.Thread(target=kill).start()
    outcome = run(folder, story, workers=WorkerKind.PROCESS, engine=open_slow)
    assert isinstance(outcome.error, UnfinishedError)
    told = str(outcome.error)
    assert told.startswith("GPU 'gpu-")
    assert ": its process was ended by SIGKILL (out of memory?); " in told
    assert told.endswith("of 16 images are missing; run it again with --resume to make them")
    again = run(folder, story, resume=True)
    assert again.error is None
    assert set(makings(folder).values()) == {1}
    assert len(pictures(folder)) == 16


def script(
    tmp_path: Path, engine: str, folder: Path, pool: str, **others: Any
) -> subprocess.Popen[bytes]:
    """A process of its own that executes 16 requests on two GPUs and raises what went wrong."""
    file = tmp_path / "script.py"
    file.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from pats_opt.execute.workers import WorkerKind\n"
        "from tests.execute import fakes\n"
        "from tests.execute.runs import problem, run\n"
        "if __name__ == '__main__':\n"
        "    engine = getattr(fakes, sys.argv[1])\n"
        "    pool = WorkerKind(sys.argv[3])\n"
        "    done = run(Path(sys.argv[2]), problem(16, gpus=2), workers=pool, engine=engine)\n"
        "    sys.exit(0 if done.error is None else done.error.exit_code)\n"
    )
    path = f"{ROOT}{os.pathsep}{ROOT / 'solvers'}"
    return subprocess.Popen(
        [sys.executable, str(file), engine, str(folder), pool],
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
        **others,
    )


def wait_for_image(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the process has made an image."""
    while not list((folder / "images").glob("*.png")):
        assert process.poll() is None
        time.sleep(0.005)


@pytest.mark.parametrize("pool", ["thread", "process"])
def test_a_second_interrupt_ends_at_once(tmp_path: Path, pool: str) -> None:
    """Whatever the workers are stuck in; what was made is kept."""
    folder = tmp_path / "out"
    process = script(tmp_path, "open_stuck", folder, pool)
    wait_for_image(folder, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None, "the first one waits for the batch"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 4
    assert (folder / "execution.json").exists()
    assert run(folder, problem(16, gpus=2), resume=True).error is None
    assert set(makings(folder).values()) == {1}


def test_workers_do_not_outlive_a_killed_run(tmp_path: Path) -> None:
    """SIGKILL of the process in charge: its workers end, and another run takes over."""
    folder = tmp_path / "out"
    process = script(tmp_path, "open_slow", folder, "process")
    wait_for_image(folder, process)
    process.kill()
    process.wait()
    outcome = run(folder, problem(16, gpus=2), resume=True)
    assert outcome.error is None
    assert set(makings(folder).values()) == {1}
    assert len(pictures(folder)) == 16


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_processes(tmp_path: Path, number: int) -> None:
    """Sent to the whole group, as a terminal does: the one in charge ends the others in order."""
    folder = tmp_path / "out"
    process = script(tmp_path, "open_slow", folder, "process")
    wait_for_image(folder, process)
    os.killpg(process.pid, number)
    assert process.wait(60) == 4
    last = [
        json.loads(path.read_bytes().splitlines()[-1])["type"]
        for path in sorted((folder / "journal").glob("*.jsonl"))
    ]
    assert last == ["stopped", "stopped"]


@needs_proc
def test_an_interrupt_while_workers_start(tmp_path: Path) -> None:
    """No worker dies of it with a traceback; nothing was made, and the folder is free."""
    folder = tmp_path / "out"
    process = script(tmp_path, "open_slow", folder, "process", stderr=subprocess.PIPE)
    while not workers_of(process.pid):
        assert process.poll() is None
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert err == b""
    assert run(folder, problem(16, gpus=2)).error is None


@pytest.mark.skipif(NO_RAY, reason="the extra 'ray' is not installed")
def test_a_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says so."""
    import ray

    from pats_opt.cluster import joined

    def init(**_: Any) -> None:
        raise ConnectionError("timed out\nwhile waiting")

    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with (
        pytest.raises(InputError, match=r"'192.0.2.1:6379' cannot be joined \(timed out"),
        joined(),
    ):
        pass


def test_ray_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, one line says how to get it."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ray" else real(name)
    )
    with pytest.raises(InputError, match=r"pip install 'pats-opt\[ray\]'"):
        run(tmp_path / "out", problem(), workers=WorkerKind.RAY)
