"""A recipe as a stationary load: its site, its kinds of requests, and paths drawn from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from msgspec.structs import replace

from pats_opt.errors import InputError
from pats_opt.generate import adapters, arrival_gap_s, draw, generate, profile
from pats_opt.generate.build import RequestRow, assemble
from pats_opt.generate.recipe import Recipe
from pats_opt.model.instance import Instance
from pats_opt.model.problem import Problem, Site
from pats_solvers.semi_markov.arrivals import RequestKind

#: Hint where a recipe has what the decision process lacks.
LEFT_OUT = "leave it out"


@dataclass(frozen=True, slots=True)
class StationaryLoad:
    """A recipe's load.

    Attributes:
        recipe: The recipe, with the adapters' load times and the rate written out.
        site: Everything but the requests.
        kinds: The kinds of requests, with their rates.
        rate_per_s: Requests per second.
    """

    recipe: Recipe
    site: Site
    kinds: tuple[RequestKind, ...]
    rate_per_s: float

    def path(self, requests: int, seed: int) -> Instance:
        """Draw an instance of so many requests; every seed has the same site."""
        return generate(replace(self.recipe, requests=requests), seed, class_name="path")


def stationary_load(recipe: Recipe, seed: int = 0) -> StationaryLoad:
    """Return the load of a recipe.

    Args:
        recipe: The recipe.
        seed: Seed of the adapters' load times and ranks.

    Raises:
        InputError: The recipe is not stationary, or has what the decision process lacks.
    """
    for refused, place, why, hint in _lacks(recipe):
        if refused:
            raise InputError(why, place=place, hint=hint)
    device = profile.of(recipe.service)
    shares = _adapter_shares(recipe)
    used = adapters(sorted(shares), recipe, device, seed)
    rate_per_s = 1.0 / arrival_gap_s(recipe, device, used)
    rows, rates = _rows(recipe, shares, rate_per_s * device.tick_s)
    instance = assemble(
        "kinds", rows, used, recipe, profile=device, seed=seed, extra={"class": "kinds"}
    )
    problem = Problem(instance)
    found: dict[RequestKind, float] = {}
    for job in problem.jobs:
        kind = RequestKind(job.adapter, job.demand, job.options, job.weight, 0.0)
        found[kind] = found.get(kind, 0.0) + rates[job.position]
    kinds = tuple([replace(kind, rate=rate) for kind, rate in found.items()])
    written_out = replace(
        recipe,
        arrivals=replace(recipe.arrivals, rate_per_s=rate_per_s),
        switching=replace(recipe.switching, load_s=tuple([a.load_s for a in used])),
    )
    return StationaryLoad(written_out, problem.site, kinds, rate_per_s)


def _lacks(recipe: Recipe) -> Iterator[tuple[bool, str, str, str]]:
    """Yield for each thing that is refused whether it is there, its place, why, and the mend."""
    terms, arrivals, popularity = recipe.terms, recipe.arrivals, recipe.popularity
    yield (
        arrivals.process != "poisson",
        "arrivals.process",
        f"{arrivals.process} arrivals have a memory, and the online optimum is that of arrivals "
        "without one",
        "set it to poisson",
    )
    yield bool(popularity.depths), "popularity.depths", "adapters repeat", LEFT_OUT
    yield (
        recipe.complexity.spread > 0,
        "complexity.spread",
        "each request has a quality of its own, so there are as many kinds as requests",
        "set it to 0",
    )
    yield (
        recipe.images.mode != "one" and recipe.images.count.mean != 1.0,
        "images.count",
        "requests of several images arrive together",
        "set images.mode to one",
    )
    yield recipe.gpus.count > 1, "gpus.count", "more than one GPU", "set it to 1"
    yield recipe.switching.pairs_spread > 0, "switching.pairs_spread", "drawn pairs", LEFT_OUT
    yield (
        recipe.ranks.rank is not None,
        "ranks.rank",
        "ranks that are drawn anew for each path",
        LEFT_OUT,
    )
    yield (
        terms.late_price > 0 and terms.deadline_share > 0,
        "terms.late_price",
        "deadlines that cost",
        "set it to 0",
    )
    yield (
        terms.reject_share > 0,
        "terms.reject_share",
        "requests that may be rejected",
        "set it to 0",
    )
    yield terms.horizon_slack is not None, "terms.horizon_slack", "a hard horizon", LEFT_OUT
    yield recipe.approximate_cache is not None, "approximate_cache", "a cache", LEFT_OUT


def _adapter_shares(recipe: Recipe) -> dict[str, float]:
    """Return the probability of each adapter."""
    spec = recipe.popularity
    weights, names = draw.popularity(spec)
    shares = {
        name: (1.0 - spec.base_share) * weight / sum(weights)
        for name, weight in zip(names, weights, strict=True)
    }
    shares[draw.BASE] = spec.base_share
    return {name: share for name, share in shares.items() if share > 0}


def _rows(
    recipe: Recipe, shares: dict[str, float], rate: float
) -> tuple[list[RequestRow], list[float]]:
    """Return a request of each combination that may be drawn, and the rate of each."""
    levels, full, weights = recipe.complexity.levels, recipe.steps.full, recipe.terms.weight
    total = sum(size.share for size in recipe.sizes)
    rows, rates = list[RequestRow](), list[float]()
    for (adapter, a), (level, b), (steps, c), (weight, d), size in product(
        shares.items(),
        zip(levels.values, levels.weights, strict=True),
        zip(full.values, full.weights, strict=True),
        zip(weights.values, weights.weights, strict=True),
        recipe.sizes,
    ):
        share = a * b * c * d * size.share / total
        if share > 0:
            complexity = round(min(1.0, max(0.0, level)), 3)
            rows.append(
                RequestRow(
                    id=f"k{len(rows)}",
                    arrival_s=0.0,
                    adapter=adapter,
                    steps=int(steps),
                    complexity=complexity,
                    size=size,
                    weight=weight,
                )
            )
            rates.append(share * rate)
    return rows, rates
