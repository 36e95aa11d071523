"""Names similar to a misspelt one, for the hints of errors."""

from __future__ import annotations

from collections.abc import Iterable

#: Number of names that are listed if none is similar.
MOST_LISTED = 12


def near(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> list[str]:
    """Return at most three known names similar to a misspelt one, the most similar first.

    Args:
        name: The misspelt name.
        known: The known names. Case is ignored.
        cutoff: Least similarity, as :func:`difflib.get_close_matches` measures it.
    """
    import difflib

    lower: dict[str, list[str]] = {}
    for one in known:
        lower.setdefault(one.lower(), []).append(one)
    found = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=cutoff)
    return [one for key in found for one in lower[key]][:3]


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the names of :func:`near`, or else the first :data:`MOST_LISTED` known ones.

    They are separated by commas.
    """
    there = list(known)
    if found := near(name, there, cutoff=cutoff):
        return ", ".join(found)
    more = len(there) - MOST_LISTED
    return ", ".join(there[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def choose(name: str, known: Iterable[str]) -> str:
    """Return the hint for an unknown name: ``choose one of: ...``."""
    return f"choose one of: {nearest(name, known)}"


def meant(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean ...?``, or an empty text if no known name is similar."""
    found = near(name, known)
    return f"did you mean {' or '.join(map(repr, found))}?" if found else ""
