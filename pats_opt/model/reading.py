"""Reading an instance request by request, so that a million of them take little memory.

A whole document as Python objects would take several times the memory of its text. Here one part of
the requests after another is parsed, hashed and converted, and equal values of different requests
are one object.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any

import msgspec
from msgspec.structs import force_setattr

from pats_opt.model.instance import Instance, Request, canonical
from pats_opt.model.parsing import has_lost_keys

#: Requests that are parsed at a time.
PART = 1000

#: Fields of a request in which many have the same value.
SHARED = ("adapter", "weight", "complexity", "deadline_s", "reject_loss", "group", "prompt")


def read_in_parts(data: bytes) -> tuple[Instance, str] | None:
    """Return the instance in a JSON text and its digest; None where the text needs a closer look.

    The text may then have an error, or is unusual. Ids and references are not checked.
    """
    try:
        values = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        if not {"format", "version", "requests"} <= values.keys():
            return None
        reader = _Reader()
        for key in sorted(values):
            reader.read(key, values[key])
        if has_lost_keys(data, reader.colons):
            return None
        reader.hash.update(b"}")
        frame = msgspec.convert({**reader.rest, "requests": []}, Instance)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return None
    instance = msgspec.structs.replace(frame, requests=tuple(reader.requests))
    return instance, reader.hash.hexdigest()


class _Reader:
    """The values of a document, read in the order of their keys.

    Attributes:
        rest: All but the requests.
        requests: The requests.
        colons: Colons in the compact text so far.
        hash: Hash of the canonical text so far.
    """

    def __init__(self) -> None:
        self.rest: dict[str, Any] = {}
        self.requests: list[Request] = []
        self.colons = 0
        self.hash = hashlib.sha256()
        self._known: dict[Any, Any] = {}  # each shared value once

    def read(self, key: str, text: msgspec.Raw) -> None:
        """Read the value of a key."""
        self.hash.update(b"," if self.colons else b"{")
        self._canonical(key)
        self.colons += 1
        self.hash.update(b":")
        if key != "requests":
            self.rest[key] = msgspec.json.decode(text)
            self._canonical(self.rest[key])
            return
        texts = msgspec.json.decode(text, type=list[msgspec.Raw])[::-1]
        self.hash.update(b"[")
        while texts:
            part = [msgspec.json.decode(one) for one in texts[: -PART - 1 : -1]]
            del texts[-PART:]
            self._canonical(part, slice(1, -1))
            self.requests += map(self._shared, msgspec.convert(part, list[Request]))
            self.hash.update(b"," if texts else b"")
        self.hash.update(b"]")

    def _canonical(self, value: Any, inside: slice = slice(None)) -> None:
        """Add a value to what is hashed."""
        compact = msgspec.json.encode(value, order="sorted")
        self.colons += compact.count(b":")
        self.hash.update(canonical(value, compact)[inside])

    def _shared(self, request: Request) -> Request:
        """Give a request the values of earlier ones that equal its own."""
        known = self._known
        for name in SHARED:
            value = getattr(request, name)
            if value and (found := known.setdefault(value, value)) is not value:
                force_setattr(request, name, found)
        demand = known.setdefault(tuple(request.demand.items()), request.demand)
        force_setattr(request, "demand", demand)
        with suppress(TypeError):  # an option with "extra" has no hash
            force_setattr(request, "options", known.setdefault(request.options, request.options))
        return request
