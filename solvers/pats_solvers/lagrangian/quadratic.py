"""The quadratic program of a proximal bundle, solved in its dual; compiled.

The model of a concave function is a linear term and, part by part, the least of some linear *cuts*.
Where d is the step from the centre, cut i of part p says ``level[i] + slope[i] @ d``, and the
program is ::

    max over d >= floor:  linear @ d + sum over p of min over i in p of (level[i] + slope[i] @ d)
                          - |d|^2 / (2 tau)

In its dual each part's cuts have weights of sum 1. With the *pull*, the linear term and the
weighted slopes summed up, the step is ``max(tau * pull, floor)``, place by place, and the
derivative of the dual function in a weight is what the cut says at that step. So weight is moved,
part by part, from the cut of a positive weight that says most to the one that says least (pairwise
steps, as in sequential minimal optimisation: Platt 1998), by a line search along the piecewise
linear derivative. In turn with that all positive weights are moved at once, by conjugate gradients.
What the weighted cuts say above the least ones is the gap to the optimum.
"""

# ruff: noqa: C901, PLR0912, PLR0917 - compiled: one function is one loop, and takes arrays

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.compiled import ZERO, compiled, entry

#: Trials of a line search, and the share of the first derivative at which it ends.
TRIALS, FLAT = 12, 0.1

#: Relative error of what cuts say, squared.
ROUNDING = 1e-24

#: Moves of weight in one part before the others' turn, at most.
MOVES_OF_PART = 3

#: Directions of conjugate gradients in a pass, at most.
DIRECTIONS = 60


class CutArrays(NamedTuple):
    """Cuts by part.

    Attributes:
        cuts: Numbers of the cuts by part; of each row the first ``counts`` are used.
        counts: Cuts by part.
        begin: By cut, where it begins in ``places`` and ``slopes``.
        end: By cut, where it ends there.
        level: By cut, its value at the centre, above the function's.
        weight: By cut, its weight.
        places: Where slopes are not 0, cut by cut.
        slopes: The slopes there.
    """

    cuts: Any
    counts: Any
    begin: Any
    end: Any
    level: Any
    weight: Any
    places: Any
    slopes: Any


@compiled
def _say(data: CutArrays, part: int, step: Any, said: Any) -> tuple[int, int, float]:
    """Fill in what a part's cuts say at a step.

    Returns:
        The one that says least, the one of a positive weight that says most, and the gap: what the
        weighted ones say above the least.
    """
    least, most, mean = -1, -1, 0.0
    for k in range(data.counts[part]):
        cut = data.cuts[part, k]
        value = data.level[cut]
        for n in range(data.begin[cut], data.end[cut]):
            value += data.slopes[n] * step[data.places[n]]
        said[k] = value
        if least < 0 or value < said[least]:
            least = k
        if data.weight[cut] > 0.0:
            mean += data.weight[cut] * value
            if most < 0 or value > said[most]:
                most = k
    return least, most, mean - said[least]


@compiled
def _difference(data: CutArrays, giver: int, taker: int, change: Any, touched: Any) -> int:
    """Fill in the change of the pull for a unit of weight and where it is; return at how many."""
    count = ZERO
    for n in range(data.begin[taker], data.end[taker]):
        place = data.places[n]
        change[place] = data.slopes[n]
        touched[count] = place
        count += 1
    for n in range(data.begin[giver], data.end[giver]):
        place = data.places[n]
        if change[place] == 0.0:
            touched[count] = place
            count += 1
        change[place] -= data.slopes[n]
    return count  # type: ignore[no-any-return]


@compiled
def _line_search(
    pull: Any, floor: Any, tau: float, change: Any, touched: Any, apart: float, most: float
) -> float:
    """Return how far to move weights along a direction, at most ``most``.

    Newton's method on the derivative, which rises piecewise linearly, within a bracket.

    Args:
        pull: The pull.
        floor: The least step by place.
        tau: Length of a step for a unit of pull.
        change: Change of the pull along the direction, by place.
        touched: Places where it is not 0, or more of them.
        apart: Change of the weighted levels along it.
        most: How far at most.
    """
    low, high, trial, first = 0.0, most, most, 0.0
    for n in range(touched.shape[0]):
        place = touched[n]
        first += change[place] * max(tau * pull[place], floor[place])
    first += apart
    for _ in range(TRIALS):
        derivative, curvature = apart, 0.0
        for n in range(touched.shape[0]):
            place = touched[n]
            ahead = tau * (pull[place] + trial * change[place])
            if ahead > floor[place]:
                derivative += change[place] * ahead
                curvature += tau * change[place] * change[place]
            else:
                derivative += change[place] * floor[place]
        if derivative <= 0.0:
            low = trial
            if trial >= most:
                return most
        else:
            high = trial
        if abs(derivative) <= -FLAT * first:
            return trial
        trial = trial - derivative / curvature if curvature > 0.0 else high
        if not low < trial < high:
            trial = 0.5 * (low + high)
    return low


@compiled
def _improve(
    data: CutArrays,
    part: int,
    pull: Any,
    floor: Any,
    tau: float,
    step: Any,
    said: Any,
    change: Any,
    touched: Any,
    enough: float,
) -> None:
    """Move weight between a part's cuts until its gap is at most ``enough``, or often enough."""
    for _ in range(MOVES_OF_PART):
        least, most, gap = _say(data, part, step, said)
        if gap <= enough or least == most:
            return
        giver, taker = data.cuts[part, most], data.cuts[part, least]
        count = _difference(data, giver, taker, change, touched)
        apart = data.level[taker] - data.level[giver]
        moved = _line_search(pull, floor, tau, change, touched[:count], apart, data.weight[giver])
        for n in range(count):
            place = touched[n]
            pull[place] += moved * change[place]
            step[place] = max(tau * pull[place], floor[place])
            change[place] = 0.0
        data.weight[taker] += moved
        data.weight[giver] = max(0.0, data.weight[giver] - moved)
        if moved == 0.0:
            return


@compiled
def _spread(data: CutArrays, weights: Any, pull: Any) -> None:
    """Add up the slopes of all cuts by their weights."""
    for part in range(data.counts.shape[0]):
        for k in range(data.counts[part]):
            cut = data.cuts[part, k]
            if weights[cut] != 0.0:
                for n in range(data.begin[cut], data.end[cut]):
                    pull[data.places[n]] += weights[cut] * data.slopes[n]


@compiled
def _normalise(data: CutArrays) -> None:
    """Make the weights of each part have a sum of 1 again, which rounding takes from them."""
    for part in range(data.counts.shape[0]):
        total = 0.0
        for k in range(data.counts[part]):
            total += data.weight[data.cuts[part, k]]
        for k in range(data.counts[part]):
            data.weight[data.cuts[part, k]] /= total


@compiled
def _descent(data: CutArrays, step: Any, descent: Any) -> tuple[float, float]:
    """Fill in by cut of a positive weight how its part's mean of them is above what it says.

    Returns:
        How far the weighted cuts are above the least of those, and the size of the largest value.
    """
    gap, scale = 0.0, 0.0
    for part in range(data.counts.shape[0]):
        total, count, mean, least = 0.0, 0, 0.0, np.inf
        for k in range(data.counts[part]):
            cut = data.cuts[part, k]
            descent[cut] = 0.0
            if data.weight[cut] > 0.0:
                value = data.level[cut]
                for n in range(data.begin[cut], data.end[cut]):
                    value += data.slopes[n] * step[data.places[n]]
                descent[cut] = value
                scale = max(scale, abs(value), data.level[cut])
                least = min(least, value)
                mean += data.weight[cut] * value
                total += value
                count += 1
        for k in range(data.counts[part]):
            cut = data.cuts[part, k]
            if data.weight[cut] > 0.0:
                descent[cut] = total / count - descent[cut]
        gap += mean - least
    return gap, scale


@compiled
def _conjugate(
    data: CutArrays, pull: Any, floor: Any, tau: float, step: Any, enough: float
) -> None:
    """Move all positive weights at once, by conjugate gradients (Polak, Ribiere).

    They begin again where a weight becomes 0, and end where what positive weights are above the
    least of their cuts is at most ``enough``.
    """
    dimension, cuts = pull.shape[0], data.level.shape[0]
    descent, former, direction = np.zeros(cuts), np.zeros(cuts), np.zeros(cuts)
    change, everywhere = np.empty(dimension), np.arange(dimension)
    before = 0.0
    for _ in range(DIRECTIONS):
        gap, scale = _descent(data, step, descent)
        if gap <= enough:
            return
        length, turn = 0.0, 0.0
        for cut in range(cuts):
            length += descent[cut] * descent[cut]
            turn += descent[cut] * (descent[cut] - former[cut])
        share = max(0.0, turn / before) if before > 0.0 else 0.0
        if length <= ROUNDING * scale * scale:
            return
        before, limit, limiting, apart = length, np.inf, -1, 0.0
        for cut in range(cuts):
            former[cut] = descent[cut]
            if data.weight[cut] > 0.0:
                direction[cut] = descent[cut] + share * direction[cut]
                apart += direction[cut] * data.level[cut]
                if direction[cut] < 0.0 and data.weight[cut] < -limit * direction[cut]:
                    limit, limiting = -data.weight[cut] / direction[cut], cut
            else:
                direction[cut] = 0.0
        if limiting < 0:
            return
        change[:] = 0.0
        _spread(data, direction, change)
        moved = _line_search(pull, floor, tau, change, everywhere, apart, limit)
        for place in range(dimension):
            pull[place] += moved * change[place]
            step[place] = max(tau * pull[place], floor[place])
        for cut in range(cuts):
            if direction[cut] != 0.0:
                data.weight[cut] = max(0.0, data.weight[cut] + moved * direction[cut])
        if moved == limit:
            data.weight[limiting] = 0.0
            before = 0.0
            direction[:] = 0.0
        if moved == 0.0:
            return


@entry
def solve_quadratic(
    data: CutArrays,
    linear: Any,
    floor: Any,
    tau: float,
    step: Any,
    accuracy: float,
    passes: int,
) -> tuple[float, float, int]:
    """Improve the weights from where they are, and fill in the step.

    Args:
        data: The cuts; their weights are changed.
        linear: The linear term.
        floor: The least step by place; minus infinity where there is none.
        tau: Length of a step for a unit of pull.
        step: Filled in.
        accuracy: The gap to end with, as a share of the gain.
        passes: Passes over all parts, at most.

    Returns:
        The gain that the model predicts of the step, the gap, and passes made.
    """
    dimension, parts = linear.shape[0], data.counts.shape[0]
    said = np.empty(data.cuts.shape[1])
    pull, change = np.empty(dimension), np.zeros(dimension)
    touched = np.empty(dimension, dtype=np.int64)
    made = ZERO
    while True:
        _normalise(data)
        pull[:] = linear
        _spread(data, data.weight, pull)
        gain, gap = 0.0, 0.0
        for place in range(dimension):
            step[place] = max(tau * pull[place], floor[place])
            gain += linear[place] * step[place]
        for part in range(parts):
            least, _, apart = _say(data, part, step, said)
            gain += said[least]
            gap += apart
        if made >= passes or gap <= accuracy * gain:
            return gain, gap, made
        enough = 0.5 * accuracy * max(0.0, gain)
        for part in range(parts):
            _improve(data, part, pull, floor, tau, step, said, change, touched, enough / parts)
        _conjugate(data, pull, floor, tau, step, enough)
        made += 1


@entry
def along(data: CutArrays, step: Any, found: Any) -> None:
    """Fill in by cut how much it rises along a step."""
    for part in range(data.counts.shape[0]):
        for k in range(data.counts[part]):
            cut, rise = data.cuts[part, k], 0.0
            for n in range(data.begin[cut], data.end[cut]):
                rise += data.slopes[n] * step[data.places[n]]
            found[cut] = rise
