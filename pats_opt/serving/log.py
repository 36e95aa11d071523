"""The server's log: a JSON line for each image, which ``pats-opt import trace`` reads as it is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import msgspec

from pats_opt.errors import InputError
from pats_opt.model.files import write_instance
from pats_opt.model.instance import Instance
from pats_opt.report.served_log import site_file

#: Bytes of a log after which a new one is begun, and logs that are kept besides.
ROTATE_BYTES, KEPT = 100_000_000, 9


class RequestLog:
    """Appends lines to a log and rotates it: ``serve.jsonl``, before it ``serve.1.jsonl``, ...

    Args:
        path: The current log; lines are appended where it is there.
        rotate_bytes: Size from which a new one is begun.
        kept: Number of earlier ones that are kept.

    Raises:
        InputError: It cannot be written, or its name does not say that it is JSON lines.
    """

    def __init__(
        self, path: str | Path, rotate_bytes: int = ROTATE_BYTES, kept: int = KEPT
    ) -> None:
        self._path, self._rotate_bytes, self._kept = Path(path), rotate_bytes, kept
        if self._path.suffix not in (".jsonl", ".ndjson"):
            raise InputError(
                "a log is a file of JSON lines", file=str(path), hint="let its name end in .jsonl"
            )
        self._file = self._open()

    def _open(self) -> IO[bytes]:
        try:
            file = self._path.open("ab")
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"this log cannot be written ({reason})", file=str(self._path), hint="name another"
            ) from None
        if file.tell() and not self._ends_whole():
            file.write(b"\n")  # a kill left half a line
        return file

    def _ends_whole(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) == b"\n"

    def describe(self, site: Instance) -> None:
        """Write what was served with beside the log: an instance without requests.

        Raises:
            InputError: It cannot be written.
        """
        write_instance(site, site_file(self._path))

    def write(self, row: dict[str, Any]) -> None:
        """Append a line. Raises OSError where the disk is full."""
        if self._file.tell() > self._rotate_bytes:
            self._rotate()
        self._file.write(msgspec.json.encode(row) + b"\n")
        self._file.flush()

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._kept, 0, -1):
            before = self._numbered(number - 1) if number > 1 else self._path
            if before.exists():
                before.replace(self._numbered(number))
        if not self._kept:
            self._path.unlink()
        self._file = self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_suffix(f".{number}{self._path.suffix}")

    def close(self) -> None:
        """Close it."""
        self._file.close()

    def __enter__(self) -> RequestLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def stamp(unix_s: float, precision: str = "milliseconds") -> str:
    """Format a time of day for the log: ISO 8601 in UTC."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec=precision)
