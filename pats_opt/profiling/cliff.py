"""The largest batch that fits: doubled until memory runs out, then halved in between."""

from __future__ import annotations

from collections.abc import Callable


def largest_batch(fits: Callable[[int], bool], most: int) -> tuple[int, int | None]:
    """Find where memory ends, with few trials of large batches.

    Args:
        fits: Tries a batch size; larger ones than one that does not fit are not tried.
        most: Largest size to try.

    Returns:
        The largest size that fits (0 where not even 1 does), and the smallest that does not (None
        where ``most`` does). They are neighbours where the second is given.
    """
    good, bad, n = 0, None, 1
    while bad is None and n <= most:
        if fits(n):
            good = n
            n = most if n < most < 2 * n else 2 * n
        else:
            bad = n
    while bad is not None and bad - good > 1:
        middle = (good + bad) // 2
        if fits(middle):
            good = middle
        else:
            bad = middle
    return good, bad
