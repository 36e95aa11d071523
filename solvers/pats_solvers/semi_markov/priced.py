"""A lower bound on every online policy, adapter by adapter, at a price of the GPU.

*The relaxation.* At each tick at most one adapter is resident or being loaded. Let this hold on
average only, and put a price on it: each adapter then decides by itself when to be *held*, pays the
price for each tick that it is, its switches, and the loss of its own requests. For any price pi

    loss per tick of any policy  >=  sum over adapters of g_a(pi) - pi

where g_a(pi) is the least loss per tick of adapter a by itself. *Proof.* Take any policy, and let
each adapter do by itself what the policy does with it. Its decisions may depend on other adapters,
whose arrivals are independent of its own; that is a randomised policy of its own process, which
loses at least g_a(pi). The losses add up to that of the policy, but for the price, of which the
policy pays at most pi per tick, as no two adapters are held at once.

It is the online counterpart of ``lagrangian``: one small process for each adapter, however many
there are. Where adapters hardly compete it is near the optimum; it knows nothing of the order in
which the GPU serves them.

*Limits of queues.* A request that finds its queue full leaves at the least loss that serving one
can have. What a policy does with the others is still possible: a batch without some members ends no
later, and the adapter can be held for the rest of its time. So the bound holds at every limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pats_opt.errors import InputError
from pats_opt.model.problem import Site
from pats_solvers.semi_markov.arrivals import RequestKind
from pats_solvers.semi_markov.decisions import Decision, DecisionTable, GpuMode
from pats_solvers.semi_markov.iteration import OverflowLoss, TruncatedModel, solve
from pats_solvers.semi_markov.truncation import least_losses, require_growing_steps

Floats = NDArray[np.float64]

#: Modes of an adapter by itself.
RELEASED, HELD = 0, 1

#: Doublings of the price up to which its best value is sought, and prices that are tried then.
DOUBLINGS, PRICES = 40, 20

#: What golden section keeps of an interval.
GOLDEN = (5.0**0.5 - 1.0) / 2.0


@dataclass(frozen=True, slots=True)
class PricedBound:
    """A lower bound on every online policy.

    Attributes:
        lower: No online policy loses less per tick.
        price: Price per tick of the GPU at which this was found.
    """

    lower: float
    price: float


class AdapterProcess:
    """One adapter by itself, at a price of the GPU.

    Args:
        site: One GPU with one resident adapter.
        kinds: The adapter's kinds of requests.
        limits: Largest number waiting of each kind.
    """

    def __init__(self, site: Site, kinds: Sequence[RequestKind], limits: Sequence[int]) -> None:
        self._site, self._kinds, self._limits = site, kinds, limits
        self._resident = frozenset((kinds[0].adapter,))
        self._batches = DecisionTable(site, kinds, limits).batches[self._resident]
        self._values: Floats | None = None
        none = np.zeros(len(kinds))
        self._overflow = OverflowLoss(least_losses(site, kinds), none, none)
        self.modes = [GpuMode(frozenset(), frozenset()), GpuMode(self._resident, self._resident)]
        self.decisions: list[list[Decision]] = []
        self.idle = [0.0, 0.0]

    def least_loss(self, price: float, tolerance: float) -> float:
        """Return a lower bound on the loss per tick, the price of being held included."""
        nowhere, here = frozenset[int](), self._resident
        release = Decision((), nowhere, RELEASED, 1, 0.0)
        self.idle = [0.0, price]
        self.decisions = [
            [Decision((), nowhere, RELEASED, 0, 0.0), *self._taken(price)],
            [Decision((), here, HELD, 0, 0.0), release, *self._served(price, 0.0)],
        ]
        model = TruncatedModel(self._site, self._kinds, self._limits, self._overflow, self)
        found = solve(model, tolerance, values=self._values)
        self._values = found.values
        return found.lower

    def _taken(self, price: float) -> list[Decision]:
        """Return what can be done with the released adapter: a switch, with a batch if need be."""
        site, (adapter,) = self._site, self._resident
        pairs = [seconds for (_, to), seconds in site.pairs.items() if to == adapter]
        seconds = min([site.load_s[adapter], *pairs])
        ticks = site.switching_ticks(seconds)
        cost = seconds * site.switch_price_per_s
        if not ticks:
            return self._served(price, cost)
        return [Decision((), self._resident, HELD, ticks, cost + price * ticks)]

    def _served(self, price: float, cost: float) -> list[Decision]:
        """Return the batches, at the price of their ticks, after a switch that costs so much."""
        return [
            Decision(
                batch.members,
                self._resident,
                HELD,
                batch.ticks,
                cost + batch.cost + price * batch.ticks,
            )
            for batch in self._batches
        ]


def priced_bound(
    site: Site, kinds: Sequence[RequestKind], queue: int, *, tolerance: float = 1e-4
) -> PricedBound:
    """Return the best lower bound over the prices of the GPU.

    Args:
        site: One GPU with one resident adapter, without loads beside serving or a hard horizon.
        kinds: The kinds of requests. They have no deadlines and must be served.
        queue: Number of waiting requests of a kind that the states tell apart.
        tolerance: Relative gap at which each adapter's loss is taken for found.

    Raises:
        InputError: The GPU holds several adapters, or step times fall with the batch.
    """
    require_growing_steps(site)
    if site.max_resident > 1 or site.channels is not None:
        raise InputError(
            "the bound by prices is of GPUs that hold one adapter at a time and stop for loads",
            hint="set switching.max_resident to 1, and leave switching.channels out",
        )
    own: dict[int, list[RequestKind]] = {}
    for kind in kinds:
        own.setdefault(kind.adapter, []).append(kind)
    processes = [AdapterProcess(site, mine, [queue] * len(mine)) for mine in own.values()]
    tried = dict[float, float]()

    def lower(price: float) -> float:
        if price not in tried:
            tried[price] = sum(p.least_loss(price, tolerance) for p in processes) - price
        return tried[price]

    high = sum(kind.price(site) for kind in kinds)
    for _ in range(DOUBLINGS):
        if lower(2.0 * high) <= lower(high):
            break
        high *= 2.0
    low, high = 0.0, 2.0 * high  # concave in the price: golden section
    left, right = high - GOLDEN * high, GOLDEN * high
    for _ in range(PRICES):
        if lower(left) >= lower(right):
            high, right = right, left
            left = high - GOLDEN * (high - low)
        else:
            low, left = left, right
            right = low + GOLDEN * (high - low)
    best = max(tried, key=lambda price: tried[price])
    return PricedBound(tried[best], best)
