"""A proximal bundle: a model of a concave function, made of its values and slopes so far.

The function is a sum of parts and a linear term; each part has cuts of its own, so that what is
known of one part at one point is combined with what is known of another at another point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pats_solvers.common.arrays import Floats, Ints
from pats_solvers.common.stopping import check_stop, never
from pats_solvers.lagrangian.exchange import PartEvaluation
from pats_solvers.lagrangian.quadratic import CutArrays, along, solve_quadratic

#: Cuts of a part that are kept, at most and at least.
MOST_CUTS, LEAST_CUTS = 60, 3

#: The gap of the quadratic program to end with, as a share of the gain, and passes at most.
ACCURACY, PASSES = 0.05, 60

#: Passes after which the caller is asked whether to go on, and operations of one for each entry.
ASKED, PASS_WORK = 5, 50

#: Bytes of a cut for each price that it depends on.
BYTES = 16


class BundleStep(NamedTuple):
    """A step from the centre, and what the model says of it.

    Attributes:
        step: The step.
        gain: By how much the function rises, in the model.
        gap: How much more the best step can gain, less its distance term.
    """

    step: Floats
    gain: float
    gap: float


class Bundle:
    """The model around a centre.

    Args:
        centre: The first centre.
        floor: The least value of each variable; minus infinity where it has none.
        linear: The function's linear term.
        parts: How many parts it has.
        memory: Bytes for cuts; where they are too few, fewer cuts are kept, but
            :data:`LEAST_CUTS` of each part always.

    Attributes:
        centre: The centre.
        most: Cuts of a part that are kept, at most.
    """

    def __init__(
        self, centre: Floats, floor: Floats, linear: Floats, parts: int, memory: float
    ) -> None:
        self.centre, self._floor, self._linear = centre, floor, linear
        self.most, self._memory = MOST_CUTS, memory
        self._values = np.zeros(parts)  # of the function at the centre, by part
        self._cuts = np.zeros((parts, MOST_CUTS + 1), dtype=np.int64)
        self._counts = np.zeros(parts, dtype=np.int64)
        self._begin, self._end = np.zeros((2, parts), dtype=np.int64)
        self._level, self._weight = np.zeros((2, parts))
        self._used = np.zeros(parts, dtype=np.int64)  # when a cut last had a weight
        self._free = list(range(parts))  # numbers of no cut
        self._places, self._slopes = np.empty(0, dtype=np.int64), np.empty(0)
        self._room = 0  # where the next cut goes
        self._time = 0

    @property
    def size(self) -> int:
        """How many cuts there are."""
        return int(self._counts.sum())

    def bytes(self) -> int:
        """Memory that they take, in bytes."""
        return BYTES * len(self._places)

    def start(self, parts: Sequence[PartEvaluation]) -> None:
        """Take the first cuts: the parts at the centre."""
        for number, part in enumerate(parts):
            self._values[number] = part.value
            self._add(number, part, 0.0, 1.0)

    def solve(self, tau: float, work: int, stop: Callable[[], bool] = never) -> BundleStep:
        """Return the best step in the model, of a length that ``tau`` makes short.

        Args:
            tau: Length of a step for a unit of slope.
            work: Operations to take about, at most; some passes are made in any case.
            stop: Asked now and then whether to break off.

        Raises:
            StopError: ``stop`` said so.
        """
        step, floor = np.empty(len(self.centre)), self._floor - self.centre
        passes = int(min(PASSES, max(ASKED, work // (PASS_WORK * (1 + self._live())))))
        gain, gap = 0.0, math.inf
        while passes > 0 and gap > ACCURACY * gain:
            check_stop(stop)
            gain, gap, _ = solve_quadratic(
                self.arrays(), self._linear, floor, tau, step, ACCURACY, min(ASKED, passes)
            )
            passes -= ASKED
        self._time += 1
        numbers = self._numbers()
        self._used[numbers[self._weight[numbers] > 0.0]] = self._time
        return BundleStep(step, gain, max(0.0, gap))

    def add(self, step: Floats, parts: Sequence[PartEvaluation], *, move: bool) -> None:
        """Take in the parts' values after a step.

        Args:
            step: The step.
            parts: The parts there.
            move: Whether the centre moves there.
        """
        values = np.array([part.value for part in parts])
        rise = values - self._values
        numbers, rises = self._numbers(), np.zeros(len(self._level))
        along(self.arrays(), step, rises)
        first = np.concatenate(([0], np.cumsum(self._counts)[:-1]))
        said = np.minimum.reduceat((self._level + rises)[numbers], first)
        if move:
            shift = rises[numbers] - np.repeat(rise, self._counts)
            self._level[numbers] = np.maximum(0.0, self._level[numbers] + shift)
            self.centre, self._values = self.centre + step, values
        near = 1e-10 * (np.abs(values) + np.abs(self._values)) + 1e-12
        for number, part in enumerate(parts):
            if said[number] - rise[number] <= near[number]:
                continue  # the model is right there already
            level = 0.0
            if not move:
                level = rise[number] - float(part.slope @ step[part.places])
            self._add(number, part, max(0.0, level), 0.0)
        while BYTES * self._live() > self._memory and self.most > LEAST_CUTS:
            self.most = max(LEAST_CUTS, self.most // 2)
            for number in range(len(parts)):
                self._trim(number)

    def arrays(self) -> CutArrays:
        """Return the cuts as the kernels see them."""
        return CutArrays(
            self._cuts, self._counts, self._begin, self._end, self._level, self._weight,
            self._places, self._slopes,
        )  # fmt: skip

    def _numbers(self) -> Ints:
        """Numbers of the cuts, part by part."""
        used = np.arange(self._cuts.shape[1]) < self._counts[:, None]
        numbers: Ints = self._cuts[used]
        return numbers

    def _live(self) -> int:
        numbers = self._numbers()
        return int((self._end - self._begin)[numbers].sum())

    def _add(self, number: int, part: PartEvaluation, level: float, weight: float) -> None:
        """Add a cut to a part."""
        if self._counts[number] >= self.most:
            self._trim(number)
        if not self._free:
            more = len(self._level)
            self._free = list(range(more, 2 * more))
            for name in ("_begin", "_end", "_level", "_weight", "_used"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate((old, np.zeros_like(old))))
        cut, size = self._free.pop(), len(part.places)
        if self._room + size > len(self._places):
            self._compact(size)
        begin, end = self._room, self._room + size
        self._places[begin:end], self._slopes[begin:end] = part.places, part.slope
        self._begin[cut], self._end[cut], self._room = begin, end, end
        self._level[cut], self._weight[cut], self._used[cut] = level, weight, self._time
        self._cuts[number, self._counts[number]] = cut
        self._counts[number] += 1

    def _trim(self, number: int) -> None:
        """Make room for one more cut of a part.

        Those without a weight go first, of these the ones that had one longest ago; where all have
        one, the two of least weight become one, their weighted mean, which keeps the step.
        """
        while self._counts[number] >= self.most:
            cuts = self._cuts[number, : self._counts[number]]
            weights = self._weight[cuts]
            if (weights == 0.0).any():
                self._drop(
                    number, int(np.where(weights == 0.0, self._used[cuts], self._time + 1).argmin())
                )
                continue
            two = np.argsort(weights, kind="stable")[:2]
            shares = weights[two] / weights[two].sum()
            rows = [slice(self._begin[cut], self._end[cut]) for cut in cuts[two]]
            slope = np.zeros(len(self.centre))
            for row, share in zip(rows, shares, strict=True):
                slope[self._places[row]] += share * self._slopes[row]
            level, weight = float(shares @ self._level[cuts[two]]), float(weights[two].sum())
            for place in sorted(two.tolist(), reverse=True):
                self._drop(number, place)
            places = np.flatnonzero(slope)
            self._add(number, PartEvaluation(0.0, places, slope[places]), level, weight)

    def _drop(self, number: int, place: int) -> None:
        """Forget a cut of a part."""
        row = self._cuts[number]
        self._free.append(int(row[place]))
        self._weight[row[place]] = 0.0
        row[place:-1] = row[place + 1 :].copy()
        self._counts[number] -= 1

    def _compact(self, size: int) -> None:
        """Move cuts together, and make room for ``size`` more entries."""
        numbers = self._numbers()
        live = self._live()
        places = np.empty(live + size + live // 2, dtype=np.int64)
        slopes = np.empty(len(places))
        at = 0
        for cut in numbers.tolist():
            row = slice(self._begin[cut], self._end[cut])
            begin, at = at, at + int(self._end[cut] - self._begin[cut])
            places[begin:at], slopes[begin:at] = self._places[row], self._slopes[row]
            self._begin[cut], self._end[cut] = begin, at
        self._places, self._slopes, self._room = places, slopes, at
