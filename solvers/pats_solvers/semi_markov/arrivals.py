"""Stationary arrivals: kinds of requests with their rates, and the counts that arrive in a time.

Arrivals of each kind are Poisson. On the grid the counts of different ticks are independent, so the
count of a number of ticks is Poisson too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from pats_opt.model.problem import Amounts, Job, JobOption, Site

Floats = NDArray[np.float64]

#: Probabilities below are left out of a count's distribution; they go to its largest count.
NEGLIGIBLE = 1e-17


class RequestKind(Struct, frozen=True):
    """Requests that differ in their arrival only.

    Attributes:
        adapter: Index of their adapter.
        demand: What one takes of each resource, in quanta.
        options: Their options.
        weight: Their weight.
        rate: Expected arrivals per tick.
    """

    adapter: int
    demand: Amounts
    options: tuple[JobOption, ...]
    weight: float
    rate: float

    def holds(self, job: Job) -> bool:
        """Return whether a job is of this kind."""
        return (
            job.adapter == self.adapter
            and job.demand == self.demand
            and job.options == self.options
            and job.weight == self.weight
        )

    def job(self) -> Job:
        """Return a request of this kind that arrives at tick 0."""
        return Job(
            index=0,
            id="",
            position=0,
            arrival=0,
            adapter=self.adapter,
            demand=self.demand,
            options=self.options,
            weight=self.weight,
            complexity=None,
            deadline=None,
            reject_loss=None,
        )

    def price(self, site: Site) -> float:
        """Return the loss per tick of one request's latency."""
        return site.latency_price_per_s * self.weight * site.tick_s


def poisson(mean: float, most: int) -> Floats:
    """Return the probabilities of the counts 0 to ``most`` of a Poisson variable."""
    counts = np.arange(most + 1)
    logs = np.array([math.lgamma(k + 1.0) for k in counts])
    shares: Floats = (
        np.exp(counts * math.log(mean) - mean - logs) if mean > 0 else 1.0 * (counts == 0)
    )
    return shares


class CountTable(Struct, frozen=True):
    """Arrivals of each kind within numbers of ticks, cut at the limits of the queues.

    The first index is a number of ticks, as ``ticks`` has them, the second is a kind.

    Attributes:
        ticks: Numbers of ticks.
        share: Probability of each count.
        beyond: Probability that the count is at least as large.
        over: Expected count above each number of free places.
        over_squares: Expected square of the count above each number of free places.
        longest: Largest count that matters.
    """

    ticks: NDArray[np.int64]
    share: Floats
    beyond: Floats
    over: Floats
    over_squares: Floats
    longest: NDArray[np.int64]


def count_table(rates: Sequence[float], ticks: Sequence[int], limits: Sequence[int]) -> CountTable:
    """Return the distributions of the arrivals within each number of ticks."""
    width = max(limits) + 1
    shape = len(ticks), len(rates), width
    share, beyond = np.zeros(shape), np.zeros(shape)
    over, squares = np.zeros(shape), np.zeros(shape)
    longest = np.zeros(shape[:2], dtype=np.int64)
    for t, number in enumerate(ticks):
        for i, rate in enumerate(rates):
            mean = rate * number
            # Far enough that the tail is summed from its small end.
            most = max(width, math.ceil(mean + 12.0 * math.sqrt(mean) + 30.0))
            found = poisson(mean, most)
            tail = np.cumsum(found[::-1])[::-1]  # P(count >= k)
            above = np.append(tail[1:], 0.0)  # P(count > k)
            first = np.cumsum(above[::-1])[::-1]
            second = np.cumsum((2.0 * first - above)[::-1])[::-1]
            share[t, i], beyond[t, i] = found[:width], tail[:width]
            over[t, i], squares[t, i] = first[:width], second[:width]
            longest[t, i] = max(0, int(np.count_nonzero(tail[:width] > NEGLIGIBLE)) - 1)
    return CountTable(np.array(ticks, dtype=np.int64), share, beyond, over, squares, longest)
