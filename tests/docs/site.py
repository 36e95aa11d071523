"""The guide, built once for all tests of a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.instead import ROOT
from tests.support.shared import made_once


def guide(factory: pytest.TempPathFactory) -> Path:
    """The guide as ``make docs`` builds it.

    Its pages are in ``html``; what Sphinx complained of is in ``complaints.txt``.
    """
    return made_once(factory, "guide", _build)


def _build(folder: Path) -> None:
    places = ["-c", ROOT / "docs", "-d", folder / "trees", ROOT, folder / "html"]
    command = ["-m", "sphinx", "-q", "-b", "html", "--no-color", *map(str, places)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    (folder / "complaints.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    assert done.returncode == 0, done.stderr
