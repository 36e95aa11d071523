"""Images that are kept in memory for their URLs: so much memory, so long."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from msgspec import Struct


class _Kept(Struct, frozen=True):
    data: bytes
    until: float


class ImageStore:
    """Images by names that nobody can guess; the oldest go first.

    Args:
        most_bytes: Memory of all; one image is always kept.
        kept_s: Seconds for which an image is kept.
        clock: Seconds.
    """

    def __init__(
        self, most_bytes: int, kept_s: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self._most, self._kept_s, self._clock = most_bytes, kept_s, clock
        self._images: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0

    def put(self, data: bytes) -> str:
        """Keep an image; its name."""
        name = secrets.token_urlsafe(24)
        self._images[name] = _Kept(data, self._clock() + self._kept_s)
        self._bytes += len(data)
        while len(self._images) > 1 and self._is_over(next(iter(self._images.values()))):
            _, gone = self._images.popitem(last=False)
            self._bytes -= len(gone.data)
        return name

    def _is_over(self, oldest: _Kept) -> bool:
        return self._bytes > self._most or oldest.until <= self._clock()

    def get(self, name: str) -> bytes | None:
        """An image, or None where there is none (any more)."""
        found = self._images.get(name)
        return None if found is None or found.until <= self._clock() else found.data
