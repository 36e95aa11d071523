"""Batch modes: the documents' batch shapes, as few of them as the clock allows.

A *level* is a step count; a *mode* is a set of batches that share one timing. There are two
kinds:

``exact``
    A shape: exactly ``counts[i]`` members at level i. Needed where a larger batch can be quicker,
    and useful where the model prices completions on the shape.
``capped``
    At most ``counts[i]`` members at level i *or above*, timed as if all were there. Where step
    time and overhead never fall with the batch's size, a smaller batch ends no later (rule 5
    depends on exactly these sums), so the optimum stays; and modes that another one contains at
    the same times drop out. With a constant step time one mode per level is left of all shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pats_opt.errors import InputError
from pats_opt.model.timing import BatchClock

#: Most shapes that are listed for one adapter; beyond it a time-indexed model is hopeless anyway.
MOST_SHAPES = 20_000


@dataclass(frozen=True, slots=True)
class BatchMode:
    """A timing of batches; ``offsets[i]`` is None where it has no member at level i."""

    counts: tuple[int, ...]
    offsets: tuple[int | None, ...]
    duration: int

    @property
    def ticks(self) -> int:
        """Sum of the completion offsets of all members, of an exact mode."""
        return sum(n * (o or 0) for n, o in zip(self.counts, self.offsets, strict=True))


@dataclass(frozen=True, slots=True)
class BatchModes:
    """All modes of one kind over the same levels."""

    levels: tuple[int, ...]
    capped: bool
    modes: tuple[BatchMode, ...]

    def offsets(self, level: int) -> list[int]:
        """Return the different completion offsets of a level, rising."""
        return sorted({o for m in self.modes if (o := m.offsets[level]) is not None})

    def mode_of(self, clock: BatchClock, steps: Sequence[int]) -> int | None:
        """Return the index of the mode of a batch with these step counts, or None."""
        if not set(steps) <= set(self.levels):
            return None
        counts = [steps.count(s) for s in self.levels]
        present = [i for i, n in enumerate(counts) if n]
        shape = tuple((self.levels[i], counts[i]) for i in present)
        ends, duration = clock.completions(shape), clock.duration(shape)
        if self.capped:
            counts = [sum(counts[i:]) for i in range(len(counts))]
        for k, mode in enumerate(self.modes):
            timed = all(mode.offsets[i] == end for i, end in zip(present, ends, strict=True))
            fits = all(n <= cap for n, cap in zip(counts, mode.counts, strict=True))
            whole = self.capped or tuple(counts) == mode.counts
            if timed and fits and whole and mode.duration == duration:
                return k
        return None


def monotone(clock: BatchClock, largest: int) -> bool:
    """Return whether step time and overhead never fall as a batch grows to ``largest``."""
    step = [clock.step_s(n) for n in range(1, largest + 1)]
    overhead = [clock.overhead_s(n) for n in range(1, largest + 1)]
    return step == sorted(step) and overhead == sorted(overhead)


def exact_modes(
    clock: BatchClock, levels: Sequence[int], most: Sequence[int], cap: int
) -> BatchModes:
    """Return every shape with at most ``most[i]`` members at level i and ``cap`` together."""
    modes = []
    for counts in _vectors(list(most), cap):
        present = [i for i, n in enumerate(counts) if n]
        if present:
            ends = clock.completions(tuple((levels[i], counts[i]) for i in present))
            at = dict(zip(present, ends, strict=True))
            modes.append(_mode(clock, counts, at))
    return BatchModes(tuple(levels), False, tuple(modes))


def capped_modes(
    clock: BatchClock, levels: Sequence[int], most: Sequence[int], cap: int
) -> BatchModes:
    """Return the modes of caps on "level i or above" that no other contains at the same times."""
    above = [min(cap, sum(most[i:])) for i in range(len(levels))]
    modes = []
    for caps in _falling(above):
        top = max(i for i, n in enumerate(caps) if n)
        shape = tuple(
            (levels[i], caps[i] - (caps[i + 1] if i < top else 0)) for i in range(top + 1)
        )
        ends = clock.completions(shape)
        modes.append(_mode(clock, caps, dict(enumerate(ends))))
    return BatchModes(tuple(levels), True, tuple(_maximal(modes)))


def _mode(clock: BatchClock, counts: tuple[int, ...], at: dict[int, int]) -> BatchMode:
    duration = 1 if clock.slotted else max(at.values())
    return BatchMode(counts, tuple(at.get(i) for i in range(len(counts))), duration)


def _vectors(most: list[int], cap: int) -> Iterator[tuple[int, ...]]:
    """Yield all count vectors up to ``most`` with at most ``cap`` together."""
    if not most:
        yield ()
        return
    for first in range(min(most[0], cap) + 1):
        for rest in _vectors(most[1:], cap - first):
            yield (first, *rest)


def _falling(above: list[int]) -> Iterator[tuple[int, ...]]:
    """Yield all non-rising vectors up to ``above`` that start above 0."""

    def extend(head: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(head) == len(above):
            yield head
            return
        for n in range(min(above[len(head)], head[-1] if head else above[0]) + 1):
            yield from extend((*head, n))

    return (caps for caps in extend(()) if caps[0])


def shape_count(most: Sequence[int], cap: int) -> int:
    """Return the number of count vectors, the empty one included, without listing them."""
    ways = np.zeros(cap + 1, dtype=object)
    ways[0] = 1
    for n in most:
        ways = np.array([sum(ways[max(0, c - n) : c + 1]) for c in range(cap + 1)], dtype=object)
    return int(sum(ways))


def refuse_too_many(most: Sequence[int], cap: int) -> None:
    """Raise InputError where there are too many shapes to list."""
    count = shape_count(most, cap)
    if count > MOST_SHAPES:
        raise InputError(
            f"batches of up to {cap} members at {len(most)} step counts have {count:,} shapes, "
            f"more than the {MOST_SHAPES:,} this model lists",
            hint="offer fewer step counts, bound the batch size, or use --solver cpsat",
        )


def _maximal(modes: list[BatchMode]) -> list[BatchMode]:
    """Return the modes that no other contains without being later at any level."""
    never = 1 << 60
    caps = np.array([m.counts for m in modes], dtype=np.int64)
    ends = np.array([[never if o is None else o for o in m.offsets] for m in modes], dtype=np.int64)
    lasts = np.array([m.duration for m in modes], dtype=np.int64)
    order = np.lexsort((lasts, *(-caps.T)))
    kept: list[int] = []
    for i in order:
        used = caps[i] > 0
        rivals = np.array(kept, dtype=np.int64)
        contains = (caps[rivals] >= caps[i]).all(axis=1) & (lasts[rivals] <= lasts[i])
        contains &= (ends[rivals][:, used] <= ends[i][used]).all(axis=1)
        if not contains.any():
            kept.append(int(i))
    return [modes[i] for i in sorted(kept)]
