"""Assembly of an instance from request rows, drawn by ``generate`` or read by ``import``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from pats_opt.errors import InputError
from pats_opt.generate import draw
from pats_opt.generate.cached import PromptArrival, RequestLevels, cached_requests
from pats_opt.generate.profile import Profile
from pats_opt.generate.quality import QualityModel
from pats_opt.generate.recipe import ImageCount, ImageSize, Recipe
from pats_opt.model.instance import (
    Adapter,
    Gpu,
    Instance,
    Option,
    Overlap,
    Request,
    SlotService,
    StepsService,
    Switching,
    Transition,
    validate_made,
)
from pats_opt.model.problem import Problem
from pats_opt.model.timing import to_ticks

#: Options below the full step count, unless the recipe names others.
PRUNED = (20,)


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One request before its options, deadline and images are derived.

    Attributes:
        arrival_s: Seconds from the first request.
        steps: Its full step count.
        deadline_s: Seconds from arrival; None to let the recipe's terms draw one.
        group: The user's request that it belongs to; unset where it is its own.
        similarity: Cosine of the nearest cached prompt, where a log has it.
        extra: Facts to keep in the request.
    """

    id: str
    arrival_s: float
    adapter: str
    steps: int
    complexity: float
    size: ImageSize
    images: int = 1
    prompt: str = ""
    negative_prompt: str = ""
    seed: int = 0
    weight: float = 1.0
    deadline_s: float | None = None
    group: str | UnsetType = UNSET
    similarity: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def assemble(
    name: str,
    rows: Sequence[RequestRow],
    adapters: Sequence[Adapter],
    recipe: Recipe,
    *,
    profile: Profile,
    seed: int,
    pairs: Iterable[Transition] = (),
    extra: dict[str, Any],
    cached: Sequence[RequestLevels] = (),
) -> Instance:
    """Make an instance of ``rows``; everything else is as the recipe says.

    Args:
        name: The instance's name.
        rows: The requests, by arrival.
        adapters: Their adapters.
        recipe: Everything else.
        profile: The device, as the recipe names it.
        seed: Seed of every draw.
        pairs: Times of transitions, beside those that the recipe draws.
        extra: Facts to keep in the instance.
        cached: Their look-ups (:func:`looked_up`), where the recipe has approximate caching.

    Raises:
        InputError: a request fits no GPU even alone.
    """
    terms, cache = recipe.terms, recipe.switching
    service = SlotService if recipe.service.kind == "slot" else StepsService
    instance = Instance(
        extra=extra,
        name=name,
        tick_s=profile.tick_s,
        base_vram_gib=profile.base_vram_gib,
        gpus=_gpus(recipe, profile, rows, adapters),
        adapters=tuple(adapters),
        switching=Switching(
            max_resident=cache.max_resident,
            max_per_batch=cache.max_per_batch,
            activate_s=profile.load.activate_s if cache.activate_s is None else cache.activate_s,
            price_per_s=cache.price_per_s,
            pairs=(*pairs, *_drawn_pairs(recipe, adapters, seed)),
            overlap=Overlap(channels=cache.channels) if cache.channels else UNSET,
        ),
        service=service(step_s=profile.step_s, overhead_s=profile.overhead_s),
        latency_price_per_s=terms.latency_price_per_s,
        late_price=terms.late_price,
        requests=tuple(_requests(rows, adapters, recipe, profile, seed, cached=cached)),
    )
    validate_made(instance)
    problem = Problem(instance)
    for job, reason in problem.unservable():
        raise InputError(
            f"request {job.id!r} cannot be served: {reason}",
            file=own if (own := recipe.service.profile).endswith(".toml") else None,
            hint="use smaller images, fewer images per request, or GPUs with more memory",
        )
    if terms.horizon_slack is None:
        return instance
    return replace(instance, horizon_ticks=_serial_end(problem, terms.horizon_slack))


def _requests(
    rows: Sequence[RequestRow],
    adapters: Sequence[Adapter],
    recipe: Recipe,
    profile: Profile,
    seed: int,
    *,
    cached: Sequence[RequestLevels],
) -> Iterable[Request]:
    """Yield the requests: options by the quality model, deadlines, rejection, images."""
    wait_s = 0.0 if recipe.approximate_cache is None else recipe.approximate_cache.lookup_s
    terms, model, count = recipe.terms, recipe.quality.model(), len(rows)
    pruned = PRUNED if recipe.steps.pruned is None else recipe.steps.pruned
    rng = draw.stream(seed, "deadlines")
    due, slack = rng.random(count), rng.random(count)
    may_reject = draw.stream(seed, "rejection").random(count)
    load_s = {adapter.id: adapter.load_s for adapter in adapters}
    low, high = terms.deadline_slack
    for i, row in enumerate(rows):
        found = cached[i] if cached else None
        options = _options(row, pruned, model) if found is None else found.options
        deadline_s = row.deadline_s
        if deadline_s is None and due[i] < terms.deadline_share:
            alone_s = profile.overhead(1) + row.steps * profile.step_s(1) + load_s[row.adapter]
            deadline_s = round(float(low + (high - low) * slack[i]) * alone_s, 3)
        reject_loss = None
        if may_reject[i] < terms.reject_share:
            best = max(option.quality for option in options)
            reject_loss = best if terms.reject_loss is None else terms.reject_loss
        if deadline_s is not None and wait_s:
            deadline_s = round(max(0.0, deadline_s - wait_s), 6)
        group = row.group or (row.id if recipe.images.mode == "group" else UNSET)
        extra = {**row.extra, **(found.extra if found else {})}
        vram_gib = draw.request_gib(row.size, profile)
        for copy, times, weight in _copies(row, recipe.images):
            yield Request(
                extra=extra or UNSET,
                id=row.id if copy is None else f"{row.id}.{copy}",
                arrival_s=round(row.arrival_s + wait_s, 6) if wait_s else row.arrival_s,
                adapter=row.adapter,
                demand={"vram_gib": vram_gib * times, "batch": 1.0 * times},
                options=options,
                weight=weight,
                complexity=row.complexity if found is None else found.complexity,
                deadline_s=deadline_s,
                reject_loss=reject_loss,
                prompt=row.prompt,
                negative_prompt=row.negative_prompt,
                seed=row.seed + (copy or 0),
                width=row.size.width,
                height=row.size.height,
                group=group,
            )


def looked_up(
    recipe: Recipe, rows: Sequence[RequestRow], seed: int, earlier: Sequence[str] = ()
) -> list[RequestLevels]:
    """Look rows up in the recipe's approximate cache; none where it has no cache.

    Args:
        recipe: The recipe.
        rows: The requests, by arrival.
        seed: Seed of every draw.
        earlier: Prompts that are looked up before the first request.

    Raises:
        InputError: The cache lacks something, as
            :func:`pats_opt.generate.cached.cached_requests` says.
    """
    spec = recipe.approximate_cache
    if spec is None:
        return []
    prompts = [PromptArrival(r.id, r.prompt, r.adapter, r.steps, r.similarity) for r in rows]
    return cached_requests(spec, prompts, seed, earlier)


def _options(row: RequestRow, pruned: Sequence[int], model: QualityModel) -> tuple[Option, ...]:
    """Options of a row: the pruned step counts below its full one, and the full one."""
    steps = [*sorted({s for s in pruned if s < row.steps}), row.steps]
    return tuple(
        Option(steps=s, quality=round(min(1.0, max(0.0, model(s, row.complexity))), 4))
        for s in steps
    )


def _copies(row: RequestRow, images: ImageCount) -> list[tuple[int | None, int, float]]:
    """Requests of a row, as (number of the copy, multiple of its demand, weight)."""
    if row.images == 1 or images.mode == "one":
        return [(None, 1, row.weight)]
    if images.mode == "stack":
        return [(None, row.images, row.weight)]
    each = row.weight / row.images if images.mode == "share" else row.weight
    return [(copy, 1, each) for copy in range(row.images)]


def _gpus(
    recipe: Recipe, profile: Profile, rows: Sequence[RequestRow], adapters: Sequence[Adapter]
) -> tuple[Gpu, ...]:
    """Make the GPUs, with the recipe's resident adapters."""
    spec, k = recipe.gpus, recipe.switching.max_resident
    batch = spec.batch or profile.memory.max_batch
    shared = {} if batch is None else {"batch": float(batch)}
    vram = spec.vram_gib or (profile.memory.capacity_gib,)
    ranked: list[str] = []  # by popularity
    if spec.resident == "popular":
        wanted = Counter(row.adapter for row in rows)
        ranked = sorted((a.id for a in adapters), key=lambda name: (-wanted[name], name))
    gpus = []
    for g in range(spec.count):
        start = g * k % max(1, len(ranked))
        resident = tuple(dict.fromkeys((ranked * 2)[start : start + k]))
        capacity = {"vram_gib": vram[g % len(vram)], **shared}
        gpus.append(Gpu(id=f"gpu-{g}", capacity=capacity, resident=resident))
    return tuple(gpus)


def _drawn_pairs(recipe: Recipe, adapters: Sequence[Adapter], seed: int) -> Iterable[Transition]:
    """Draw a time for each transition, within ``pairs_spread`` of the target's load time."""
    spread = recipe.switching.pairs_spread
    if spread == 0:
        return
    rng = draw.stream(seed, "pairs")
    for source in chain([None], (a.id for a in adapters)):
        for target, u in zip(adapters, rng.random(len(adapters)), strict=True):
            if source != target.id:
                load_s = round(target.load_s * (1.0 + spread * (2.0 * float(u) - 1.0)), 3)
                yield Transition(source=source, target=target.id, load_s=load_s)


def _serial_end(problem: Problem, slack: float) -> int:
    """Tick at which all are served one at a time at full steps after the last arrival, x slack."""
    site = problem.site
    longest_s = max((*site.load_s, *site.pairs.values(), site.activate_s), default=0.0)
    switch = 0 if site.clock.slotted else to_ticks(longest_s, site.tick_s)
    work = sum(
        switch + site.clock.duration(((max(o.steps for o in job.options), 1),))
        for job in problem.jobs
    )
    last = max((job.arrival for job in problem.jobs), default=0)
    return last + round(slack * work)
