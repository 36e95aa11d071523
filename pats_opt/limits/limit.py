"""The limit of online policies on a recipe: offline optimum, online optimum and policies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Literal

from msgspec import Struct

from pats_opt.core import registry
from pats_opt.core.policy import Policy
from pats_opt.core.solver import Solver
from pats_opt.errors import InputError
from pats_opt.generate.recipe import Recipe
from pats_opt.limits.sampling import OfflineEstimate, PolicyEstimate, long_run_mean, offline_mean
from pats_opt.limits.stationary import StationaryLoad, stationary_load
from pats_opt.model.files import encode, write_bytes
from pats_solvers.semi_markov.optimum import OptimumResult, online_optimum
from pats_solvers.semi_markov.policy import OnlineOptimum
from pats_solvers.semi_markov.priced import priced_bound

#: Policies that are measured unless others are named.
POLICIES = ("price-index", "exhaustive:option=fewest", "exhaustive", "pats", "fifo")

#: Receives what is being done.
Phase = Callable[[str], None]


class OnlineBounds(Struct, frozen=True, kw_only=True):
    """The online optimum, per request.

    Attributes:
        loss: Loss of the policy found.
        lower: No online policy loses less.
        upper: The best loses no more; None where that is not proven.
        loss_per_s: Loss per second of the policy found.
    """

    loss: float
    lower: float
    upper: float | None
    loss_per_s: float


class PricedEstimate(Struct, frozen=True, kw_only=True):
    """A lower bound on every online policy, adapter by adapter at a price of the GPU.

    Attributes:
        loss: No online policy loses less per request.
        price_per_s: Price per second of the GPU at which this was found.
    """

    loss: float
    price_per_s: float


class LimitReport(Struct, frozen=True, kw_only=True):
    """The limit of online policies on a recipe; losses are per request.

    Attributes:
        rate_per_s: Requests per second.
        load: GPU time that requests take in the quickest full batches, over the time there is.
        kinds: Kinds of requests.
        queue: Number of waiting requests of a kind that the states tell apart.
        states: States of the decision process.
        online: The online optimum.
        priced: The bound that is also there for many adapters, for comparison; None where a GPU
            holds several, or loads beside serving.
        offline: The offline optimum's mean; None where it was not asked for.
        policies: The long-run means of policies; the first is that of the online optimum's policy.
        future: What knowing the future is worth: the online optimum less the offline one.
        seconds: Seconds that the online optimum took.
    """

    format: Literal["pats-opt/limit"] = "pats-opt/limit"
    version: Literal[1] = 1
    rate_per_s: float
    load: float
    kinds: int
    queue: int
    states: int
    online: OnlineBounds
    priced: PricedEstimate | None
    offline: OfflineEstimate | None
    policies: tuple[PolicyEstimate, ...]
    future: float | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """Choice of what is computed, and how exactly.

    Attributes:
        policies: Specifications of the policies.
        queue: Number of waiting requests of a kind that the states tell apart.
        tolerance: Relative gap at which the online optimum stops.
        memory_gib: Most memory for it.
        paths: Paths for each policy.
        requests: Requests of each.
        offline_paths: Paths for the offline optimum; 0 leaves it out.
        window: Requests of the shorter of its two windows.
        time_limit: Seconds for each of its optima.
        seed: Seed of everything drawn.
    """

    policies: tuple[str, ...] = POLICIES
    queue: int = 20
    tolerance: float = 1e-4
    memory_gib: float = 2.0
    paths: int = 8
    requests: int = 1000
    offline_paths: int = 8
    window: int = 24
    time_limit: float = 10.0
    seed: int = 0


def named_policies(specs: Sequence[str]) -> list[tuple[str, Policy]]:
    """Return the policies of specifications.

    Raises:
        InputError: One is unknown, or names a solver that is not a policy.
    """
    found = []
    for spec in specs:
        made = registry.make(spec)
        if isinstance(made, Solver):
            raise InputError(f"{spec!r} is no online policy", hint="choose from 'pats-opt solvers'")
        found.append((spec, made))
    return found


def limit(
    recipe: Recipe,
    options: LimitOptions | None = None,
    *,
    folder: Path | None = None,
    phase: Phase = lambda _: None,
) -> LimitReport:
    """Compute the limit of online policies on a recipe.

    Args:
        recipe: The recipe, with Poisson arrivals.
        options: What is computed.
        folder: Where ``policy.json`` is kept, the table of ``online-optimum``.
        phase: Called with what is being done.

    Raises:
        InputError: The recipe is not stationary, its load is too high, it has too many kinds of
            requests, or a policy is unknown.
    """
    chosen = options or LimitOptions()
    policies = named_policies(chosen.policies)
    load = stationary_load(recipe, chosen.seed)
    began = perf_counter()
    found = online_optimum(
        load.site,
        load.kinds,
        chosen.queue,
        tolerance=chosen.tolerance,
        memory_gib=chosen.memory_gib,
        progress=lambda name, _low, _high: phase(f"online optimum, {name}"),
    )
    seconds = perf_counter() - began
    with TemporaryDirectory() as spare:
        path = (folder or Path(spare)) / "policy.json"
        write_bytes(path, encode(found.table))
        best = OnlineOptimum(model=str(path), ahead=True)
        means, offline = _sampled(load, [(best.name, best), *policies], found, chosen, phase)
    per_request = found.found / (load.rate_per_s * load.site.tick_s)
    middle = None if offline is None else (offline.low + offline.high) / 2.0
    return LimitReport(
        rate_per_s=load.rate_per_s,
        load=found.load,
        kinds=len(load.kinds),
        queue=chosen.queue,
        states=found.states,
        online=_online(found, load),
        priced=price_bound(load, chosen.queue),
        offline=offline,
        policies=means,
        future=None if middle is None else per_request - middle,
        seconds=seconds,
    )


def _online(found: OptimumResult, load: StationaryLoad) -> OnlineBounds:
    ticks = 1.0 / (load.rate_per_s * load.site.tick_s)
    return OnlineBounds(
        loss=found.found * ticks,
        lower=found.lower * ticks,
        upper=found.upper * ticks if math.isfinite(found.upper) else None,
        loss_per_s=found.found / load.site.tick_s,
    )


def price_bound(load: StationaryLoad, queue: int) -> PricedEstimate | None:
    """Return the lower bound by a price of the GPU.

    None where a GPU holds several adapters, or loads beside serving.
    """
    if load.site.max_resident > 1 or load.site.channels is not None:
        return None
    found = priced_bound(load.site, load.kinds, queue)
    per_request = load.rate_per_s * load.site.tick_s
    return PricedEstimate(
        loss=found.lower / per_request, price_per_s=found.price / load.site.tick_s
    )


def only_price_bound(recipe: Recipe, queue: int, seed: int) -> PricedEstimate:
    """Return the lower bound by a price of the GPU on a recipe.

    Raises:
        InputError: The recipe is not stationary, or a GPU holds several adapters or loads beside
            serving.
    """
    load = stationary_load(recipe, seed)
    if load.site.channels is not None:
        raise InputError(
            "the bound by a price of the GPU is of GPUs that stop for loads",
            place="switching.channels",
            hint="leave it out",
        )
    found = price_bound(load, queue)
    if found is None:
        raise InputError(
            "the bound by a price of the GPU is of GPUs that hold one adapter at a time",
            place="switching.max_resident",
            hint="set it to 1",
        )
    return found


def _sampled(
    load: StationaryLoad,
    policies: Sequence[tuple[str, Policy]],
    found: OptimumResult,
    options: LimitOptions,
    phase: Phase,
) -> tuple[tuple[PolicyEstimate, ...], OfflineEstimate | None]:
    """Return the means of the policies, of which the first is the best, and of the offline one."""
    means, best = list[PolicyEstimate](), list[float]()
    for name, policy in policies:
        phase(name)
        means.append(
            long_run_mean(
                load,
                name,
                policy,
                best,
                paths=options.paths,
                requests=options.requests,
                seed=options.seed,
            )
        )
    if not options.offline_paths:
        return tuple(means), None
    phase("offline optimum")
    offline = offline_mean(
        load,
        policies[0][1],
        found.found / (load.rate_per_s * load.site.tick_s),
        paths=options.offline_paths,
        window=options.window,
        time_limit=options.time_limit,
        seed=options.seed,
    )
    return tuple(means), offline
