"""Heuristics for bin packing: two rules that complement each other.

- Minimum bin slack with the largest item fixed (Fleszar and Hindi, Computers & Operations
  Research 29, 2002): the largest item left opens a bin, and the subset of the others that fills it
  best joins it. It is often optimal where bins hold few items each.
- Best fit, by falling size: each item goes where it leaves the least room.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping


def quick_bins(
    counts: Mapping[int, int], capacity: int, stop: Callable[[], object] = lambda: None
) -> list[list[int]]:
    """Return the fewer bins of both rules (arguments as in :func:`fill_bins`)."""
    fitted = best_fit(counts, capacity)
    filled = fill_bins(counts, capacity, stop)
    return fitted if filled is None or len(fitted) <= len(filled) else filled


def best_fit(counts: Mapping[int, int], capacity: int) -> list[list[int]]:
    """Pack all items, largest first, each where it leaves the least room."""
    bins: list[list[int]] = []
    room: list[int] = []
    for size, count in sorted(counts.items(), reverse=True):
        for _ in range(count):
            fits = [i for i, free in enumerate(room) if size <= free]
            best = min(fits, key=room.__getitem__, default=len(bins))
            if not fits:
                bins.append([])
                room.append(capacity)
            bins[best].append(size)
            room[best] -= size
    return bins


def fill_bins(
    counts: Mapping[int, int], capacity: int, stop: Callable[[], object] = lambda: None
) -> list[list[int]] | None:
    """Pack all items, each bin as full as it can be around the largest item left.

    Args:
        counts: How many items there are of each size, above 0 and at most ``capacity``.
        capacity: Of a bin.
        stop: Asked before each bin.

    Returns:
        The bins; None where ``stop`` answered anything.
    """
    left = {size: count for size, count in sorted(counts.items(), reverse=True) if count}
    bins = []
    while left:
        if stop():
            return None
        first = next(iter(left))
        _take(left, first)
        chosen = [first, *best_subset(left, capacity - first)]
        for size in chosen[1:]:
            _take(left, size)
        bins.append(chosen)
    return bins


def best_subset(counts: Mapping[int, int], room: int) -> list[int]:
    """Return sizes whose sum is as large as it can be within ``room``, large sizes preferred."""
    came: dict[int, tuple[int, int]] = {0: (0, 0)}  # sum -> (sum before, size added)
    for size, count in counts.items():
        front = list(came)
        for _ in range(count):
            grown = []
            for total in front:
                if total + size <= room and total + size not in came:
                    came[total + size] = total, size
                    grown.append(total + size)
            if room in came:
                return _trace(came, room)
            if not grown:
                break
            front = grown
    return _trace(came, max(came))


def _trace(came: Mapping[int, tuple[int, int]], total: int) -> list[int]:
    sizes = []
    while total:
        total, size = came[total]
        sizes.append(size)
    return sizes


def _take(left: dict[int, int], size: int) -> None:
    left[size] -= 1
    if not left[size]:
        del left[size]
