"""The guide, built once for all tests of a run, however many processes it has."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.instead import ROOT


def shared(factory: pytest.TempPathFactory) -> Path:
    """The guide, built as ``make docs`` does, in a folder that all processes of a run see.

    Beside its pages, ``html``, what Sphinx complained of is in ``complaints.txt``.
    """
    base = factory.getbasetemp()
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    folder = (base if alone else base.parent) / "guide"
    folder.mkdir(exist_ok=True)
    told = folder / "complaints.txt"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            places = ["-c", ROOT / "docs", "-d", folder / "trees", ROOT, folder / "html"]
            command = ["-m", "sphinx", "-q", "-b", "html", "--no-color", *map(str, places)]
            done = subprocess.run(
                [sys.executable, *command], capture_output=True, text=True, check=False
            )
            told.write_text(done.stdout + done.stderr, encoding="utf-8")
            assert done.returncode == 0, done.stderr
    return folder
