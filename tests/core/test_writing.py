"""Writing: a regular file whole or not at all, in its place; all else is written into."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pats_opt.cli import run
from pats_opt.errors import InputError
from pats_opt.model.files import refuse_unwritable, replace_bytes, write_bytes

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX files only")
as_root = pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() != 0, reason="only root makes devices and gives files away"
)


def entries(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@posix
def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    """Its reader gets the bytes, and it stays a pipe; asking before writes nothing."""
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    refuse_unwritable(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_bytes(pipe, b"new")
    reader.join(timeout=60)
    assert read == [b"new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert entries(tmp_path) == ["pipe"]


@as_root
def test_a_device_is_written_into(tmp_path: Path) -> None:
    """Devices of the kinds of ``/dev/null`` and ``/dev/full``, of the test's own."""
    null, full = tmp_path / "null", tmp_path / "full"
    for path, minor in ((null, 3), (full, 7)):
        try:
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, minor))
            path.write_bytes(b"")
        except PermissionError:
            pytest.skip("no devices can be made here")
    write_bytes(null, b"new")
    with pytest.raises(InputError, match=r"full: cannot be written \(No space left"):
        write_bytes(full, b"new")
    for path in (null, full):
        refuse_unwritable(path)
        assert stat.S_ISCHR(path.stat().st_mode)
    assert entries(tmp_path) == ["full", "null"]


@posix
def test_links_are_followed_and_modes_kept(tmp_path: Path) -> None:
    """A link to a link stays one, also where it leads to no file yet."""
    real, new = tmp_path / "there" / "real", tmp_path / "there" / "not yet" / "new"
    real.parent.mkdir()
    real.write_text("old", encoding="utf-8")
    real.chmod(0o640)
    (tmp_path / "link").symlink_to("other link")
    (tmp_path / "other link").symlink_to("there/real")
    (tmp_path / "dangling").symlink_to("there/not yet/new")
    for link, target in (("link", real), ("dangling", new)):
        refuse_unwritable(tmp_path / link)
        write_bytes(tmp_path / link, b"new")
        assert (tmp_path / link).is_symlink()
        assert text(target) == "new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(new.stat().st_mode) == 0o666 & ~umask
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="loop: cannot be written"):
        write_bytes(tmp_path / "loop", b"new")


@as_root
def test_the_owner_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    path.touch()
    path.chmod(0o4600)
    os.chown(path, 12345, 54321)
    path.chmod(0o4600)
    write_bytes(path, b"new")
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 54321, 0o4600)
    assert text(path) == "new"


@posix
@pytest.mark.parametrize("refused", ["chown", "replace"])
def test_what_cannot_be_replaced_is_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """A file of another owner, and one that is mounted by itself: the same file has the bytes."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "not yours")

    path = tmp_path / "theirs"
    path.write_text("a longer text", encoding="utf-8")
    before = path.stat()
    if refused == "chown":
        other = os.stat_result((before.st_mode, before.st_ino, before.st_dev, 1, 1, 2, *before[6:]))
        monkeypatch.setattr("pats_opt.model.files._status", lambda _: other)
        monkeypatch.setattr(os, "chown", refuse)
    else:
        monkeypatch.setattr(Path, "replace", refuse)
    write_bytes(path, b"new")
    assert text(path) == "new"
    assert path.stat().st_ino == before.st_ino
    assert entries(tmp_path) == ["theirs"]


@posix
def test_a_protected_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replacing it would be possible; its owner has said no."""

    def protected(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "protected"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o400)
    if os.geteuid() == 0:  # nothing is protected from root
        monkeypatch.setattr(os, "open", protected)
    for write in (refuse_unwritable, lambda path: write_bytes(path, b"new")):
        with pytest.raises(InputError, match=r"protected: cannot be written \(Permission denied\)"):
            write(path)
    assert text(path) == "old"


@pytest.mark.parametrize("name", ["a/b/" + 300 * "x", "a/b/nul\0l"])
def test_no_folder_is_left_behind(tmp_path: Path, name: str) -> None:
    for write in (refuse_unwritable, lambda path: write_bytes(path, b"new")):
        with pytest.raises(InputError, match="cannot be written"):
            write(tmp_path / name)
        assert entries(tmp_path) == []


def test_asking_before_leaves_nothing(tmp_path: Path) -> None:
    """A command that fails later has made no folder."""
    refuse_unwritable(tmp_path / "a" / "b" / "new")
    assert entries(tmp_path) == []
    (tmp_path / "a").mkdir()
    write_bytes(tmp_path / "a" / "b" / "new", b"new")
    assert entries(tmp_path) == ["a", "a/b", "a/b/new"]


def test_an_interrupt_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    (tmp_path / "old").write_text("old", encoding="utf-8")
    monkeypatch.setattr(Path, "replace", interrupt)
    for name in ("old", "new/folder/new"):
        with pytest.raises(KeyboardInterrupt):
            write_bytes(tmp_path / name, b"new")
    assert entries(tmp_path) == ["old"]
    assert text(tmp_path / "old") == "old"


@posix
def test_standard_output_keeps_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name of standard output, be it that of the file it goes to, does not replace the file."""
    path = tmp_path / "printed"
    with path.open("w", encoding="utf-8") as printed:
        monkeypatch.setattr(sys, "stdout", printed)
        for name in (f"/dev/fd/{printed.fileno()}", path):
            print("printed", file=printed)
            write_bytes(name, b"written\n")
    assert text(path) == "printed\nwritten\n" * 2


@posix
def test_a_link_is_replaced_in_our_own_folders(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("old", encoding="utf-8")
    (tmp_path / "planted").symlink_to("precious")
    replace_bytes(tmp_path / "planted", b"new")
    assert not (tmp_path / "planted").is_symlink()
    assert text(tmp_path / "precious") == "old"


@posix
def test_commands_write_through_links(tmp_path: Path) -> None:
    """The option ``-o`` of a command, from end to end."""
    (tmp_path / "target.json").touch(0o600)
    (tmp_path / "link.json").symlink_to("target.json")
    asked = ["generate", "--requests", "3", "--seed", "1", "-o", str(tmp_path / "link.json")]
    assert run(asked) == 0
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "target.json").stat().st_size > 500
    assert stat.S_IMODE((tmp_path / "target.json").stat().st_mode) == 0o600
