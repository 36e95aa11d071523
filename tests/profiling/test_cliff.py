"""Finding the largest batch that fits."""

from __future__ import annotations

import pytest

from pats_opt.profiling.session import largest_batch


@pytest.mark.parametrize("most", [1, 2, 3, 8, 20, 21, 64])
@pytest.mark.parametrize("limit", [0, 1, 2, 3, 5, 8, 13, 20, 21, 22, 63, 64, 100])
def test_every_cliff_is_found_without_trying_past_a_failure(limit: int, most: int) -> None:
    """Also the largest size to try is tried, where it is no power of two."""
    tried: list[int] = []

    def fits(n: int) -> bool:
        failed = [t for t in tried if t > limit]
        assert all(n < t for t in failed)
        assert n not in tried
        assert n <= most
        tried.append(n)
        return n <= limit

    good, bad = largest_batch(fits, most)
    assert good == min(limit, most)
    assert bad == (limit + 1 if limit < most else None)
    assert len(tried) <= 2 * most.bit_length() + 1
