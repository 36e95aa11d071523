"""Measurements on disk: every part is kept as soon as it is done."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pats_opt.errors import InputError
from pats_opt.model.files import encode, read_bytes, write_bytes
from pats_opt.model.instance import Document
from pats_opt.profiling.record import Asked, Found, Part, Raw, read_raw, with_parts


class Store:
    """The document of one profile's measurements.

    Args:
        path: Its file; measuring goes on from there where it is there already.
        asked: What is measured with.
        clock: Seconds, from anywhere.

    Raises:
        InputError: The file is no such document, or was measured with something else.
    """

    def __init__(self, path: Path, asked: Asked, clock: Callable[[], float]) -> None:
        self.path = path
        self._clock = clock
        if path.exists():
            self.raw = self._read()
            self._compare("asked", self.raw.asked, asked)
        else:
            begun = datetime.now(UTC).isoformat(timespec="seconds")
            self.raw = Raw(asked=asked, begun=begun)
        self._before_s = self.raw.seconds
        self._began = clock()
        self.raw = msgspec.structs.replace(self.raw, sittings=self.raw.sittings + 1)

    def _read(self) -> Raw:
        try:
            return read_raw(read_bytes(self.path))
        except InputError as error:
            raise error if error.file else error.in_file(str(self.path)) from None

    def _compare(self, name: str, before: Document, now: Document) -> None:
        for field in now.__struct_fields__:
            was, is_now = getattr(before, field), getattr(now, field)
            if was != is_now:
                raise InputError(
                    f"it was measured with something else ({was} is now {is_now})",
                    file=str(self.path),
                    place=f"{name}.{field}",
                    hint="name another -o, or remove it to measure anew",
                )

    def opened(self, found: Found) -> None:
        """Take down what the engine runs on.

        Raises:
            InputError: It ran on something else before.
        """
        if self.raw.found is None:
            self.raw = msgspec.structs.replace(self.raw, found=found)
        else:
            self._compare("found", self.raw.found, found)

    def has(self, key: str) -> bool:
        """Whether a part is done."""
        return key in self.raw.done

    def keep(self, key: str, *parts: Part) -> None:
        """Add a part that is done, and write the document."""
        seconds = self._before_s + self._clock() - self._began
        self.raw = msgspec.structs.replace(with_parts(self.raw, key, parts), seconds=seconds)
        write_bytes(self.path, encode(self.raw))
