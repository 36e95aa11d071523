"""The journal of jobs: acknowledged means on disk, each job ends once, old results go."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from pats_opt.errors import InputError
from pats_opt.serving.journal import FILE, JobRecord, JobStatus
from tests.serving.running import journal_in


def job(name: str) -> JobRecord:
    """A job that has just arrived."""
    return JobRecord(id=name, arrived=1.0, request=b"{}", status=JobStatus.QUEUED, result=None)


def test_another_server_goes_on(tmp_path: Path) -> None:
    """With what had no end, in order; what had one keeps its result."""
    with journal_in(tmp_path) as journal:
        for name in "cab":
            journal.add(job(name)).result()
        assert journal.end("a", JobStatus.DONE, b"[]", [("x", b"png")]).result()
    with journal_in(tmp_path) as journal:
        assert [record.id for record in journal.unfinished] == ["c", "b"]
        found = journal.read("a").result()
        assert found is not None
        assert (found.status, found.result) == (JobStatus.DONE, b"[]")
        assert journal.image("x").result() == b"png"
        assert journal.read("d").result() is None
        assert journal.image("y").result() is None


def test_a_job_ends_once() -> None:
    """The first end counts, and no image of a second one is kept."""
    with journal_in(None) as journal:
        journal.add(job("a")).result()
        assert journal.end("a", JobStatus.CANCELLED, b"[]").result()
        assert not journal.end("a", JobStatus.DONE, b"[1]", [("x", b"png")]).result()
        found = journal.read("a").result()
        assert found is not None
        assert found.status is JobStatus.CANCELLED
        assert journal.image("x").result() is None


def test_what_fails_fails_alone() -> None:
    """Of operations in one transaction the others are done."""
    with journal_in(None) as journal:
        some = [journal.add(job(name)) for name in ("a", "a", "b")]
        assert some[0].result() is None
        with pytest.raises(sqlite3.IntegrityError):
            some[1].result()
        assert journal.read("b").result() is not None


def test_a_client_that_waits_no_longer() -> None:
    """What it asked for is done, and the journal goes on."""
    with journal_in(None) as journal:

        async def leave() -> None:
            written = asyncio.ensure_future(asyncio.wrap_future(journal.add(job("a"))))
            written.cancel()
            await asyncio.gather(written, return_exceptions=True)
            assert written.cancelled()

        asyncio.run(leave())
        assert journal.read("a").result(60) is not None


def test_a_full_disk(tmp_path: Path) -> None:
    """A job that cannot be written is not acknowledged; the rest can still be read."""
    with journal_in(tmp_path) as journal:
        journal.add(job("a")).result()
        journal._do(lambda db: db.execute("PRAGMA max_page_count = 1").fetchone()).result()
        large = JobRecord(
            id="b", arrived=1.0, request=bytes(10**6), status=JobStatus.QUEUED, result=None
        )
        with pytest.raises(sqlite3.OperationalError, match="full"):
            journal.add(large).result()
        assert journal.read("b").result() is None
        assert journal.read("a").result() is not None


def test_old_results_go() -> None:
    """By time and by bytes, those of unfinished jobs never; the newest is kept."""
    now = [100.0]
    with journal_in(None, kept_s=10.0, kept_bytes=250, clock=lambda: now[0]) as journal:
        for name in "abcd":
            journal.add(job(name)).result()

        def end(name: str, second: float) -> None:
            now[0] = second
            journal.end(name, JobStatus.DONE, b"[]", [(f"{name}.png", bytes(100))]).result()

        def left() -> str:
            found = [record for name in "abcd" if (record := journal.read(name).result())]
            return "".join([record.id for record in found])

        end("a", 102.0)
        end("b", 104.0)
        assert left() == "abcd"
        end("c", 106.0)
        assert left() == "bcd"
        assert journal.image("a.png").result() is None
        now[0] = 115.0
        assert left() == "cd"
        now[0] = 200.0
        assert left() == "d"


def test_folders_that_are_refused(tmp_path: Path) -> None:
    """Of another server, without a database that can be read, of another version, a file."""
    with (
        journal_in(tmp_path / "one"),
        pytest.raises(InputError, match="another server is using this folder"),
        journal_in(tmp_path / "one"),
    ):
        pass
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(InputError, match="this journal cannot be used"), journal_in(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "one" / FILE) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with (
        pytest.raises(InputError, match="its version is 9, not 1"),
        journal_in(tmp_path / "one"),
    ):
        pass
    with pytest.raises(InputError, match="cannot be used as a folder"), journal_in(tmp_path / FILE):
        pass
