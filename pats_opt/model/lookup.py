"""The result of a request's cache look-up (approximate caching), kept in ``extra`` of the request.

It is written by ``generate`` and ``import``. Policies may read it; no rule or loss depends on it.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from pats_opt.errors import InputError
from pats_opt.model.parsing import convert

#: Key of ``extra`` under which the result is.
KEY = "approximate_cache"


class CacheLookup(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, gc=False):
    """Result of a look-up.

    Attributes:
        level: Steps that the nearest cached prompt lets the request skip; 0 after a miss.
        similarity: Cosine to that prompt; None where it is not known, or nothing was cached.
    """

    level: Annotated[int, Meta(ge=0, le=1_000_000)]
    similarity: Annotated[float, Meta(ge=-1, le=1)] | None = None


def cache_lookup(extra: object, place: str) -> CacheLookup | None:
    """Return the look-up that a request's ``extra`` has, or None where it has none.

    Args:
        extra: The request's ``extra``, which may be unset.
        place: Place of the request, for errors.

    Raises:
        InputError: ``extra.approximate_cache`` is no such result.
    """
    if not isinstance(extra, dict) or KEY not in extra:
        return None
    try:
        return convert(extra[KEY], CacheLookup)
    except InputError as error:
        where = ".".join(filter(None, (place, "extra", KEY, error.place)))
        raise InputError(error.problem, place=where, hint=error.hint) from None
