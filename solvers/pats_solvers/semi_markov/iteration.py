"""Policy iteration with bounds: the least loss per tick over all policies of a truncated model.

For any values h, the least over states and decisions of (loss + E h afterwards - h) / ticks is at
most the loss per tick of every policy, and the largest over states for a policy's own decisions is
at least that policy's. Both are computed each time that the decisions are chosen anew, so they hold
whatever the values are (Odoni 1969; for semi-Markov decision processes Tijms, A First Course in
Stochastic Models, 2003, section 7.4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pats_opt.model.problem import Site
from pats_solvers.semi_markov.arrivals import RequestKind, count_table
from pats_solvers.semi_markov.decisions import Decision, DecisionSpace
from pats_solvers.semi_markov.kernels import (
    Counts,
    Decisions,
    PolicyDecisions,
    QueueSpace,
    improve,
    sweep,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Sweeps after the first choice of the decisions, their growth with each choice, the most sweeps.
SWEEPS, GROWTH, MOST_SWEEPS = 10, 1.5, 400

#: Most choices of the decisions.
ROUNDS = 60

#: States up to which the equations of a policy's values are solved, and the probability with which
#: its chain then starts anew.
SMALL, RESTART = 400, 1e-9

#: Change of a sweep, relative to the mean loss of a decision, below which values count as found.
SETTLED = 1e-9


@dataclass(frozen=True, slots=True)
class OverflowLoss:
    """Loss of e arrivals of each kind that find no place: linear x e + square x e**2, and more.

    Attributes:
        ahead: What each costs besides where the GPU has switched ahead.
    """

    linear: Floats
    square: Floats
    ahead: Floats


class TruncatedModel:
    """The decision process with limited queues.

    Args:
        site: Everything but the requests.
        kinds: The kinds of requests.
        limits: Largest number waiting of each.
        overflow: Loss of arrivals beyond.
        listed: The modes of the GPU and the decisions in each.
    """

    def __init__(
        self,
        site: Site,
        kinds: Sequence[RequestKind],
        limits: Sequence[int],
        overflow: OverflowLoss,
        listed: DecisionSpace,
    ) -> None:
        self.listed = listed
        prices = np.array([kind.price(site) for kind in kinds])
        rates = np.array([kind.rate for kind in kinds])
        self.space = _queue_space(limits, prices, listed)
        flat = [
            (d.ticks, d.after, m, d)
            for m, decisions in enumerate(self.listed.decisions)
            for d in decisions[1:]
        ]
        flat.sort(key=lambda entry: entry[:3])
        self.flat = [d for *_, d in flat]
        self.ticks = sorted({1} | {ticks for ticks, *_ in flat})
        self.counts = _counts(rates, prices, self.ticks, limits, overflow)
        self.decisions = _decisions(flat, self.ticks, len(kinds))


def _queue_space(limits: Sequence[int], prices: Floats, listed: DecisionSpace) -> QueueSpace:
    sizes = [most + 1 for most in limits]
    strides = np.ones(len(sizes), dtype=np.int64)
    for i in range(len(sizes) - 1, 0, -1):
        strides[i - 1] = strides[i] * sizes[i]
    counts = np.indices(sizes, dtype=np.int16).reshape(len(sizes), -1).T.copy()
    largest = np.array(limits, dtype=np.int64)
    ahead = np.array([mode.ahead for mode in listed.modes], dtype=np.int64)
    idle = np.array(listed.idle, dtype=float)
    wait = np.array([decisions[0].after for decisions in listed.decisions], dtype=np.int64)
    return QueueSpace(counts, strides, largest, counts @ prices, ahead, idle, wait)


def _counts(
    rates: Floats, prices: Floats, ticks: Sequence[int], limits: Sequence[int], over: OverflowLoss
) -> Counts:
    table = count_table(rates.tolist(), ticks, limits)
    n = table.ticks
    # Of those that arrive at tick k of n, each waits for the n - k that are left.
    arriving = np.asarray(float(rates @ prices) * n * (n - 1) / 2.0, dtype=np.float64)
    loss = over.linear[:, None] * table.over + over.square[:, None] * table.over_squares
    ahead = loss + over.ahead[:, None] * table.over
    stay = float(np.exp(-rates.sum()))
    return Counts(
        n, table.share, table.beyond, table.longest, stay, arriving, np.stack((loss, ahead))
    )


def _decisions(
    flat: Sequence[tuple[int, int, int, Decision]], ticks: Sequence[int], kinds: int
) -> Decisions:
    place = {number: t for t, number in enumerate(ticks)}
    keys = [(place[ticks], after) for ticks, after, *_ in flat]
    starts = [i for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]]
    served = np.zeros((len(flat), kinds), dtype=np.int16)
    for row, (*_, decision) in zip(served, flat, strict=True):
        for i, _, count in decision.members:
            row[i] += count
    return Decisions(
        group=np.array([*starts, len(flat)], dtype=np.int64),
        time=np.array([keys[i][0] for i in starts], dtype=np.int64),
        after=np.array([keys[i][1] for i in starts], dtype=np.int64),
        mode=np.array([m for _, _, m, _ in flat], dtype=np.int64),
        served=served,
        cost=np.array([d.cost for *_, d in flat]),
    )


@dataclass(slots=True)
class Iterate:
    """Values, the decisions that they make best, and bounds on the loss per tick.

    Attributes:
        values: Value of each mode and queue state.
        best: Decision of each, or -1 to wait.
        lower: No policy of the model loses less.
        upper: The policy ``best`` loses no more.
    """

    values: Floats
    best: Ints
    lower: float
    upper: float


def solve(
    model: TruncatedModel,
    tolerance: float,
    *,
    values: Floats | None = None,
    progress: Callable[[float, float], None] = lambda *_: None,
) -> Iterate:
    """Find the policy of least loss per tick, up to a relative gap between its bounds."""
    shape = len(model.listed.modes), len(model.space.counts)
    loss = _first_values(model) if values is None else values.copy()
    time = np.zeros(shape)
    now = Iterate(loss, np.empty(shape, dtype=np.int64), -math.inf, math.inf)
    rate = np.empty(shape)
    sweeps = float(SWEEPS)
    for _ in range(ROUNDS):
        improve(model.space, model.counts, model.decisions, now.values, now.best, rate)
        now.lower, now.upper = max(now.lower, float(rate.min())), float(rate.max())
        progress(now.lower, now.upper)
        if now.upper - now.lower <= tolerance * now.upper:
            break
        per_tick = _evaluate(model, now.best, loss, time, round(sweeps))
        sweeps = min(MOST_SWEEPS, GROWTH * sweeps)
        now.values = loss - per_tick * time
    return now


def _first_values(model: TruncatedModel) -> Floats:
    """Return values that make long queues dear, so that the first policy serves them."""
    modes, waiting = len(model.listed.modes), model.space.waiting
    total = model.space.counts.sum(axis=1)
    return np.tile(waiting * total * float(model.ticks[len(model.ticks) // 2]), (modes, 1))


def _evaluate(model: TruncatedModel, best: Ints, loss: Floats, time: Floats, sweeps: int) -> float:
    """Improve the relative losses and times of a policy; return its loss per tick."""
    chosen = _chosen(model, best)
    if loss.size <= SMALL:
        return _solve_equations(model, chosen, loss, time)
    new_loss, new_time = np.empty_like(loss), np.empty_like(time)
    for _ in range(sweeps):
        sweep(model.space, model.counts, chosen, loss, time, new_loss, new_time)
        mean_loss, mean_time = float(new_loss[0, 0]), float(new_time[0, 0])
        new_loss -= mean_loss
        new_time -= mean_time
        # A sweep's own mean may be negative until the values have settled.
        change = float(np.abs(new_loss - loss).max()) / max(1e-300, abs(mean_loss))
        change = max(change, float(np.abs(new_time - time).max()) / max(1e-300, abs(mean_time)))
        loss[:], time[:] = new_loss, new_time
        if change < SETTLED:
            break
    return mean_loss / mean_time


def _solve_equations(
    model: TruncatedModel, chosen: PolicyDecisions, loss: Floats, time: Floats
) -> float:
    """Fill in the relative losses and times of a policy; return its loss per tick.

    From each state the chain starts anew at the first one with a negligible probability, so that
    all states have one mean however the policy parts them.
    """
    size, shape = loss.size, loss.shape
    each, new_time = np.zeros((size, 2)), np.empty(shape)
    ahead = np.empty((size, size))  # the probability of each state after each
    for column in range(-1, size):
        unit, found = np.zeros(size), np.empty(shape)
        unit[column] = float(column >= 0)
        at = unit.reshape(shape)
        sweep(model.space, model.counts, chosen, at, at, found, new_time)
        if column < 0:
            each[:, 0], each[:, 1] = found.ravel(), new_time.ravel()
        else:
            ahead[:, column] = found.ravel() - each[:, 0]
    equations = np.eye(size) - (1.0 - RESTART) * ahead
    equations[:, 0] = 1.0  # the first state's value is 0; in its place is the mean of a decision
    solution = np.linalg.solve(equations, each)
    mean_loss, mean_time = solution[0].copy()
    solution[0] = 0.0
    loss[:], time[:] = (column.reshape(shape) for column in solution.T)
    return float(mean_loss / mean_time)


def _chosen(model: TruncatedModel, best: Ints) -> PolicyDecisions:
    """Return a policy's states in the order of the groups of their decisions."""
    listed, modes = model.decisions, best.shape[0]
    group_of = np.repeat(np.arange(len(listed.time)), np.diff(listed.group))
    mode, state = np.divmod(np.arange(best.size), best.shape[1])
    decision = best.ravel()
    waits = decision < 0
    group = np.where(waits, mode, modes + group_of[decision])
    order = np.argsort(group, kind="stable")
    back = np.where(waits, 0, (listed.served @ model.space.strides)[decision])
    cost = np.where(waits, model.space.idle[mode], listed.cost[decision])
    sizes = np.bincount(group, minlength=modes + len(listed.time))
    used = sizes > 0
    return PolicyDecisions(
        first=np.concatenate(([0], np.cumsum(sizes[used]))),
        time=np.concatenate((np.zeros(modes, dtype=np.int64), listed.time))[used],
        after=np.concatenate((model.space.wait, listed.after))[used],
        waits=int(used[:modes].sum()),
        mode=mode[order],
        state=state[order],
        left=(state - back)[order],
        cost=cost[order],
    )
