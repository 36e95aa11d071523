"""Executes a small schedule in processes that are killed, and prints what they leave behind.

Run as ``python killed.py FOLDER MODE COUNT [beside]``, with the checkout on the path. It forks, so
that a process costs milliseconds; the children count what they ask of the file system (open, write,
fsync, close, rename, unlink) and kill themselves with SIGKILL before some call. A write may be
torn: half of it is done, then comes the kill.

- ``points``: at each COUNT-th call in turn, then resumed to its end
- ``chain``: again and again at random calls, COUNT times over

With ``beside`` the schedule has loads beside serving.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

from PIL import PngImagePlugin  # noqa: F401 - here, so that no child has to

from pats_opt.execute.drivers import ScheduleDriver
from pats_opt.execute.record import Pace
from tests.execute.runs import beside, makings, problem, run, schedule
from tests.execute.test_loader import loading
from tests.support.killing import kill_at

STORY = loading() if "beside" in sys.argv else problem(6)
PLAN = beside(STORY, 0) if "beside" in sys.argv else schedule(STORY)
PATCHED = ("open", "write", "fsync", "close", "replace", "unlink")


def child(folder: Path, call: int | None) -> bool:
    """Run, or go on, in a process of its own; whether it got to its end."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if call is not None:
                kill_at(call, PATCHED)
            driver = ScheduleDriver(STORY, PLAN, Pace.FAST)
            status = int(run(folder, STORY, driver, resume=True).error is not None)
        finally:
            os._exit(status)
    _, ended = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(ended) or os.WEXITSTATUS(ended) == 0, "it failed of itself"
    return not os.WIFSIGNALED(ended)


def told(folder: Path, **others: Any) -> None:
    """Print what is in the folder."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "images").iterdir())
    }
    print(json.dumps({**others, "files": files, "made": makings(folder)}), flush=True)  # noqa: T201


def points(folder: Path, step: int) -> None:
    """One kill at each point."""
    call, over = 1, False
    while not over:
        each = folder / f"at-{call}" / "out"
        over = child(each, call)
        if not over:
            assert child(each, None)
        told(each, call=call, over=over)
        call += step


def chain(folder: Path, count: int) -> None:
    """Kills until it is done."""
    rng = random.Random(count)
    for number in range(count):
        each = folder / f"chain-{number}" / "out"
        kills = 0
        while not child(each, rng.randrange(5, 40)):
            kills += 1
        told(each, kills=kills)


if __name__ == "__main__":
    {"points": points, "chain": chain}[sys.argv[2]](Path(sys.argv[1]), int(sys.argv[3]))
