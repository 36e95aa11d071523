"""The journal of asynchronous jobs: an SQLite database, so that a kill loses and doubles nothing.

One thread owns the database. All that it finds in its queue is one transaction, so that many jobs
share the wait for the disk. A job is acknowledged after its transaction, and its result, images
included, becomes visible in one: it is there whole or not at all.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, TypeVar

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.runs.folder import RunFolder

T = TypeVar("T")

#: The database in the folder, and the version of its tables.
FILE, VERSION = "jobs.sqlite", 1

#: ``number`` is the order of arrival, times are Unix seconds, ``size`` in bytes, images included;
#: ``kept`` has the bytes of all results.
TABLES = """
CREATE TABLE jobs (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, arrived REAL NOT NULL,
  request BLOB NOT NULL, status TEXT NOT NULL, ended REAL, result BLOB, size INTEGER);
CREATE TABLE images (
  name TEXT PRIMARY KEY, job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE, png BLOB NOT NULL);
CREATE INDEX jobs_ended ON jobs (ended) WHERE ended IS NOT NULL;
CREATE INDEX images_job ON images (job);
CREATE TABLE kept (bytes INTEGER NOT NULL);
INSERT INTO kept VALUES (0);
CREATE TRIGGER job_ended AFTER UPDATE OF ended ON jobs
  BEGIN UPDATE kept SET bytes = bytes + new.size; END;
CREATE TRIGGER job_removed AFTER DELETE ON jobs WHEN old.ended IS NOT NULL
  BEGIN UPDATE kept SET bytes = bytes - old.size; END;
"""


class JobStatus(StrEnum):
    """Status of a job; the journal has queued and running ones as ``queued``."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobRecord(Struct, frozen=True, kw_only=True):
    """A job in the journal.

    Attributes:
        id: Its id.
        arrived: When it arrived, Unix seconds.
        request: Its request, as the API has it, JSON.
        status: Its status.
        result: Its result or its error, JSON; None before its end.
    """

    id: str
    arrived: float
    request: bytes
    status: JobStatus
    result: bytes | None


class JobJournal:
    """Jobs and their results, of one server at a time.

    Args:
        folder: Its folder, made if need be; None for a journal in memory, which ends with it.
        kept_s: Seconds for which results are kept.
        kept_bytes: Bytes of all results.
        clock: Unix seconds.

    Attributes:
        is_durable: Whether it survives the server.
        unfinished: Jobs that an earlier server has accepted and not ended, by arrival.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        kept_s: float,
        kept_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._kept_s, self._kept_bytes = folder, kept_s, kept_bytes
        self._clock = clock
        self.is_durable = folder is not None
        self.unfinished: tuple[JobRecord, ...] = ()
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._stack = ExitStack()

    def __enter__(self) -> JobJournal:
        """Open it.

        Raises:
            InputError: Another server uses the folder, or it holds no journal that can be read.
        """
        with ExitStack() as stack:
            if self._folder is not None:
                stack.enter_context(RunFolder(self._folder, "server").locked())
            self._db = self._opened()
            stack.callback(self._db.close)
            thread = threading.Thread(target=self._run, name="journal", daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(self._queue.put, None)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _opened(self) -> sqlite3.Connection:
        """Return the database; the jobs without an end are noted."""
        path = ":memory:" if self._folder is None else str(self._folder / FILE)
        try:
            db = sqlite3.connect(path, check_same_thread=False)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                db.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
            elif version != VERSION:
                raise sqlite3.DatabaseError(f"its version is {version}, not {VERSION}")
            rows = db.execute(f"{_SELECT} WHERE ended IS NULL ORDER BY number")
            self.unfinished = tuple([_record(row) for row in rows])
        except sqlite3.Error as error:
            raise InputError(
                f"this journal cannot be used ({error})", file=path, hint="name another folder"
            ) from None
        return db

    def add(self, job: JobRecord) -> Future[None]:
        """Write down a job; it survives from the end of the future on.

        The future raises :class:`sqlite3.Error` where it cannot be written, as all here do.
        """
        values = (job.id, job.arrived, job.request, job.status)

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO jobs (id, arrived, request, status) VALUES (?, ?, ?, ?)", values
            )

        return self._do(write)

    def end(
        self, name: str, status: JobStatus, result: bytes, images: Sequence[tuple[str, bytes]] = ()
    ) -> Future[bool]:
        """Write down a job's end; false, and nothing is written, where it had ended before.

        Args:
            name: Its id.
            status: How it ended.
            result: Its result or its error, JSON.
            images: Name and PNG file of each image.
        """
        size, ended = len(result) + sum([len(png) for _, png in images]), self._clock()

        def write(db: sqlite3.Connection) -> bool:
            is_first = db.execute(
                "UPDATE jobs SET status = ?, ended = ?, result = ?, size = length(request) + ? "
                "WHERE id = ? AND ended IS NULL",
                (status, ended, result, size, name),
            ).rowcount
            if is_first:
                db.executemany(
                    "INSERT INTO images SELECT ?, number, ? FROM jobs WHERE id = ?",
                    [(image, png, name) for image, png in images],
                )
                self._remove_old(db)
            return bool(is_first)

        return self._do(write)

    def read(self, name: str) -> Future[JobRecord | None]:
        """Read a job; None where there is none (any more)."""

        def find(db: sqlite3.Connection) -> JobRecord | None:
            oldest = self._clock() - self._kept_s
            row = db.execute(
                f"{_SELECT} WHERE id = ? AND coalesce(ended >= ?, 1)", (name, oldest)
            ).fetchone()
            return None if row is None else _record(row)

        return self._do(find)

    def image(self, name: str) -> Future[bytes | None]:
        """Read the image of a name; None where there is none (any more)."""

        def find(db: sqlite3.Connection) -> bytes | None:
            row = db.execute("SELECT png FROM images WHERE name = ?", (name,)).fetchone()
            return None if row is None else row[0]

        return self._do(find)

    def _do(self, operation: Callable[[sqlite3.Connection], T]) -> Future[T]:
        work = _Work(operation, Future())
        work.future.set_running_or_notify_cancel()  # it is done even if nobody waits any more
        self._queue.put(work)
        return work.future

    def _run(self) -> None:
        going = True
        while going:
            batch = [self._queue.get()]
            try:
                while True:
                    batch.append(self._queue.get_nowait())
            except Empty:
                pass
            going = None not in batch
            self._commit([work for work in batch if work is not None])

    def _commit(self, batch: Sequence[_Work]) -> None:
        """Do operations in one transaction; where that fails, each in its own."""
        try:
            with self._db:
                found = [work.operation(self._db) for work in batch]
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
            else:
                for work in batch:
                    self._commit([work])
            return
        for work, value in zip(batch, found, strict=True):
            work.future.set_result(value)

    def _remove_old(self, db: sqlite3.Connection) -> None:
        """Remove results that are too old, and the oldest of too many; the newest is kept."""
        db.execute("DELETE FROM jobs WHERE ended < ?", (self._clock() - self._kept_s,))
        while db.execute("SELECT bytes > ? FROM kept", (self._kept_bytes,)).fetchone()[0]:
            oldest = db.execute(
                "SELECT number FROM jobs WHERE ended IS NOT NULL ORDER BY ended, number LIMIT 2"
            ).fetchall()
            if len(oldest) < 2:
                break
            db.execute("DELETE FROM jobs WHERE number = ?", oldest[0])


class _Work(Struct, frozen=True):
    """An operation on the database, and the future of its value."""

    operation: Callable[[sqlite3.Connection], Any]
    future: Future[Any]


_SELECT = "SELECT id, arrived, request, status, result FROM jobs"


def _record(row: Sequence[Any]) -> JobRecord:
    name, arrived, request, status, result = row
    return JobRecord(
        id=name, arrived=arrived, request=request, status=JobStatus(status), result=result
    )
