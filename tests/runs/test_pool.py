"""The process pool: answers, errors, crashes, timeouts, and nothing left behind."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pats_opt.errors import InputError
from pats_opt.memory import can_restart_peak, peak_gib
from pats_opt.model.files import read_bytes
from pats_opt.runs.pool import WorkerCrashError, WorkerPool, WorkerTimeoutError
from tests.report.test_command import gone, wait_for


def test_answers_and_errors() -> None:
    """A worker is kept from call to call; what a call raises is raised, places and all."""
    with WorkerPool(1) as pool:
        assert pool.submit(math.hypot, 3, 4).result() == 5.0
        first = pool.submit(os.getpid).result()
        with pytest.raises(InputError, match="no such file") as caught:
            pool.submit(read_bytes, "nowhere").result()
        assert caught.value.file == "nowhere"
        assert pool.submit(os.getpid).result() == first != os.getpid()
    assert gone(first)


def test_what_cannot_be_pickled_is_an_error() -> None:
    with WorkerPool(1) as pool:
        with pytest.raises(RuntimeError, match="generator"):
            pool.submit(eval, "(i for i in ())").result()
        assert pool.submit(abs, -1).result() == 1


def test_a_worker_that_a_call_has_spent_is_replaced() -> None:
    """By memory, a thread or a child that it leaves; its answer counts."""
    leaves = (
        "import sys; sys.kept = bytearray(1200 * 2**20)",
        "import threading as t; t.Thread(target=t.Event().wait, daemon=True).start()",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', ''])",
    )
    with WorkerPool(1) as pool:
        for code in leaves:
            first = pool.submit(os.getpid).result()
            assert pool.submit(os.getpid).result() == first
            pool.submit(exec, code).result()
            assert pool.submit(os.getpid).result() != first
            assert gone(first)


def test_an_idle_worker_that_is_killed_loses_no_call() -> None:
    with WorkerPool(1) as pool:
        first = pool.submit(os.getpid).result()
        os.kill(first, signal.SIGKILL)
        # All of its threads: its first one may be a zombie while others still end.
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        wait_for(lambda: os.waitid(os.P_PID, first, ended) is not None)
        assert pool.submit(os.getpid).result() != first


@pytest.mark.skipif(not can_restart_peak(), reason="the system cannot measure a peak again")
def test_the_peak_is_that_of_the_call() -> None:
    with WorkerPool(1) as pool:
        before = pool.submit(peak_gib).result()
        pool.submit(exec, "bytearray(600 * 2**20)").result()
        after = pool.submit(peak_gib).result()
    assert before is not None
    assert after is not None
    assert after < before + 0.3


def test_last_words_are_those_of_the_call() -> None:
    with WorkerPool(1) as pool:
        pool.submit(exec, "print('words of another', flush=True)").result()
        with pytest.raises(WorkerCrashError) as caught:
            pool.submit(exec, "import os; print('last words', flush=True); os._exit(7)").result()
    assert caught.value.output == "last words"


def test_fresh_workers() -> None:
    with WorkerPool(2, fresh=True) as pool:
        pids = {pool.submit(os.getpid).result() for _ in range(3)}
    assert len(pids) == 3


def test_a_crash_is_an_error_of_its_call_only() -> None:
    """With its signal or status, and the last words."""
    with WorkerPool(2) as pool:
        killed = pool.submit(exec, "import os; os.kill(os.getpid(), 9)")
        exited = pool.submit(exec, "import os; print('last words', flush=True); os._exit(7)")
        fine = [pool.submit(abs, -i) for i in range(5)]
        with pytest.raises(WorkerCrashError, match=r"SIGKILL \(out of memory\?\)"):
            killed.result()
        with pytest.raises(WorkerCrashError, match="status 7") as caught:
            exited.result()
        assert caught.value.output == "last words"
        assert [future.result() for future in fine] == list(range(5))


def test_a_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    child = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    with WorkerPool(1) as pool:
        with pytest.raises(WorkerTimeoutError) as caught:
            pool.submit(exec, child, timeout_s=3.0).result()
        assert caught.value.seconds >= 3.0
        assert pool.submit(abs, -1, timeout_s=60.0).result() == 1
    wait_for(lambda: gone(int(note.read_text())))


def test_an_exception_kills_what_is_at_work() -> None:
    began = time.monotonic()
    pids = []
    with suppress(KeyboardInterrupt), WorkerPool(1) as pool:
        pids.append(pool.submit(os.getpid).result())
        pool.submit(time.sleep, 600)
        pool.submit(time.sleep, 600)
        raise KeyboardInterrupt
    assert time.monotonic() - began < 60
    assert all(map(gone, pids))


def test_nothing_outlives_the_pool_s_process() -> None:
    """Killed in the midst of a call, it takes its workers along."""
    code = (
        "import os, time\n"
        "from pats_opt.runs.pool import WorkerPool\n"
        "pool = WorkerPool(1)\n"
        "print(pool.submit(os.getpid).result(), flush=True)\n"
        "pool.submit(time.sleep, 600).result()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_for(lambda: gone(pid))
