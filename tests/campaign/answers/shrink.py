"""Makes a JSON document smaller for as long as something stays true of it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.strategies import parent, places

Json = dict[str, Any]

#: Seconds after which the smallest document so far is good enough.
LONGEST_S = 60.0

#: Keys without which a document is no instance or schedule.
KEPT = frozenset({"format", "version", "id", "kind", "sha256", "name"})


def shrink(document: Json, holds: Callable[[Json], bool]) -> Json:
    """Return the document with all left out or made round that is not needed for ``holds``."""
    end = time.monotonic() + LONGEST_S
    smaller = True
    while smaller and time.monotonic() < end:
        smaller = False
        for path in sorted(places(document), key=len):
            for candidate in _smaller(document, path):
                if time.monotonic() < end and _still(candidate, holds):
                    document, smaller = candidate, True
                    break
            if smaller:
                break
    return document


def _still(document: Json, holds: Callable[[Json], bool]) -> bool:
    try:
        return holds(document)
    except Exception:  # no document any more
        return False


def _smaller(document: Json, path: tuple[str | int, ...]) -> Iterator[Json]:
    node, key = parent(document, path)
    value = node[key]
    if key not in KEPT:
        yield _changed(document, path, None, remove=True)
    if isinstance(value, bool) or not isinstance(value, int | float) or key == "version":
        return
    for simple in (0, 1, round(value), round(value, 1), float(f"{value:.3g}")):
        if simple != value and len(repr(simple)) <= len(repr(value)):
            yield _changed(document, path, simple)


def _changed(
    document: Json, path: tuple[str | int, ...], value: object, *, remove: bool = False
) -> Json:
    changed = copy.deepcopy(document)
    node, key = parent(changed, path)
    if remove:
        del node[key]
    else:
        node[key] = value
    return changed
