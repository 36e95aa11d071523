"""Names near a misspelt one, for the hint of a one-line error."""

from __future__ import annotations

from collections.abc import Iterable

#: Names that are listed where none is near.
MOST_LISTED = 12


def near(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> list[str]:
    """At most three known names much like a misspelt one, the nearest first.

    Args:
        name: What was written.
        known: What could have been written. Capitals make no difference.
        cutoff: How alike they are at least, as :func:`difflib.get_close_matches` measures it.
    """
    import difflib

    lower: dict[str, list[str]] = {}
    for one in known:
        lower.setdefault(one.lower(), []).append(one)
    found = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=cutoff)
    return [one for key in found for one in lower[key]][:3]


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The names of :func:`near` by commas; where there is none, the known names.

    Of a long list it gives the first :data:`MOST_LISTED`.
    """
    there = list(known)
    if found := near(name, there, cutoff=cutoff):
        return ", ".join(found)
    more = len(there) - MOST_LISTED
    return ", ".join(there[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def choose(name: str, known: Iterable[str]) -> str:
    """The hint of a name that is not there: ``choose one of: ...``."""
    return f"choose one of: {nearest(name, known)}"


def meant(name: str, known: Iterable[str]) -> str:
    """``did you mean ...?``, or an empty text where no known name is near."""
    found = near(name, known)
    return f"did you mean {' or '.join(map(repr, found))}?" if found else ""
