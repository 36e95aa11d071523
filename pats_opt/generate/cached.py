"""Requests under approximate caching: look-ups from shares, a log or prompts, and their options."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from pats_opt.caching.cache import PromptCache
from pats_opt.caching.embedders import embedder
from pats_opt.errors import InputError
from pats_opt.generate import draw
from pats_opt.generate.approximate import ApproximateCache
from pats_opt.generate.quality import read_csv, read_text
from pats_opt.generate.skipping import (
    SkipQuality,
    normalised,
    published_quality,
    read_skip_table,
    sensitivities,
)
from pats_opt.model.instance import Option
from pats_opt.model.lookup import KEY, CacheLookup


class PromptArrival(NamedTuple):
    """A request before its look-up.

    Attributes:
        name: The request's id, for errors.
        steps: Its full step count.
        similarity: Cosine of the nearest cached prompt, where a log has it.
    """

    name: str
    prompt: str
    adapter: str
    steps: int
    similarity: float | None


class RequestLevels(NamedTuple):
    """A request under approximate caching.

    Attributes:
        complexity: Its sensitivity to skipped steps, from 0 to 1.
        extra: Its look-up.
    """

    options: tuple[Option, ...]
    complexity: float
    extra: dict[str, Any]


def cached_requests(
    spec: ApproximateCache,
    prompts: Sequence[PromptArrival],
    seed: int,
    earlier: Sequence[str] = (),
) -> list[RequestLevels]:
    """Look requests up, in their order, and make their options.

    Args:
        spec: The recipe's table.
        prompts: The requests, by arrival.
        seed: Seed of every draw.
        earlier: Prompts that are looked up before them.

    Raises:
        InputError: A level leaves a request no step, its quality is not known, or the source of
            hits is missing.
    """
    quality = (
        published_quality() if spec.quality_table is None else read_skip_table(spec.quality_table)
    )
    if quality.by_similarity and spec.source == "shares":
        raise InputError(
            "this table needs similarities, and shares of hits have none",
            file=spec.quality_table,
            hint="leave out its column 'similarity', or take hits from a log or from prompts",
        )
    found = _lookups(spec, prompts, seed, earlier)
    hurt = sensitivities(spec.spread, draw.stream(seed, "sensitivity").random(len(prompts)))
    return [
        RequestLevels(
            _options(spec, one, quality, lookup.similarity, s), complexity, _extra(lookup)
        )
        for one, lookup, s, complexity in zip(prompts, found, hurt, normalised(hurt), strict=True)
    ]


def stream_of_prompts(spec: ApproximateCache, count: int, seed: int) -> tuple[list[str], list[str]]:
    """Take prompts of the file in order, from a drawn one.

    Returns:
        Those to look up before the first request, and those of ``count`` requests.

    Raises:
        InputError: The file cannot be read, or has too few.
    """
    path = spec.prompts
    if path is None:
        return [], [""] * count
    there, needed = _read_prompts(path), spec.warm + count
    if len(there) < needed:
        raise InputError(
            f"there are {len(there)} prompts where {needed} are needed",
            file=path,
            hint="a prompt that comes again would be a hit: add prompts or make fewer requests",
        )
    start = int(draw.stream(seed, "prompts").random() * (len(there) - needed + 1))
    warm = start + spec.warm
    return there[start:warm], there[warm : warm + count]


def _read_prompts(path: str) -> list[str]:
    """Read prompts, one a line or in the column ``prompt``; empty ones are left out."""
    if not path.lower().endswith((".csv", ".tsv")):
        return [line.strip() for line in read_text(path).splitlines() if line.strip()]
    columns, rows = read_csv(path, "\t" if path.lower().endswith(".tsv") else ",")
    if "prompt" not in columns:
        raise InputError(
            "there is no column 'prompt'",
            file=path,
            hint=f"rename one; it has: {', '.join(columns) or 'none'}",
        )
    return [row["prompt"].strip() for _, row in rows if row["prompt"] and row["prompt"].strip()]


def _lookups(
    spec: ApproximateCache, prompts: Sequence[PromptArrival], seed: int, earlier: Sequence[str]
) -> list[CacheLookup]:
    """Return the look-up of each request."""
    rng = draw.stream(seed, "cache hits")
    if spec.source == "shares":
        miss = max(0.0, 1.0 - math.fsum(spec.shares))
        picked = draw.pick([miss, *spec.shares], rng.random(len(prompts)))
        return [CacheLookup(level=(0, *spec.levels)[i]) for i in picked]
    if spec.source == "log":
        levels = spec.found_levels()
        cosines = _logged(spec, prompts, float(rng.random()))
        return [CacheLookup(level=0 if c is None else levels.of(c), similarity=c) for c in cosines]
    if not any(one.prompt for one in prompts) and prompts:
        raise InputError(
            "there are no prompts to look up",
            place="approximate_cache.source",
            hint="name a file of prompts (--prompts), or a log's column of prompts (--prompt)",
        )
    vectors = embedder(spec.embedder)
    cache = PromptCache(spec.settings(), vectors)
    for i, prompt in enumerate(earlier):  # of the adapters of the requests, in turn
        cache.request(prompt, prompts[i % len(prompts)].adapter)
    found = [cache.request(one.prompt, one.adapter) for one in prompts]
    return [CacheLookup(level=one.level, similarity=one.similarity) for one in found]


def _logged(
    spec: ApproximateCache, prompts: Sequence[PromptArrival], start: float
) -> list[float | None]:
    """Return the cosine of each request, of a file or of the requests' own log."""
    if spec.log is None:
        if prompts and all(one.similarity is None for one in prompts):
            raise InputError(
                "there is no log of similarities",
                place="approximate_cache.source",
                hint="name a file (--similarities), or a log's column (--similarity)",
            )
        return [one.similarity for one in prompts]
    columns, rows = read_csv(spec.log)
    if "similarity" not in columns:
        raise InputError(
            "there is no column 'similarity'",
            file=spec.log,
            hint=f"rename one; it has: {', '.join(columns) or 'none'}",
        )
    cosines = []
    for line, row in rows:
        try:
            cosines.append(float(row["similarity"]))
            if not -1 <= cosines[-1] <= 1:
                raise ValueError("out of range")
        except (TypeError, ValueError):
            raise InputError(
                f"{row['similarity']!r} is no cosine",
                file=spec.log,
                place=f"line {line}",
                hint="write a number from -1 to 1",
            ) from None
    if not cosines:
        raise InputError("this log has no rows", file=spec.log, hint="add some")
    first = int(start * len(cosines))
    return [cosines[(first + i) % len(cosines)] for i in range(len(prompts))]


def _options(
    spec: ApproximateCache,
    prompt: PromptArrival,
    quality: SkipQuality,
    similarity: float | None,
    sensitivity: float,
) -> tuple[Option, ...]:
    """Return an option for each level, fewest steps first, and one that skips none."""
    if spec.levels[-1] >= prompt.steps:
        raise InputError(
            f"level {spec.levels[-1]} leaves nothing of the {prompt.steps} steps of request "
            f"{prompt.name!r}",
            place="approximate_cache.levels",
            hint="use levels below every request's steps (--cache-levels), or more steps",
        )
    return tuple(
        Option(
            steps=prompt.steps - skip,
            quality=quality(skip, prompt.steps, similarity, sensitivity),
            skip=skip,
        )
        for skip in (*reversed(spec.levels), 0)
    )


def _extra(found: CacheLookup) -> dict[str, Any]:
    """Return the look-up as it is written."""
    known = {} if found.similarity is None else {"similarity": found.similarity}
    return {KEY: {"level": found.level, **known}}
