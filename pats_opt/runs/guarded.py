"""Folders that are removed when this process ends, also when it is killed.

A guard of a few system programs waits for the end of a pipe that only this process holds, and then
removes the folder. Where the guard was killed too, the next process that makes such a folder
removes what nobody holds a lock on.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp

#: Beginning of the folders' names.
PREFIX = "pats-opt-copies-"

#: Script of the guard. What still wrote into the folder has ended when it is removed again.
GUARD = """exec 3<&0
(cat <&3 >/dev/null; rm -rf -- "$1"; sleep 2; rm -rf -- "$1") &"""

#: Files that are open until this process ends, the locks and the pipes.
_HELD: list[int] = []


def guarded_folder() -> Path:
    """Make a new folder of this process."""
    remove_stale()
    while True:
        folder = Path(mkdtemp(prefix=PREFIX))
        with suppress(FileNotFoundError):  # where another process found it before it is locked
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.is_dir():
                break
            os.close(lock)
    end, held = os.pipe()
    _HELD.extend((lock, held))
    subprocess.run(
        ["sh", "-c", GUARD, "sh", str(folder)],
        stdin=end,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # or it would be killed with this process
        check=True,
    )
    os.close(end)
    return folder


def remove_stale() -> None:
    """Remove the folders of processes that have ended."""
    for path in Path(gettempdir()).glob(f"{PREFIX}*"):
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # of another user, or gone by now
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)
