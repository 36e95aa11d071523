"""Proof of the truncation: what limited queues change in the least loss per tick is bounded.

*From below.* A request that finds its queue full leaves at the least loss that serving one can
have. Take any policy of the true problem and let the limited one do the same, at the same ticks,
without those that have left: batches without some members end no later (step times that grow with
the batch), it waits for what is left of the time, and where nobody of a batch is left it makes an
empty batch. So its loss is at most the policy's. Each empty batch takes the place of one that had
left, so there are no more of them than have left, and an empty batch may cost any M if leaving
costs M less. The least loss of the limited problem with empty batches is a lower bound at every M.

*From above.* Requests beyond the limit are not lost but kept, and a policy is given for the states
beyond: serve all that wait, adapter by adapter, in full batches of the quickest option (a *round*).
Let e_i be the number of kind i beyond its limit, d_i the ticks of a request in such a batch, rho_i
= rate_i d_i, and V(n) = h(n cut at the limits) + sum over i of (R d_i e_i + S (d_i e_i)**2 rho /
rho_i). In the limited problem an arrival beyond costs this sum. Where a round that starts at n has

    loss of the round + E V(arrivals meanwhile) <= V(n) + g x (its ticks)

at every n beyond the limits, and h has the same within them (the iteration's upper bound g), the
policy loses at most g per tick, because V has a least value. :meth:`BatchRounds.holds` verifies the
inequality: with w = sum of d_i e_i on a grid, in each cell the left side at its end against the
right side at its beginning, and beyond the grid as a polynomial. (sum of d_i e_i)**2 is at most the
sum of (d_i e_i)**2 rho / rho_i, by Cauchy and Schwarz.

Where loads run beside serving, a round first waits for the batch or the load that is in progress.
Activations take no time there and a load goes with no batch. So a batch of requests that have left
is no batch at all but waiting, in which the same loads start, and there are no empty ones.

Where the GPU has switched ahead, it must serve one of its residents first. If none of their
requests waits, it waits for one, which comes within each tick with some probability p at least.
There V has another T w. The limited problem has the inequality of the wait at the limits. Beyond
them, a tick adds to its left side at most the waiting of e and, of the squares, 2 e x arrivals; T p
w is at least that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from pats_opt.errors import InputError
from pats_opt.model.problem import Site
from pats_solvers.semi_markov.arrivals import RequestKind, count_table
from pats_solvers.semi_markov.batches import GPU
from pats_solvers.semi_markov.iteration import Iterate, OverflowLoss, TruncatedModel

Floats = NDArray[np.float64]

#: Cells beyond the limits, and the end of the last, in shortest services.
CELLS, FAR = 160, 2000.0

#: Numbers of ticks of a round for which its end is computed; one between counts as the next.
ROUND_TICKS = 200

#: Members of a batch up to which sizes are tried.
MOST_MEMBERS = 256


def require_growing_steps(site: Site) -> None:
    """Refuse step times that fall with the batch: then the bounds from below do not hold.

    Raises:
        InputError: A larger batch has the shorter step; the message has the first.
    """
    for size in range(2, (site.clock.largest or 1) + 1):
        if site.clock.step_s(size) < site.clock.step_s(size - 1):
            raise InputError(
                f"a step of {size} images takes less time than one of {size - 1}",
                place="service.step_s",
                hint="give step times that do not fall with the batch",
            )


def least_losses(site: Site, kinds: Sequence[RequestKind]) -> Floats:
    """Return for each kind the least loss of serving a request, from the start on."""
    quickest = (lambda _: 0) if site.clock.slotted else site.clock.quickest
    return np.array(
        [
            min(o.quality_loss + kind.price(site) * quickest(o.steps) for o in kind.options)
            for kind in kinds
        ]
    )


def overflow_at_least(site: Site, kinds: Sequence[RequestKind], empty_batch: float) -> OverflowLoss:
    """Return a loss of arrivals beyond the limits that is no more than that of any policy.

    Args:
        site: Everything but the requests.
        kinds: The kinds of requests.
        empty_batch: Loss of an empty batch.
    """
    none = np.zeros(len(kinds))
    return OverflowLoss(least_losses(site, kinds) - empty_batch, none, none)


def quickest_batch(site: Site, kind: RequestKind) -> tuple[int, int, float]:
    """Return ticks and members of the batch of a kind that takes least a member; its quality loss.

    That is the loss of one member.
    """
    job, resident = kind.job(), frozenset((kind.adapter,))
    best = math.inf, 1, 0.0
    for size in count(1):
        if size > MOST_MEMBERS or not site.fits(GPU, resident, [job] * size):
            break
        for option in kind.options:
            ticks = site.clock.duration(((option.steps, size),))
            if ticks / size < best[0] / best[1]:
                best = ticks, size, option.quality_loss
    return int(best[0]), best[1], best[2]


class BatchRounds:
    """Rounds that serve all that wait, and the loss of arrivals beyond the limits that they allow.

    Args:
        site: Everything but the requests.
        kinds: The kinds of requests.

    Attributes:
        load: Ticks that a round's batches take for each tick of arrivals.
        largest: Members of the largest of these batches.
        shortest: Fewest ticks of a request in them.
    """

    def __init__(self, site: Site, kinds: Sequence[RequestKind]) -> None:
        self._rates = np.array([kind.rate for kind in kinds])
        self._prices = np.array([kind.price(site) for kind in kinds])
        batches = [quickest_batch(site, kind) for kind in kinds]
        self.largest = max(size for _, size, _ in batches)
        self._each = np.array([ticks / size for ticks, size, _ in batches])
        self.shortest = float(self._each.min())
        self._quality = np.array([loss for *_, loss in batches])
        seconds = [
            max(site.activate_s, site.load_s[a], *[s for (_, b), s in site.pairs.items() if b == a])
            for a in sorted({kind.adapter for kind in kinds})
        ]
        partly = sum(ticks * (1.0 - 1.0 / size) for ticks, size, _ in batches)
        self._fixed = partly + sum(site.switching_ticks(s) for s in seconds)
        self._switching = site.switch_price_per_s * sum(seconds)
        self.load = float(self._rates @ self._each)
        by_adapter = [
            sum(kind.rate for kind in kinds if kind.adapter == a)
            for a in {kind.adapter for kind in kinds}
        ]
        self._chance = 1.0 - math.exp(-min(by_adapter))
        # Growth of the waiting requests' loss per tick with w, and of arrivals' with ticks.
        self._steep = float((self._prices / self._each).max())
        self._later = float(self._rates @ self._prices) / 2.0

    def overflow(self, linear: float) -> OverflowLoss:
        """Return a loss of arrivals beyond the limits, R = ``linear``, S so that w**2 falls."""
        square = 2.0 * (self._steep + self._later) / max(1e-3, 1.0 - self.load**2)
        squares = square * self._each * self.load / self._rates
        each = self._steep + 2.0 * float((squares * self._rates / self._each).max())
        return OverflowLoss(linear * self._each, squares, each / self._chance * self._each)

    def holds(self, model: TruncatedModel, found: Iterate, overflow: OverflowLoss) -> bool:
        """Return whether the inequality of a round holds at all states beyond the limits."""
        space, each = model.space, self._each
        if self.load >= 1.0:
            return False
        linear, square = self._factors(overflow)
        edge = (space.counts == space.limits).any(axis=1)
        counts = space.counts[edge].astype(float)
        low = found.values.min(axis=0)[edge][:, None]
        first = np.where(counts == space.limits, each, np.inf).min(axis=1)[:, None]
        cells = first * np.concatenate(([1.0], np.geomspace(1.25, FAR, CELLS)))
        w, begins = cells[:, 1:], cells[:, :-1]
        ticks = self._fixed + _in_progress(model) + (counts @ each)[:, None] + w
        loss = ((counts @ self._prices)[:, None] + self._steep * w) * ticks
        loss += self._later * ticks**2 + self._switching
        loss += (counts @ self._quality)[:, None] + float((self._quality / each).max()) * w
        left = loss + self._landing(model, found, overflow, ticks) - low
        inside = bool((left <= linear * begins + square * begins**2).all())
        return inside and self._falls(model, found, overflow, float(cells[:, -1].min()))

    def _landing(
        self, model: TruncatedModel, found: Iterate, overflow: OverflowLoss, ticks: Floats
    ) -> Floats:
        """Return an upper bound on the expected V at the ends of rounds of so many ticks."""
        limits = model.space.limits
        grid = np.unique(np.ceil(np.geomspace(ticks.min(), ticks.max(), ROUND_TICKS)).astype(int))
        table = count_table(self._rates.tolist(), grid.tolist(), limits.tolist())
        free = [m for m, mode in enumerate(model.listed.modes) if not mode.ahead]
        values = found.values[free].max(axis=0).reshape(limits + 1)
        for axis in range(len(limits)):  # more arrivals never lower it, so more ticks do not
            values = np.maximum.accumulate(values, axis=axis)
        ends = np.zeros(len(grid))
        for t in range(len(grid)):
            rest = values
            for i, most in enumerate(limits):
                shares = np.append(table.share[t, i, :most], table.beyond[t, i, most])
                rest = np.tensordot(shares, rest, axes=(0, 0))
            ends[t] = float(rest)
        for i, most in enumerate(limits):
            ends += overflow.linear[i] * table.over[:, i, most]
            ends += overflow.square[i] * table.over_squares[:, i, most]
        later: Floats = ends[np.searchsorted(grid, ticks)]
        return later

    def _falls(
        self, model: TruncatedModel, found: Iterate, overflow: OverflowLoss, end: float
    ) -> bool:
        """Return whether the inequality holds beyond the grid, where it is a polynomial of w."""
        limits = model.space.limits
        w = Polynomial([0.0, 1.0])
        ticks = w + self._fixed + _in_progress(model) + float(limits @ self._each)
        left = (self._steep * w + float(self._prices @ limits)) * ticks + self._later * ticks**2
        left += float((self._quality / self._each).max()) * w + float(self._quality @ limits)
        left += self._switching + float(found.values.max() - found.values.min())
        arrived = float(overflow.linear @ self._rates) + float(overflow.square @ self._rates)
        left += arrived * ticks + float(overflow.square @ self._rates**2) * ticks**2
        left -= self._factors(overflow)[0] * w + self._factors(overflow)[1] * w**2
        return bool(left(end) <= 0.0 and left.deriv()(end) <= 0.0 and left.coef[2] < 0.0)

    def _factors(self, overflow: OverflowLoss) -> tuple[float, float]:
        """Return R and S."""
        linear = float(overflow.linear[0] / self._each[0])
        return linear, float(overflow.square[0] * self._rates[0] / (self._each[0] * self.load))


def _in_progress(model: TruncatedModel) -> int:
    """Return the most ticks for which a batch or a load is in progress when a round starts."""
    return max([max(mode.busy, mode.loading) for mode in model.listed.modes])
