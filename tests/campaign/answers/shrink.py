"""Makes a JSON document smaller for as long as something stays true of it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.campaign.attack import Finding
from tests.support.strategies import Path, parent, places

Json = dict[str, Any]

#: Seconds after which the smallest document so far is good enough.
LONGEST_S = 60.0

#: Keys without which a document is no instance or schedule.
KEPT = frozenset({"format", "version", "id", "kind", "sha256", "name"})


def shrink(document: Json, holds: Callable[[Json], bool]) -> Json:
    """Return the document with all left out or made round that is not needed for ``holds``."""
    end, before = time.monotonic() + LONGEST_S, None
    while document != before and time.monotonic() < end:
        before = document
        for path in sorted(places(document), key=_outermost_and_last):
            for candidate in _smaller(document, path):
                if time.monotonic() > end:
                    return document
                if _still(candidate, holds):
                    document = candidate
                    break
    return document


def _outermost_and_last(path: Path) -> tuple[int, list[int]]:
    """Large parts first; of a list the last item, so that the places of others stay."""
    return len(path), [-part if isinstance(part, int) else 0 for part in path]


def _still(document: Json, holds: Callable[[Json], bool]) -> bool:
    try:
        return holds(document)
    except Exception:  # no document any more
        return False


def on_smaller_instance(finding: Finding, problem: Callable[[Json], str | None]) -> Finding:
    """Return the finding on the smallest instance of which ``problem`` still gives the problem."""
    document = shrink(finding.files["instance.json"], lambda d: problem(d) is not None)
    files = {**finding.files, "instance.json": document}
    return Finding(kind=finding.kind, problem=problem(document) or finding.problem, files=files)


def _smaller(document: Json, path: Path) -> Iterator[Json]:
    """The document without what is at a path, or with a simpler number there."""
    try:
        node, key = parent(document, path)
        value = node[key]
    except LookupError:  # left out meanwhile
        return
    if key not in KEPT:
        yield _changed(document, path, None, remove=True)
    if isinstance(value, bool) or not isinstance(value, int | float) or key == "version":
        return
    for simple in (0, 1, round(value), round(value, 1), float(f"{value:.3g}")):
        if (len(repr(simple)), abs(simple)) < (len(repr(value)), abs(value)):
            yield _changed(document, path, simple)


def _changed(document: Json, path: Path, value: object, *, remove: bool = False) -> Json:
    changed = copy.deepcopy(document)
    node, key = parent(changed, path)
    if remove:
        del node[key]
    else:
        node[key] = value
    return changed
