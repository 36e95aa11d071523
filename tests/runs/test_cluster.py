"""Runs on a Ray cluster of two nodes: as on one machine, and a lost node loses nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from pats_opt import __version__
from pats_opt.cli import run
from pats_opt.errors import InputError
from pats_opt.model.files import read_bytes
from pats_opt.report.config import ReportConfig, tasks
from pats_opt.runs.cluster import RayPool, RemoteCall, answer
from pats_opt.runs.copies import call_remotely, here, hold, keep_in
from pats_opt.runs.guarded import PREFIX
from pats_opt.runs.pool import WorkerCrashError, WorkerPool, WorkerTimeoutError
from pats_opt.runs.record import Record, read_record
from pats_opt.runs.task import perform, perform_all
from tests.report.conftest import install_stubs
from tests.report.test_command import gone, records, started, wait_for

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="the extra 'ray' is not installed"
)

#: A node of the cluster.
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}

#: Options of a plan of few requests.
PLAIN = ("--windows", "2", "--bound-windows", "0")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without CPUs and two nodes, whose processes see what this one does, and the stubs.

    Their temporary files are in a folder of their own, ``TMPDIR``, with a short path for sockets.
    """
    from ray.cluster_utils import Cluster

    terminated = signal.getsignal(signal.SIGTERM)  # starting nodes replaces the handler
    with (
        TemporaryDirectory(prefix="ray-", dir="/tmp") as own,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("TMPDIR", own)
        install_stubs(Path(own) / "site", patch)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        head = {**NODE, "num_cpus": 0, "include_dashboard": False}
        started = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            started.add_node(**NODE)
        patch.setenv("RAY_ADDRESS", started.address)
        yield started
        started.shutdown()
    signal.signal(signal.SIGTERM, terminated)


def linger(note: str) -> str:
    """Hang after noting the process; where there is such a note already, return."""
    if Path(note).exists():
        return "again"
    Path(note).write_text(str(os.getpid()))
    time.sleep(600)
    raise AssertionError("it was to be killed")


def outcome(record: Record | None) -> tuple[Any, ...]:
    """What does not depend on the machine."""
    assert record is not None
    kept = ("config", "end", "loss", "terms", "metrics", "latencies", "status", "schedule")
    return tuple(getattr(record, name) for name in kept)


def test_a_remote_call_reads_a_copy_and_sends_what_it_wrote(
    tmp_path: Path, write: Callable[..., str]
) -> None:
    """Under the caller's names, which exist nowhere; the record is the last file."""
    file, out = write(), tmp_path / "out"
    (task,) = tasks(ReportConfig(instances=(file,), solvers=("fifo",)), out)
    (tmp_path / "copies").mkdir()
    keep_in(str(tmp_path / "copies"))
    hold(file, read_bytes(file))
    copy = here(file)
    Path(file).unlink()
    record, files = call_remotely(perform, (task,), task.folder)
    assert [Path(f.path).parent.name for f in files] == ["schedules", "runs"]
    assert not out.exists()
    assert copy.is_file()
    assert json.loads(files[0].content)["format"] == "pats-opt/schedule"
    assert json.loads(files[1].content)["loss"] == record.loss


def test_a_machine_with_another_version_is_refused() -> None:
    found = answer("0.0.0", RemoteCall(b"", None, {}, (), False))
    assert not found.done
    assert isinstance(found.value, InputError)
    assert f"pats-opt {__version__}, not 0.0.0" in str(found.value)


@pytest.mark.parametrize("command", ["gap-report", "plan", "tune"])
def test_without_ray_one_line_says_how_to_get_it(
    command: str,
    tmp_path: Path,
    write: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ray" else real(name)
    )
    policy = ["fifo"] if command == "tune" else []
    out = tmp_path / "out"
    assert run([command, *policy, write(), "--engine", "ray", "-o", str(out)]) == 2
    err = capsys.readouterr().err
    assert "pip install 'pats-opt[ray]'" in err
    assert err.count("\n") == 1
    assert not out.exists()


@needs_ray
@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_cluster_runs_what_this_machine_runs(tmp_path: Path, write: Callable[..., str]) -> None:
    """Every end of a run, a crash included, is the same record."""
    specs = ("fifo", "bad:how=kill", "bad:how=raise", "price-index")
    config = ReportConfig(instances=(write(requests=6),), solvers=specs)
    away, local = tasks(config, tmp_path / "away"), tasks(config, tmp_path / "local")
    with RayPool() as pool:
        pool.prepare(task.config.solver.spec for task in away)
        perform_all(away, pool, 60.0)
    with WorkerPool(2) as pool:
        perform_all(local, pool, 60.0)
    for one, other in zip(away, local, strict=True):
        assert outcome(read_record(Path(one.folder), one.config)) == outcome(
            read_record(Path(other.folder), other.config)
        )


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_lost_node_loses_no_call(tmp_path: Path, cluster: Any) -> None:
    """It is made again on another node, and nothing is left of it on the first one."""
    note = tmp_path / "pid"
    with RayPool() as pool:
        first = pool.submit(linger, str(note))
        wait_for(note.exists)
        cluster.remove_node(_node_of(cluster, int(note.read_text())), allow_graceful=False)
        assert first.result(timeout=120) == "again"
        wait_for(lambda: gone(int(note.read_text())))
        with pytest.raises(WorkerTimeoutError, match="killed at its timeout"):
            pool.submit(time.sleep, 600, timeout_s=0.5).result()
        with pytest.raises(WorkerCrashError, match="status 7"):
            pool.submit(os._exit, 7).result()
    cluster.add_node(**NODE)


@needs_ray
@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_commands_give_on_a_cluster_what_they_give_here(
    tmp_path: Path, write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(requests=6)
    found = []
    for engine in ("process", "ray"):
        out = tmp_path / engine
        for name, args in {
            "plan": [file, "--gpus", "1..3", "--policies", "fifo", *PLAIN],
            "tune": ["pats", file, "--test", write("test.json", requests=5), "--trials", "3"],
        }.items():
            assert run([name, *args, "--engine", engine, "-o", str(out / name)]) == 0
        capsys.readouterr()
        plan = json.loads((out / "plan" / "plan.json").read_text())
        tuned = json.loads((out / "tune" / "result.json").read_text())
        found.append(
            (
                [(cell["gpus"], cell["loss"]) for cell in plan["cells"]],
                tuned["best_params"],
                tuned["test"],
            )
        )
    assert found[0] == found[1]


@needs_ray
@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_killed_run_goes_on_and_leaves_no_copies(
    tmp_path: Path, write: Callable[..., str]
) -> None:
    """A kill -9 of the command on the cluster; resuming gives what an undisturbed run gives."""
    files = [write(f"i{k}.json", requests=k + 1) for k in range(3)]
    out, whole = tmp_path / "out", tmp_path / "whole"
    given = [*files, "--solvers", "slow:seconds=0.5", "--jobs", "1"]
    with started(*given, "--engine", "ray", "-o", str(out)) as process:
        wait_for(lambda: (out / "runs").is_dir() and any((out / "runs").glob("*.json")))
        process.kill()
        process.wait()
    kept = records(out)
    assert 1 <= len(kept) < 3
    command = [sys.executable, "-m", "pats_opt", "gap-report"]
    subprocess.run([*command, "--resume", "--engine", "ray", "-o", out], check=True)
    subprocess.run([*command, "--no-pictures", *given, "-o", whole], check=True)
    after, undisturbed = records(out), records(whole)
    assert {name: after[name] for name in kept} == kept
    same = ("end", "loss", "terms", "metrics", "latencies", "status", "schedule")
    assert len(after) == 3
    assert {name: [one[field] for field in same] for name, one in after.items()} == {
        name: [one[field] for field in same] for name, one in undisturbed.items()
    }
    wait_for(lambda: not any(Path(os.environ["TMPDIR"]).glob(f"{PREFIX}*")))


def _node_of(cluster: Any, pid: int) -> Any:
    """The node on which a worker process runs, by the raylet that it comes from."""
    psutil = pytest.importorskip("psutil")
    above = {process.pid for process in psutil.Process(pid).parents()}
    return next(
        node
        for node in cluster.worker_nodes
        if above & {info.process.pid for info in node.all_processes["raylet"]}
    )
