"""GPU-time prices: the value of a GPU at each time, from a solver that proves bounds.

A result has them under ``details["prices"]``; a schedule keeps them under ``extra["prices"]``, so
that its picture can show them. ``docs/bounds.md`` explains how to read them.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from pats_opt.model.schedule import Schedule

#: Key of the prices in a result's details and in a schedule's ``extra``.
KEY = "prices"

Price = Annotated[float, Meta(ge=0, le=1e300)]


class KindPrices(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Prices of equal GPUs, by entry of time; after the last entry time is free.

    Attributes:
        gpus: Ids of these GPUs.
        hold: Loss per tick of holding one of them.
        keep: Loss per tick of one place in its cache; empty where one adapter is resident.
        load: Loss per tick of one channel of its loader; empty without loads beside serving.
    """

    gpus: tuple[str, ...]
    hold: tuple[Price, ...]
    keep: tuple[Price, ...] = ()
    load: tuple[Price, ...] = ()


class OptionPrices(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Prices of the options of requests that are counted together: what a faster image is worth.

    Attributes:
        adapter: Id of the adapter.
        requests: Their ids.
        steps: Step count of each option; one may occur at several levels of demand.
        taken: Loss that a slot pays by option, as changes: an entry of time, and the price from
            there on. A request receives the price at its arrival.
        done: Loss that a slot pays by entry of its completion; empty where only quality differs.
    """

    adapter: str
    requests: tuple[str, ...]
    steps: tuple[int, ...]
    taken: tuple[tuple[tuple[int, float], ...], ...]
    done: tuple[float, ...] = ()


class Prices(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The prices that prove a bound.

    Attributes:
        tick_s: Seconds of one entry: a tick of the instance, or several.
        gpus: Prices of each kind of GPU.
        serve: Price paid to a GPU for serving a request, by its id; empty with one GPU.
        options: Prices of options, where requests that differ are counted together.
    """

    tick_s: Annotated[float, Meta(gt=0, le=1e9)]
    gpus: tuple[KindPrices, ...]
    serve: dict[str, float] = {}
    options: tuple[OptionPrices, ...] = ()


def as_json(prices: Prices) -> dict[str, Any]:
    """The prices as plain lists and objects."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(prices))
    return plain


def prices_of(schedule: Schedule) -> Prices | None:
    """The prices of a schedule, or None."""
    extra = schedule.extra
    if not isinstance(extra, dict) or KEY not in extra:
        return None
    try:
        return msgspec.convert(extra[KEY], Prices)
    except msgspec.ValidationError:
        return None  # another tool may use the key for something else
