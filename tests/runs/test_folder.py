"""Run folders: one process at a time, never overwritten, resumed by the same run only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pats_opt.errors import InputError
from pats_opt.runs.folder import LOCK, RunFolder

HOLD = """
import sys, time
from pats_opt.runs.folder import RunFolder
with RunFolder(sys.argv[1]).locked():
    print("locked", flush=True)
    time.sleep(600)
"""


def test_a_second_process_is_refused_in_one_line(tmp_path: Path) -> None:
    """And let in once the first one has been killed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with (
            pytest.raises(InputError, match="another search is using this folder") as caught,
            RunFolder(tmp_path / "out", "search").locked(0.05),
        ):
            raise AssertionError("both are in it")
        assert len(str(caught.value).splitlines()) == 1
        process.kill()
        process.wait()
    with RunFolder(tmp_path / "out").locked():
        pass


def test_a_lock_and_leftovers_are_no_use(tmp_path: Path) -> None:
    """Leftovers of a kill go as soon as the folder is locked; any other file is a use."""
    folder = RunFolder(tmp_path)
    (tmp_path / ".abc123.part").write_bytes(b"{")
    with folder.locked():
        assert [entry.name for entry in tmp_path.iterdir()] == [LOCK]
    folder.refuse_used()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"not empty; name a new one, or go on in it with --res"):
        folder.refuse_used()
    assert not RunFolder(tmp_path / "new").is_used()


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (RunFolder(tmp_path / "file"), RunFolder(tmp_path / "file" / "below")):
        with pytest.raises(InputError, match="cannot be used as a folder"), folder.locked():
            pass


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """It could be a file of somebody else's."""
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="cannot be used"), RunFolder(tmp_path).locked():
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_another_run_is_refused_with_every_difference(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "search")
    kept = {"seed": 1, "instance": "a" * 64, "space": ["x"], "policy": "pats"}
    folder.refuse_other(kept, dict(kept))
    other = {"seed": 2, "instance": "b" * 64, "space": ["y"], "policy": "pats", "limit": 3.0}
    with pytest.raises(InputError) as caught:
        folder.refuse_other(kept, other)
    assert (
        "this folder holds another search (seed 1, not 2; instance aaaaaaaaaaaa, not "
        "bbbbbbbbbbbb; another space; limit none, not 3.0); give the options"
    ) in str(caught.value)
