"""The online optimum of a site under stationary arrivals: bounds on it, and a policy for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pats_opt.errors import InputError
from pats_opt.model.problem import Site, ids
from pats_opt.wording import counted, number
from pats_solvers.semi_markov.arrivals import RequestKind
from pats_solvers.semi_markov.decisions import DecisionTable, ModeTable
from pats_solvers.semi_markov.iteration import Iterate, OverflowLoss, TruncatedModel, solve
from pats_solvers.semi_markov.loader import LoadingTable, most_modes
from pats_solvers.semi_markov.table import (
    PolicyTable,
    TableDecision,
    TableKind,
    TableMode,
    table_options,
    table_site,
)
from pats_solvers.semi_markov.truncation import (
    BatchRounds,
    least_losses,
    overflow_at_least,
    require_growing_steps,
)

#: Bytes of each state of queues and GPU: values, their successors and the policy's order.
STATE_BYTES = 128

#: Factor between two losses of arrivals beyond the limits, or of empty batches, that are tried;
#: and how many are.
RAISE, TRIES, BELOW_TRIES = 4.0, 4, 3

#: Receives the bounds on the loss per tick as they improve, and what is solved.
Progress = Callable[[str, float, float], None]


@dataclass(frozen=True, slots=True)
class OptimumResult:
    """Bounds on the least loss per tick of any online policy, and the policy found.

    Attributes:
        lower: No online policy loses less per tick.
        upper: The best loses no more per tick; infinite where that is not proven.
        found: Loss per tick of the policy found, up to the truncation.
        table: The policy.
        load: GPU time that requests take in the quickest full batches, over the time there is.
        states: States of the decision process.
    """

    lower: float
    upper: float
    found: float
    table: PolicyTable
    load: float
    states: int


def online_optimum(
    site: Site,
    kinds: Sequence[RequestKind],
    queue: int,
    *,
    tolerance: float = 1e-4,
    memory_gib: float = 2.0,
    progress: Progress = lambda *_: None,
) -> OptimumResult:
    """Compute the online optimum.

    Args:
        site: One GPU, without a hard horizon; loads beside serving on one channel.
        kinds: The kinds of requests. They have no deadlines and must be served.
        queue: Number of waiting requests of a kind that the states tell apart, the geometric mean
            over the kinds.
        tolerance: Relative gap between the bounds of a truncated problem at which to stop.
        memory_gib: Most memory.
        progress: Called as bounds improve.

    Raises:
        InputError: The load is 1 or more, there are too many states, step times fall with the
            batch, or loads beside serving are as :class:`LoadingTable` refuses them.
    """
    require_growing_steps(site)
    least = least_load(site, kinds)
    if least >= 1.0:
        raise InputError(
            f"the load is {number(least)}: requests come faster than full batches of the fewest "
            "steps serve them, so queues grow without end",
            hint="lower arrivals.load or arrivals.rate_per_s",
        )
    limits = queue_limits(kinds, queue)
    modes = _most_modes(site, kinds, limits)
    if site.channels is None:
        require_memory(limits, queue, modes, memory_gib)
    else:
        longer = "a longer service.tick_s makes fewer states of batches and loads"
        require_memory(limits, queue, modes, memory_gib, longer)
    above, now, proven = best_policy(site, kinds, limits, tolerance, progress)
    lower = _lower_bound(site, kinds, limits, tolerance, best=now.upper, progress=progress)
    return OptimumResult(
        lower=lower,
        upper=now.upper if proven else math.inf,
        found=now.upper,
        table=_table(site, kinds, above, now),
        load=least,
        states=now.values.size,
    )


def best_policy(
    site: Site,
    kinds: Sequence[RequestKind],
    limits: Sequence[int],
    tolerance: float,
    progress: Progress,
) -> tuple[TruncatedModel, Iterate, bool]:
    """Return the best policy with its process, and whether its bound is proven.

    The arguments are those of :func:`online_optimum`, with a limit for each kind's queue.
    """
    rounds, none = BatchRounds(site, kinds), np.zeros(len(kinds))
    overflow = OverflowLoss(least_losses(site, kinds), none, none)
    values, linear, first = None, 0.0, None
    listed = _listed(site, kinds, limits)
    for attempt in range(1 + TRIES):
        model = TruncatedModel(site, kinds, limits, overflow, listed)
        now = solve(model, tolerance, values=values, progress=lambda a, b: progress("policy", a, b))
        if attempt and (rounds.load >= 1.0 or rounds.holds(model, now, overflow)):
            return model, now, rounds.load < 1.0
        if attempt:
            first = first or (model, now)  # a dearer overflow that proves nothing only distorts
        values = now.values
        linear = RAISE * linear if attempt else RAISE * float(np.ptp(values)) / rounds.shortest
        overflow = rounds.overflow(linear)
    return *(first or (model, now)), False


def _lower_bound(
    site: Site,
    kinds: Sequence[RequestKind],
    limits: Sequence[int],
    tolerance: float,
    *,
    best: float,
    progress: Progress,
) -> float:
    """Return a lower bound on the loss per tick of all policies, the best of some."""
    if site.channels is not None:
        overflow = overflow_at_least(site, kinds, 0.0)
        model = TruncatedModel(site, kinds, limits, overflow, _listed(site, kinds, limits))
        found = solve(model, tolerance, progress=lambda a, b: progress("lower bound", a, b))
        return max(0.0, found.lower)
    waiting = min(kind.price(site) * n for kind, n in zip(kinds, limits, strict=True))
    empty_batch = waiting / sum(kind.rate for kind in kinds) / RAISE
    lower = 0.0
    for _ in range(BELOW_TRIES):
        overflow = overflow_at_least(site, kinds, empty_batch)
        listed = DecisionTable(site, kinds, limits, empty_batch=empty_batch)
        model = TruncatedModel(site, kinds, limits, overflow, listed)
        found = solve(model, tolerance, progress=lambda a, b: progress("lower bound", a, b))
        lower = max(lower, found.lower)
        if best - lower <= 2.0 * tolerance * best:
            break
        empty_batch *= RAISE
    return lower


def _listed(site: Site, kinds: Sequence[RequestKind], limits: Sequence[int]) -> ModeTable:
    """Return the decisions of the site's GPU."""
    table = DecisionTable if site.channels is None else LoadingTable
    return table(site, kinds, limits)


def least_load(site: Site, kinds: Sequence[RequestKind]) -> float:
    """Return the least GPU time that the requests can take, over the time there is.

    A batch's step time divided by its members is least for some size; each request takes at least
    its fewest steps at that. Switches and overhead come on top.
    """
    if site.clock.slotted:
        return BatchRounds(site, kinds).load
    largest = BatchRounds(site, kinds).largest
    step_s = min(site.clock.step_s(n) / n for n in range(1, largest + 1))
    busy_s = sum(kind.rate * min(o.steps for o in kind.options) for kind in kinds) * step_s
    return busy_s / site.tick_s


def queue_limits(kinds: Sequence[RequestKind], queue: int) -> list[int]:
    """Return the largest number waiting of each kind: in proportion to its rate, but not far off.

    Of all kinds about as many as come within the same time are told apart.
    """
    mean = math.exp(sum(math.log(kind.rate) for kind in kinds) / len(kinds))
    return [max(1, round(queue * min(2.0, max(0.5, kind.rate / mean)))) for kind in kinds]


def require_memory(
    limits: Sequence[int],
    queue: int,
    modes: int,
    memory_gib: float,
    otherwise: str = "--bound-only takes any number of adapters",
) -> None:
    """Refuse more states than fit; ``otherwise`` is a further mend.

    Raises:
        InputError: They take more memory; the message has the estimate and the mend.
    """
    kinds = len(limits)
    gib = math.prod(most + 1.0 for most in limits) * modes * STATE_BYTES / 2**30
    if gib <= memory_gib:
        return
    fits = math.floor(queue * (memory_gib / gib) ** (1.0 / kinds)) - 1
    raise InputError(
        f"{counted(kinds, 'kind')} of requests in queues of about {queue}, with "
        f"{counted(modes, 'state')} of the GPU, take about {number(gib)} GiB, over the limit of "
        f"{number(memory_gib)}",
        hint=f"give --queue {max(1, fits)} or less, fewer adapters, or a single complexity; "
        f"{otherwise}",
    )


def _most_modes(site: Site, kinds: Sequence[RequestKind], limits: Sequence[int]) -> int:
    """Return a bound on the states of the GPU."""
    adapters = len({kind.adapter for kind in kinds} | site.gpus[0].resident)
    most = min(site.max_resident, adapters)
    sets = sum(math.comb(adapters, size) for size in range(most + 1))
    if site.channels is not None:
        return most_modes(site, kinds, limits, sets)
    return 2 * sets if most == 1 or not site.activate_s else sets * 2**most * 2


def _table(
    site: Site, kinds: Sequence[RequestKind], model: TruncatedModel, found: Iterate
) -> PolicyTable:
    """Return the policy as a document, with the decisions that it takes."""
    used, places = np.unique(found.best, return_inverse=True)
    taken = [model.flat[d] for d in used if d >= 0]
    best = places.reshape(found.best.shape) - (len(used) - len(taken))
    return PolicyTable(
        site=table_site(site),
        kinds=tuple(
            [
                TableKind(
                    adapter=site.adapter_ids[kind.adapter],
                    demand=dict(zip(site.resources, kind.demand, strict=True)),
                    options=table_options(kind.options),
                    weight=kind.weight,
                    rate_per_s=kind.rate / site.tick_s,
                    limit=int(limit),
                )
                for kind, limit in zip(kinds, model.space.limits, strict=True)
            ]
        ),
        modes=tuple(
            [
                TableMode(
                    resident=ids(site, mode.resident),
                    ready=ids(site, mode.ready),
                    ahead=mode.ahead,
                    loading=mode.loading,
                    busy=mode.busy,
                    using=ids(site, mode.using),
                )
                for mode in model.listed.modes
            ]
        ),
        decisions=tuple(
            [TableDecision(members=d.members, resident=ids(site, d.resident)) for d in taken]
        ),
        best=tuple([tuple(row.tolist()) for row in best]),
        loss_per_s=found.upper / site.tick_s,
    )
