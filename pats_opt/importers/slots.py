"""What instances of classic problems share: the slotted model, one GPU, one resident adapter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec
from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.model.instance import (
    Adapter,
    Gpu,
    Instance,
    Option,
    Request,
    SlotService,
    Switching,
    Transition,
    validate,
)
from pats_opt.model.parsing import convert

S = TypeVar("S", bound=Struct)

#: Key below ``extra`` that says what an instance was imported from; exporters read it.
SOURCE = "source"

#: Requests beyond which an import is refused: a slip of the pen, or hopeless.
MOST_REQUESTS = 100_000


def slot_instance(
    name: str,
    *,
    capacity: dict[str, float],
    adapters: Iterable[str],
    requests: Iterable[Request],
    horizon: int,
    source: Struct,
    pairs: Iterable[Transition] = (),
    resident: tuple[str, ...] = (),
    latency_price: float = 0.0,
) -> Instance:
    """An instance of one GPU and one resident adapter, a tick a slot, a batch a slot.

    Seconds are slots, a second of switching costs 1, the first adapter and every transition that
    ``pairs`` leaves out are free.

    Args:
        name: The instance's name.
        capacity: What one batch may hold.
        adapters: Ids of the adapters.
        requests: The requests; :func:`slot_request` makes them.
        horizon: Number of slots.
        source: What exporters need to know; its tag is the format.
        pairs: Transitions that cost something.
        resident: The adapter at hand in slot 0, if any.
        latency_price: Loss per slot of waiting.
    """
    instance = Instance(
        name=name,
        tick_s=1.0,
        base_vram_gib=0.0,
        gpus=(Gpu(id="gpu-0", capacity={"vram_gib": 0.0, **capacity}, resident=resident),),
        adapters=tuple(Adapter(id=a, vram_gib=0.0, load_s=0.0) for a in adapters),
        switching=Switching(max_resident=1, price_per_s=1.0, pairs=tuple(pairs)),
        service=SlotService(),
        latency_price_per_s=latency_price,
        horizon_ticks=horizon,
        requests=tuple(requests),
        extra={SOURCE: msgspec.to_builtins(source)},
    )
    validate(instance)
    return instance


def slot_request(
    name: str,
    adapter: str,
    demand: dict[str, float],
    *,
    slot: int = 0,
    reject_loss: float | None = None,
) -> Request:
    """A request that may be served from ``slot`` on."""
    return Request(
        id=name,
        arrival_s=float(slot),
        adapter=adapter,
        demand={"vram_gib": 0.0, **demand},
        options=(Option(steps=1, quality=0.0),),
        reject_loss=reject_loss,
    )


def source_of(instance: Instance, kind: type[S]) -> S:
    """What an importer noted in the instance.

    Args:
        instance: The instance.
        kind: The importer's record; its tag is the format.

    Raises:
        InputError: The instance was imported from another format, or from none, or the note is
            damaged.
    """
    extra = instance.extra if isinstance(instance.extra, dict) else {}
    wanted = kind.__struct_config__.tag
    noted = extra.get(SOURCE)
    if not isinstance(noted, dict) or noted.get("format") != wanted:
        raise InputError(
            f"the instance was not imported from {wanted!r}",
            place=f"extra.{SOURCE}.format",
            hint=f"import one with 'pats-opt import {wanted}', or choose another format",
        )
    try:
        return convert(noted, kind)
    except InputError as error:
        place = ".".join(filter(None, ("extra", SOURCE, error.place)))
        raise InputError(error.problem, place=place, hint="import the instance again") from None
