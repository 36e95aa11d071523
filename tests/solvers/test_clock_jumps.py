"""Time limits while the system's clock jumps: every process counts on a monotonic one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pats_opt.cli import run
from tests.support import scale

#: A library whose clock of the day jumps by an amount some seconds after a process has begun.
JUMPING = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long long start_s;
static int real(clockid_t id, struct timespec *at) { return syscall(SYS_clock_gettime, id, at); }
static long long now_s(void) { struct timespec t; real(CLOCK_MONOTONIC, &t); return t.tv_sec; }
__attribute__((constructor)) static void begin(void) { start_s = now_s(); }
static long long jump(void) { return now_s() - start_s < 2 ? 0 : atoll(getenv("JUMP_S")); }
int clock_gettime(clockid_t id, struct timespec *at) {
  int failed = real(id, at);
  if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) at->tv_sec += jump();
  return failed;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  struct timespec t;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &t);
  at->tv_sec = t.tv_sec;
  at->tv_usec = t.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *at) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  if (at) *at = t.tv_sec;
  return t.tv_sec;
}
"""

LIMIT_S = 4.0


@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="preloads a C library"
)
@pytest.mark.parametrize("jump_s", [3600, -3600] if scale.FULL else [3600])
@pytest.mark.parametrize("solver", ["cpsat", "milp:backend=cbc"])
def test_a_jump_changes_no_limit(solver: str, jump_s: int, tmp_path: Path) -> None:
    """The run neither ends early nor goes on."""
    source, library = tmp_path / "jumping.c", tmp_path / "jumping.so"
    source.write_text(JUMPING)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    instance = str(tmp_path / "hard.json")
    options = ["--requests", "60", "--adapters", "5", "--seed", "1"]
    assert run(["generate", *options, "-o", instance]) == 0
    command = [sys.executable, "-m", "pats_opt", "solve", instance, "--solver", solver, "--json"]
    done = subprocess.run(
        [*command, "--time-limit", str(LIMIT_S)],
        env={**os.environ, "LD_PRELOAD": str(library), "JUMP_S": str(jump_s)},
        capture_output=True,
        text=True,
        check=True,
        timeout=10 * LIMIT_S,
    )
    result = json.loads(done.stdout)
    assert result["status"]["stop"] == "time-limit"
    # Solvers may stop a moment early, to answer in time.
    assert result["runtime_s"] >= 0.9 * LIMIT_S
