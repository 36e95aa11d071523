"""Fleets as arguments: an instance with other GPUs, cache or batches, or a part of its requests.

A what-if study runs one instance at many settings. The instance is written once; each run applies
its setting to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count, pairwise
from typing import Annotated

from msgspec import UNSET, Meta, Struct
from msgspec.structs import replace

from pats_opt.errors import InputError
from pats_opt.model.instance import Adapter, Gpu, Instance, Overlap, Switching, validate

#: Resource that counts the members of a batch.
BATCH = "batch"

Positive = Annotated[int, Meta(ge=1, le=1_000_000)]


class FleetSetting(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Changes of an instance's fleet; None leaves what the instance has.

    Attributes:
        gpus: Number of GPUs: the instance's first ones, or all of them in turn again.
        residents: Most adapters resident on a GPU.
        channels: Loads in progress beside serving on a GPU; 0 for none beside serving.
        batch: Largest batch of a GPU.
        load_factor: Factor of all load times.
    """

    gpus: Positive | None = None
    residents: Positive | None = None
    channels: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    batch: Positive | None = None
    load_factor: Annotated[float, Meta(ge=0)] | None = None


class RequestSpan(Struct, frozen=True, kw_only=True):
    """Consecutive requests by arrival: ``count`` of them from number ``first`` (from 0) on."""

    first: int
    count: int


def equipped(instance: Instance, setting: FleetSetting) -> Instance:
    """The instance with another fleet.

    Raises:
        InputError: The instance cannot have this fleet.
    """
    switching = _switching(instance.switching, setting)
    gpus = tuple(_gpus(instance, setting, switching.max_resident))
    adapters = instance.adapters
    if (factor := setting.load_factor) is not None:
        adapters = tuple(replace(a, load_s=_scaled(a.load_s, factor)) for a in adapters)
        pairs = (replace(p, load_s=_scaled(p.load_s, factor)) for p in switching.pairs)
        switching = replace(switching, pairs=tuple(pairs))
    return replace(instance, gpus=gpus, adapters=adapters, switching=switching)


def refuse_unequippable(instance: Instance, setting: FleetSetting) -> None:
    """Raise what running the instance with this fleet would raise, without its requests.

    Raises:
        InputError: The instance cannot have this fleet.
    """
    if setting.batch is not None and any(BATCH not in r.demand for r in instance.requests):
        raise InputError(
            f"a limit of {setting.batch} on batches needs the resource {BATCH!r}, "
            "which some requests do not name",
            hint=f"add {BATCH!r} to their demand, or leave the limit out",
        )
    validate(equipped(replace(instance, requests=()), setting))


def part(instance: Instance, span: RequestSpan) -> Instance:
    """The instance with some of its requests only, the first of which arrives at 0.

    Adapters that none of them uses are left out, unless they are resident at tick 0, and so is a
    hard horizon, which is of all requests.
    """
    by_arrival = sorted(instance.requests, key=lambda request: request.arrival_s)
    chosen = by_arrival[span.first : span.first + span.count]
    begin = chosen[0].arrival_s if chosen else 0.0
    used = {request.adapter for request in chosen}
    used.update(name for gpu in instance.gpus for name in gpu.resident)
    switching = instance.switching
    pairs = (p for p in switching.pairs if p.target in used and p.source in used | {None})
    return replace(
        instance,
        adapters=tuple(adapter for adapter in instance.adapters if adapter.id in used),
        switching=replace(switching, pairs=tuple(pairs)),
        requests=tuple(replace(r, arrival_s=round(r.arrival_s - begin, 6)) for r in chosen),
        horizon_ticks=None,
    )


def busiest(instance: Instance, parts: int, most: int) -> list[RequestSpan]:
    """In each of several equal parts of the requests, those ``most`` that arrive closest together.

    All requests as one span where there are no more than ``most``.
    """
    arrivals = sorted(request.arrival_s for request in instance.requests)
    total = len(arrivals)
    if total <= most:
        return [RequestSpan(first=0, count=total)] if total and parts else []
    ends = [k * total // parts for k in range(parts + 1)] if parts else []
    found = []
    for low, high in pairwise(ends):
        size = min(most, high - low)
        if size:
            starts = range(low, high - size + 1)
            first = min(starts, key=lambda k: arrivals[k + size - 1] - arrivals[k])
            found.append(RequestSpan(first=first, count=size))
    return found


def median_load_s(adapters: tuple[Adapter, ...]) -> float | None:
    """The median of the load times above 0; None without any."""
    times = sorted(adapter.load_s for adapter in adapters if adapter.load_s > 0)
    return times[len(times) // 2] if times else None


def _scaled(seconds: float, factor: float) -> float:
    return round(seconds * factor, 6)


def _switching(switching: Switching, setting: FleetSetting) -> Switching:
    residents, channels = setting.residents, setting.channels
    if residents is not None:
        switching = replace(switching, max_resident=residents)
    if channels is not None:
        overlap = Overlap(channels=channels) if channels else UNSET
        switching = replace(switching, overlap=overlap)
    return replace(switching, max_per_batch=min(switching.max_per_batch, switching.max_resident))


def _gpus(instance: Instance, setting: FleetSetting, most: int) -> Iterator[Gpu]:
    known = instance.gpus
    if not known:
        raise InputError("there are no GPUs", place="gpus", hint="add one")
    used = {gpu.id for gpu in known}
    for i in range(len(known) if setting.gpus is None else setting.gpus):
        gpu = known[i % len(known)]
        name = gpu.id
        if i >= len(known):
            name = next(n for k in count(i // len(known)) if (n := f"{gpu.id}.{k}") not in used)
            used.add(name)
        capacity = gpu.capacity
        if setting.batch is not None:
            largest = capacity.get(BATCH, math.inf)
            if setting.batch > largest:
                raise InputError(
                    f"no batch of {setting.batch} fits {gpu.id!r}, which takes {largest:g}",
                    place=f"gpus[{i % len(known)}].capacity.{BATCH}",
                    hint="give a smaller limit",
                )
            capacity = {**capacity, BATCH: float(setting.batch)}
        yield replace(gpu, id=name, capacity=capacity, resident=gpu.resident[:most])
