"""Fixtures of the tuning tests: the stub solver, and instance files in two classes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pats_opt.model.files import encode
from tests.report.examples import document

ROOT = Path(__file__).parents[2]


STUBS = ("dial", "narrow")


@pytest.fixture
def dial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stubs under their entry points, here and in every process started from here."""
    home = tmp_path / "site"
    metadata = home / "dial-1.dist-info"
    metadata.mkdir(parents=True)
    points = "".join(f"{name} = tests.tuning.stubs:{name.capitalize()}\n" for name in STUBS)
    (metadata / "entry_points.txt").write_text(f"[pats_opt.solvers]\n{points}")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: dial\nVersion: 1\n")
    monkeypatch.syspath_prepend(home)
    path = os.pathsep.join(filter(None, [str(home), str(ROOT), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)


def write(file: Path, **changes: Any) -> str:
    """Write an instance document called like its file; returns its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode(document(**{"name": file.stem, **changes})))
    return str(file)


@pytest.fixture
def instances(tmp_path: Path) -> str:
    """A folder of ten instances in two classes."""
    folder = tmp_path / "instances"
    for k in range(6):
        write(folder / "small" / f"small-{k}.json", requests=1 + k)
    for k in range(4):
        write(folder / "large" / f"large-{k}.json", requests=8 + k)
    return str(folder)
