"""Folders that outlive no process, killed or not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pats_opt.runs.guarded import PREFIX, guarded_folder, remove_stale
from tests.report.test_command import wait_for

#: Makes a folder with a file, says where, and waits.
HOLDER = """
import sys
from pats_opt.runs.guarded import guarded_folder
folder = guarded_folder()
(folder / "copy").write_text("x")
print(folder, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_it_is_removed_with_its_process(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not before, whoever looks for stale ones."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    command = [sys.executable, "-c", HOLDER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.parent == tmp_path
        remove_stale()
        assert (folder / "copy").read_text() == "x"
        if how == "killed":
            process.kill()
        else:
            process.communicate()
    wait_for(lambda: not folder.exists())


def test_what_a_lost_guard_left_is_removed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    stale, other = tmp_path / f"{PREFIX}x", tmp_path / "pats-opt-x"
    for folder in (stale, other):
        folder.mkdir()
        (folder / "copy").touch()
    made = guarded_folder()
    assert made.is_dir()
    assert not stale.exists()
    assert other.exists()
