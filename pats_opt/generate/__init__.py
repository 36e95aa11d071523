"""Seeded instances: :func:`generate`, service profiles, quality models and named suites."""

from __future__ import annotations

from pats_opt.generate import draw, profile
from pats_opt.generate.build import RequestRow, assemble, looked_up
from pats_opt.generate.cached import stream_of_prompts
from pats_opt.generate.recipe import Recipe
from pats_opt.model.instance import Adapter, Instance

__all__ = ["Recipe", "generate"]


def generate(
    recipe: Recipe | None = None,
    seed: int = 0,
    *,
    name: str | None = None,
    class_name: str | None = None,
) -> Instance:
    """Generate an instance; the same recipe and seed give the same bytes.

    Args:
        recipe: What to make; None for the defaults.
        seed: Seed of every draw.
        name: The instance's name; None for one made of the profile, the size and the seed.
        class_name: Its class in reports (``extra.class``); None for its name without the seed.

    Raises:
        InputError: an unknown profile or tier, or a request that fits no GPU even alone.
    """
    recipe = recipe or Recipe()
    device = profile.of(recipe.service)
    count = recipe.requests
    kind = class_name or f"generated-{device.name}-{count}x{recipe.popularity.adapters}"

    drawn = draw.adapters(recipe.popularity, count, draw.stream(seed, "adapters"))
    used = adapters(sorted(set(drawn)), recipe, device, seed)
    mean_gap_s = arrival_gap_s(recipe, device, used)
    times = draw.arrivals(recipe.arrivals, mean_gap_s, count, draw.stream(seed, "arrivals"))
    hard = draw.complexities(recipe.complexity, count, draw.stream(seed, "complexity"))
    steps = draw.mixed(recipe.steps.full, count, draw.stream(seed, "steps"))
    images = draw.mixed(recipe.images.count, count, draw.stream(seed, "images"))
    sizes = draw.sizes(recipe.sizes, count, draw.stream(seed, "sizes"))
    weights = draw.mixed(recipe.terms.weight, count, draw.stream(seed, "weights"))
    seeds = draw.stream(seed, "image seeds").integers(0, 2**31, count)
    cache = recipe.approximate_cache
    earlier, prompts = stream_of_prompts(cache, count, seed) if cache else ([], [""] * count)
    rows = [
        RequestRow(
            id=f"r{i}",
            arrival_s=times[i],
            adapter=drawn[i],
            steps=int(steps[i]),
            complexity=hard[i],
            size=sizes[i],
            images=int(images[i]),
            prompt=prompts[i],
            seed=int(seeds[i]),
            weight=weights[i],
        )
        for i in range(count)
    ]
    return assemble(
        name or f"{kind}-s{seed}",
        rows,
        used,
        recipe,
        profile=device,
        seed=seed,
        extra={"class": kind, "seed": seed, "profile": device.name},
        cached=looked_up(recipe, rows, seed, earlier),
    )


def arrival_gap_s(recipe: Recipe, device: profile.Profile, used: list[Adapter]) -> float:
    """Return the mean seconds between two arrivals.

    Args:
        recipe: The recipe.
        device: Its profile.
        used: The adapters that requests use.
    """
    if recipe.arrivals.rate_per_s is not None:
        return 1.0 / recipe.arrivals.rate_per_s
    work_s = draw.work_s(
        recipe,
        device,
        steps=recipe.steps.full.mean,
        images=recipe.images.count.mean,
        load_s=sum(a.load_s for a in used) / max(1, len(used)),
    )
    return work_s / (recipe.arrivals.load * recipe.gpus.count)


def adapters(
    ids: list[str],
    recipe: Recipe,
    device: profile.Profile,
    seed: int,
    *,
    base: str | None = draw.BASE,
    ranks: dict[str, int] | None = None,
) -> list[Adapter]:
    """Make an adapter for each id; the id ``base`` takes no memory and no time.

    Load times are those of the recipe in turn, else drawn from the profile's tier. Memory is that
    of the rank, as ``ranks`` has it or as drawn from the recipe, else the profile's.
    """
    spec, given = device.load_time(recipe.switching.tier), recipe.switching.load_s
    loads = draw.load_times(spec, len(ids), draw.stream(seed, "load times"))
    if given:
        loads = [given[i % len(given)] for i in range(len(ids))]
    known = draw.ranks(recipe.ranks, ids, draw.stream(seed, "ranks")) | (ranks or {})
    vram_gib = {name: profile.round_up(recipe.ranks.gib(rank)) for name, rank in known.items()}
    return [
        Adapter(id=name, vram_gib=0.0, load_s=0.0)
        if name == base
        else Adapter(id=name, vram_gib=vram_gib.get(name, device.memory.adapter_gib), load_s=load_s)
        for name, load_s in zip(ids, loads, strict=True)
    ]
