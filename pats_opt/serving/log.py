"""The server's log: a JSON line for each image, which ``pats-opt import trace`` reads as it is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import msgspec
from msgspec.structs import replace

from pats_opt.errors import InputError
from pats_opt.model.files import read_instance, write_instance
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
        """Write what is served with beside the log: an instance without requests.

        Adapters of earlier servers stay in it, as earlier lines name them.

        Raises:
            InputError: It cannot be written, or earlier lines are of a server with other GPUs,
                times or prices, with which they would be misread.
        """
        file = site_file(self._path)
        if self._has_lines:
            site = _joined(read_instance(file), site, str(self._path))
        write_instance(site, file)

    @property
    def _has_lines(self) -> bool:
        earlier = [self._numbered(number) for number in range(1, self._kept + 1)]
        return self._file.tell() > 0 or any(path.exists() for path in earlier)

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


def _joined(earlier: Instance, site: Instance, log: str) -> Instance:
    """Return a site with the adapters of an earlier one, if nothing else differs."""
    mine = {adapter.id: adapter for adapter in site.adapters}
    others = [name for name in Instance.__struct_fields__ if name != "adapters"]
    differ = [name for name in others if getattr(earlier, name) != getattr(site, name)]
    differ += [f"adapter {a.id}" for a in earlier.adapters if mine.get(a.id, a) != a]
    if differ:
        raise InputError(
            f"this log has lines of a server with other values of {differ[0]!r}",
            file=log,
            hint="name another --log, or move this one away with its site.json",
        )
    gone = [adapter for adapter in earlier.adapters if adapter.id not in mine]
    return replace(site, adapters=(*site.adapters, *gone))


def stamp(unix_s: float, precision: str = "milliseconds") -> str:
    """Format a time of day for the log: ISO 8601 in UTC."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec=precision)
