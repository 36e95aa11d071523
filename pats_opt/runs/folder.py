"""Run folders: used by one process at a time, and resumed only by the same run."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pats_opt.errors import InputError
from pats_opt.model.files import StrPath

#: Locked while a process works in a folder; the system unlocks it when that process ends.
LOCK = ".lock"

#: Files that a killed process was writing.
_LEFTOVER = re.compile(r"\.\w+\.part")


class RunFolder:
    """The folder of one run.

    Args:
        path: The folder; it is made when it is locked.
        noun: Name of its content in messages: ``run``, ``report``, ``search``.
    """

    def __init__(self, path: StrPath, noun: str = "run") -> None:
        self.path, self.noun = Path(path), noun

    def is_used(self, own: Collection[str] = ()) -> bool:
        """Whether the folder has anything but its lock and leftovers of a kill.

        Args:
            own: Names of entries that do not count either.

        Raises:
            InputError: It is no folder, or cannot be read.
        """
        with self.usable():
            try:
                return any(
                    entry.name not in (LOCK, *own) and not _LEFTOVER.fullmatch(entry.name)
                    for entry in self.path.iterdir()
                )
            except FileNotFoundError:
                return False

    def refuse_used(self) -> None:
        """Raise an :class:`InputError` unless the folder is empty and can be read."""
        if self.is_used():
            raise InputError(
                "this folder is not empty",
                file=str(self.path),
                hint="name a new one, or go on in it with --resume",
            )

    def refuse_other(
        self, kept: Mapping[str, object], now: Mapping[str, object], hint: str = ""
    ) -> None:
        """Raise where the folder was begun by another run.

        Args:
            kept: Identity of the run that began the folder: what decides the results, by name.
            now: Identity of this run.
            hint: Advice at the end of the message.

        Raises:
            InputError: The two differ; the message has each difference.
        """
        differences = [name for name in {**kept, **now} if kept.get(name) != now.get(name)]
        if differences:
            listed = "; ".join(_difference(n, kept.get(n), now.get(n)) for n in differences)
            raise InputError(
                f"this folder holds another {self.noun} ({listed})",
                file=str(self.path),
                hint=hint or "give the options it was begun with, or name another folder",
            )

    @contextmanager
    def removed_if_unused(self) -> Iterator[None]:
        """Remove the folder again, and parents made for it, where bad input leaves it empty."""
        missing = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            yield
        except InputError:
            if missing:
                with suppress(OSError):  # what has anything in it stays
                    for entry in self.path.iterdir():
                        if entry.is_dir():
                            entry.rmdir()
                    (self.path / LOCK).unlink(missing_ok=True)
                    for path in missing:
                        path.rmdir()
            raise

    @contextmanager
    def locked(self, wait_s: float = 0.0) -> Iterator[None]:
        """Keep other processes out of the folder; remove files which a kill left half written.

        Args:
            wait_s: Seconds to wait for another process to leave.

        Raises:
            InputError: Another process works in the folder, or it cannot be used.
        """
        from filelock import FileLock, Timeout

        with self.usable():
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK)
            try:
                lock.acquire(timeout=wait_s, poll_interval=0.02)
            except Timeout:
                raise InputError(
                    f"another {self.noun} is using this folder",
                    file=str(self.path),
                    hint="wait for it, or name another",
                ) from None
        try:
            for entry in self.path.iterdir():
                if _LEFTOVER.fullmatch(entry.name):
                    entry.unlink()
            yield
        finally:
            lock.release()

    @contextmanager
    def usable(self) -> Iterator[None]:
        """Turn errors of the file system into one line."""
        try:
            yield
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(
                f"cannot be used as a folder ({reason})",
                file=str(self.path),
                hint="name another folder",
            ) from None


def _difference(name: str, kept: object, now: object) -> str:
    """A part of an identity with both values where they are short."""
    simple = str | int | float | None
    if isinstance(kept, simple) and isinstance(now, simple):
        return f"{name} {_short(kept)}, not {_short(now)}"
    return f"another {name}"


def _short(value: object) -> str:
    """A value; of a digest its first letters."""
    text = "none" if value is None else str(value)
    return text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text
