"""Fixtures of the report's tests: stub solvers, and small instance files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pats_opt.model.files import encode
from tests.report.examples import document

STUBS = ("steady", "proud", "boastful", "bad", "picky", "slow")


def install_stubs(home: Path, patch: pytest.MonkeyPatch) -> None:
    """Install the stub solvers in a folder, for this process and those that it starts."""
    metadata = home / "stub_solvers-1.dist-info"
    metadata.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("stubs.py"), home / "stub_solvers.py")
    points = "".join(f"{name} = stub_solvers:{name.capitalize()}\n" for name in STUBS)
    (metadata / "entry_points.txt").write_text(f"[pats_opt.solvers]\n{points}")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stub-solvers\nVersion: 1\n")
    patch.syspath_prepend(home)
    path = os.pathsep.join(filter(None, [str(home), os.environ.get("PYTHONPATH")]))
    patch.setenv("PYTHONPATH", path)


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stub solvers under their entry points, here and in every process started from here."""
    install_stubs(tmp_path / "site", monkeypatch)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports written by this process are without figures, which take seconds to draw."""
    monkeypatch.setattr("pats_opt.report.pages.figures", lambda _: {})


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes an instance document to a file of this name and returns its path."""

    def write_file(file: str = "example.json", **changes: Any) -> str:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(document(**{"name": path.stem, **changes})))
        return str(path)

    return write_file
