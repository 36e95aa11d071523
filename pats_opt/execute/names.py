"""File names for ids: safe on every system, and of one id alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

#: An id that is a good file name as it is.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")

#: How the names end that are made for other ids; an id that ends so by itself is one of those.
_MADE = re.compile(r"-[0-9a-fA-F]{16}$")

#: Device names of Windows, with whatever suffix.
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")


def file_names(ids: Iterable[str], suffix: str) -> dict[str, str]:
    """A file name for each id, different even where upper and lower case are one.

    An id of letters, digits, dots, hyphens and underscores is its own name; any other gets what is
    left of it and a digest. No name has a separator, begins with a dot or is longer than 120.
    """
    named = dict.fromkeys(ids)
    plain: dict[str, int] = {}
    for name in named:
        if _is_plain(name):
            plain[name.lower()] = plain.get(name.lower(), 0) + 1
    return {
        name: (name if _is_plain(name) and plain[name.lower()] == 1 else _made(name)) + suffix
        for name in named
    }


def _is_plain(name: str) -> bool:
    return bool(_PLAIN.fullmatch(name)) and not _MADE.search(name) and not _RESERVED.match(name)


def _made(name: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:60]
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{readable or 'x'}-{digest}"
