"""Seeded draws: arrivals, adapters, complexity, sizes and the rest.

Every value comes from uniform numbers by inverse transform and is rounded, and every component has
its own stream. So a seed gives the same bytes everywhere, and the parameters of one component do
not change the draws of another.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from pats_opt.generate.config import Mix
from pats_opt.generate.profile import LoadTime, Profile
from pats_opt.generate.ranks import AdapterRanks
from pats_opt.generate.recipe import Arrivals, Complexity, ImageSize, Popularity, Recipe
from pats_opt.generate.shapes import warped

Floats = NDArray[np.float64]

#: Id of the adapter of requests without one.
BASE = "base"


def stream(seed: int, component: str) -> np.random.Generator:
    """Random number generator of one component under a seed."""
    sequence = np.random.SeedSequence([seed, crc32(component.encode())])
    return np.random.Generator(np.random.PCG64(sequence))


def pick(weights: Sequence[float], uniform: Floats) -> list[int]:
    """Map each uniform number to an index, by weight."""
    ends = np.cumsum(np.asarray(weights, dtype=float))
    found: list[int] = np.searchsorted(ends / ends[-1], uniform, side="right").tolist()
    return found


def mixed(mix: Mix, count: int, rng: np.random.Generator) -> list[float]:
    """Draw ``count`` values of a mix."""
    return [mix.values[i] for i in pick(mix.weights, rng.random(count))]


def sizes(choices: Sequence[ImageSize], count: int, rng: np.random.Generator) -> list[ImageSize]:
    """Draw ``count`` image sizes."""
    return [choices[i] for i in pick([size.share for size in choices], rng.random(count))]


def complexities(spec: Complexity, count: int, rng: np.random.Generator) -> list[float]:
    """Draw ``count`` complexities in [0, 1], to 3 decimals."""
    levels = mixed(spec.levels, count, rng)
    shifts = spec.spread * (2 * rng.random(count) - 1)
    return [round(min(1.0, max(0.0, v + float(d))), 3) for v, d in zip(levels, shifts, strict=True)]


def gaps(spec: Arrivals, mean_s: float, count: int, rng: np.random.Generator) -> Floats:
    """Draw ``count`` inter-arrival times in seconds, of mean ``mean_s``."""
    cv = {"bursty": spec.cv, "regular": 0.0, "at-once": 0.0}.get(spec.process, 1.0)
    unit = -np.log1p(-rng.random(count))  # exponential of mean 1
    phase = rng.random(count)
    if spec.process == "at-once":
        return np.zeros(count)
    if cv <= 1.0:
        return mean_s * ((1.0 - cv) + cv * unit)
    short = (1.0 + math.sqrt((cv * cv - 1.0) / (cv * cv + 1.0))) / 2.0
    scale = np.where(phase < short, 1.0 / (2.0 * short), 1.0 / (2.0 * (1.0 - short)))
    return mean_s * scale * unit


def arrivals(spec: Arrivals, mean_s: float, count: int, rng: np.random.Generator) -> list[float]:
    """Draw ``count`` arrival times in seconds, to the millisecond.

    The first one is at 0, unless the rate has a shape, which begins at 0.
    """
    times = np.cumsum(gaps(spec, mean_s, count, rng))
    if spec.process in ("day", "square"):
        shaped = warped(spec.day if spec.process == "day" else spec.square, times)
        return [round(t, 3) for t in shaped.tolist()]
    return [round(float(t - times[0]), 3) for t in times]


def adapters(spec: Popularity, count: int, rng: np.random.Generator) -> list[str]:
    """Draw the adapter id of each of ``count`` requests."""
    weights, names = popularity(spec)
    fresh = pick(weights, rng.random(count))
    plain, again, place = rng.random(count), rng.random(count), rng.random(count)
    recent: list[int] = []
    chosen = []
    for i in range(count):
        if plain[i] < spec.base_share:
            chosen.append(BASE)
            continue
        adapter = _recent(spec, recent, again[i], place[i])
        adapter = fresh[i] if adapter is None else adapter
        if adapter in recent:
            recent.remove(adapter)
        recent.insert(0, adapter)
        del recent[spec.depths[-1] if spec.depths else 0 :]
        chosen.append(names[adapter])
    return chosen


def popularity(spec: Popularity) -> tuple[list[float], list[str]]:
    """Return weight and id of each adapter; requests without one are apart."""
    width = len(str(spec.adapters))
    weights = [(i + spec.shift) ** -spec.zipf for i in range(1, spec.adapters + 1)]
    return weights, [f"lora-{i:0{width}}" for i in range(1, spec.adapters + 1)]


def _recent(spec: Popularity, recent: list[int], again: float, place: float) -> int | None:
    """Pick a recently used adapter by the recency distribution; None to draw afresh."""
    i = bisect_right(spec.hits, again)
    if i == len(spec.hits):
        return None
    above = spec.depths[i - 1] if i else 0
    at = above + int(place * (spec.depths[i] - above))
    return recent[at] if at < len(recent) else None


def load_times(spec: LoadTime, count: int, rng: np.random.Generator) -> list[float]:
    """Draw ``count`` load times in seconds, to the millisecond."""
    return [round(spec.quantile(float(u)), 3) for u in rng.random(count)]


def ranks(spec: AdapterRanks, ids: Sequence[str], rng: np.random.Generator) -> dict[str, int]:
    """Draw the rank of each adapter; none without a distribution."""
    drawn = [] if spec.rank is None else mixed(spec.rank, len(ids), rng)
    return {name: int(rank) for name, rank in zip(ids, drawn, strict=False)}


def work_s(
    recipe: Recipe, profile: Profile, *, steps: float, images: float, load_s: float
) -> float:
    """GPU seconds per request under the batching that ``Arrivals.load`` assumes.

    ``images * (h(b) + steps * w(b) + switches_per_batch * load_s) / b``: h and w the profile's
    overhead and step time, ``images`` 1 unless each image is a request of its own, and b
    ``Arrivals.batch`` cut to the largest batch that fits. In the slotted model a batch takes one
    tick and a switch none.
    """
    count = images if recipe.images.mode in (None, "split", "group", "share") else 1.0
    b = assumed_batch(recipe, profile)
    if recipe.service.kind == "slot":
        return count * profile.tick_s / b
    batch_s = profile.overhead(b) + steps * profile.step_s(b)
    return count * (batch_s + recipe.arrivals.switches_per_batch * load_s) / b


def assumed_batch(recipe: Recipe, profile: Profile) -> int:
    """Return ``Arrivals.batch``, cut to the requests of mean demand that fit a GPU."""
    total = sum(size.share for size in recipe.sizes)
    demand = sum(size.share * request_gib(size, profile) for size in recipe.sizes) / total
    vram = min(recipe.gpus.vram_gib, default=profile.memory.capacity_gib)
    mix = recipe.ranks.rank
    adapter = profile.memory.adapter_gib if mix is None else recipe.ranks.gib(mix.mean)
    free = vram - profile.base_vram_gib - adapter
    limits = [recipe.arrivals.batch, recipe.gpus.batch or profile.memory.max_batch]
    if demand > 0:
        limits.append(int(free / demand + 1e-9))
    if isinstance(profile.step_s.table, tuple):
        limits.append(len(profile.step_s.table))
    return max(1, min(limit for limit in limits if limit is not None))


def request_gib(size: ImageSize, profile: Profile) -> float:
    """Memory, in GiB, of one request of a size."""
    if size.vram_gib is not None:
        return size.vram_gib
    return profile.memory.request_gib(size.width, size.height)
