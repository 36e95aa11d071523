"""The levels of a stream of requests: step counts, qualities, and how fast a GPU serves each.

A policy learns them from the requests that have arrived. The level of an option is the number of
steps it leaves out: its ``skip``, or where no option of the request skips any, the steps by which
it is below the longest one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from pats_opt.model.problem import Job, Site
from pats_opt.model.timing import shape_of


class JobLevel(NamedTuple):
    """One level of a request: steps left out, the option, its steps and its quality."""

    level: int
    option: int
    steps: int
    quality: float


def levels_of(job: Job) -> list[JobLevel]:
    """Return the levels of a request, shallow ones first, each with its best option."""
    skips = any(o.skip for o in job.options)
    most = max([o.steps for o in job.options])
    found: dict[int, JobLevel] = {}
    for index, o in enumerate(job.options):
        level = o.skip if skips else most - o.steps
        if level not in found or (-o.quality, o.steps) < (
            -found[level].quality,
            found[level].steps,
        ):
            found[level] = JobLevel(level, index, o.steps, o.quality)
    return [found[level] for level in sorted(found)]


def at_level(levels: Sequence[JobLevel], level: int) -> JobLevel:
    """Return what a request runs at on a GPU of ``level``: its deepest that is no deeper.

    Where all of its levels are deeper, the shallowest.
    """
    chosen = levels[0]
    for each in levels:
        if each.level > level:
            break
        chosen = each
    return chosen


class LevelProfile:
    """Means of one level over the requests so far."""

    def __init__(self) -> None:
        self._count, self._steps, self._quality = 0, 0, 0.0

    def add(self, step: JobLevel) -> None:
        """Count a request as it would run at this level."""
        self._count += 1
        self._steps += step.steps
        self._quality += step.quality

    @property
    def steps(self) -> int:
        """Mean steps, a whole number."""
        return round(self._steps / self._count)

    @property
    def quality(self) -> float:
        """Mean quality."""
        return self._quality / self._count


class Ladder:
    """Every level seen so far, shallow ones first.

    Attributes:
        levels: The numbers K.
        profiles: The means at each.
    """

    def __init__(self) -> None:
        self.levels: list[int] = []
        self.profiles: list[LevelProfile] = []

    def add(self, levels: Sequence[JobLevel]) -> None:
        """Take in the levels of a request that has arrived."""
        known = {each.level for each in levels}.difference(self.levels)
        if known:
            profiles = dict(zip(self.levels, self.profiles, strict=True))
            self.levels = sorted(known.union(self.levels))
            self.profiles = [profiles.get(level) or LevelProfile() for level in self.levels]
        for level, profile in zip(self.levels, self.profiles, strict=True):
            profile.add(at_level(levels, level))

    def at(self, level: int) -> LevelProfile:
        """Return the means at the deepest level that is no deeper than ``level``."""
        return self.profiles[max(0, bisect_right(self.levels, level) - 1)]

    def qualities(self) -> list[float]:
        """Mean quality at each level."""
        return [profile.quality for profile in self.profiles]


class Sizes:
    """Batch sizes: those allowed, how long each takes, and which is best.

    Args:
        site: Where batches run.
        allowed: The allowed sizes, rising, from 1.
        share: Share of the latency objective that a batch may take.
    """

    def __init__(self, site: Site, allowed: Sequence[int], share: float) -> None:
        largest = site.clock.largest
        self._site, self._share = site, share
        self._allowed = [b for b in allowed if largest is None or b <= largest]
        self._best: dict[tuple[int, int, int], tuple[int, float]] = {}

    def allowed(self, most: int) -> int:
        """Return the largest allowed size up to ``most``, which is at least 1."""
        return max([b for b in self._allowed if b <= most])

    def next(self, size: int, most: int) -> int:
        """Return the next larger allowed size up to ``most``; ``size`` where there is none."""
        return min([b for b in self._allowed if size < b <= most], default=size)

    def previous(self, size: int) -> int:
        """Return the next smaller allowed size; 1 where there is none."""
        return max([b for b in self._allowed if b < size], default=1)

    def best(self, steps: int, objective: int, most: int) -> int:
        """Return the size of the most requests per second whose batch takes less than its share.

        Args:
            steps: Steps of every member.
            objective: Latency objective in ticks.
            most: Largest size that fits a GPU.
        """
        return self._measured(steps, objective, most)[0]

    def rate(self, steps: int, objective: int, most: int) -> float:
        """Return requests per second in batches of the best size."""
        return self._measured(steps, objective, most)[1]

    def _measured(self, steps: int, objective: int, most: int) -> tuple[int, float]:
        key = steps, objective, most
        if key not in self._best:
            best = 1, self._rate(1, steps)
            for size in self._allowed:
                rate = self._rate(size, steps)
                in_time = self._ticks(size, steps) < self._share * objective
                if 1 < size <= most and in_time and rate > best[1]:
                    best = size, rate
            self._best[key] = best
        return self._best[key]

    def _ticks(self, size: int, steps: int) -> int:
        return self._site.clock.duration(shape_of((steps,) * size))

    def _rate(self, size: int, steps: int) -> float:
        return size / (self._ticks(size, steps) * self._site.tick_s)
