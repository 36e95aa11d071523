"""Hand-solved instances, one per rule that is easy to get wrong.

Unless a function says otherwise, a tick and a step take one second whatever the batch, a second of
latency costs 1, a second of switching 1, and the one adapter ``a`` is resident from the start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Json = dict[str, Any]


class Solved(NamedTuple):
    """An instance document with its optimum, proven by hand in ``why``."""

    document: Json
    loss: float
    why: str


def request(name: str, steps: int = 1, **others: Any) -> Json:
    """A request of adapter ``a`` at time 0 that takes 1 GiB and has one option."""
    return {
        "id": name,
        "arrival_s": 0.0,
        "adapter": "a",
        "demand": {"vram_gib": 1.0},
        "options": [{"steps": steps, "quality": 1.0}],
        **others,
    }


def adapter(name: str, load_s: float = 0.0, vram_gib: float = 0.0) -> Json:
    """An adapter that takes neither time nor memory unless told."""
    return {"id": name, "vram_gib": vram_gib, "load_s": load_s}


def gpu(name: str = "gpu-0", resident: tuple[str, ...] = ("a",), **capacity: float) -> Json:
    """A GPU of 10 GiB unless told."""
    return {"id": name, "capacity": {"vram_gib": 10.0, **capacity}, "resident": list(resident)}


def document(*requests: Json, switching: Json | None = None, **others: Any) -> Json:
    """An instance document of ``requests`` with the defaults above."""
    return {
        "format": "pats-opt/instance",
        "version": 1,
        "name": "zoo",
        "tick_s": 1.0,
        "base_vram_gib": 0.0,
        "gpus": [gpu()],
        "adapters": [adapter("a")],
        "switching": {"max_resident": 1, "price_per_s": 1.0, **(switching or {})},
        "service": {"kind": "steps", "step_s": {"base": 1.0, "per_sample": 0.0}},
        "latency_price_per_s": 1.0,
        "requests": list(requests),
        **others,
    }


ONE_AT_A_TIME = {"kind": "steps", "step_s": {"table": [1.0]}}


def early_leaving() -> Solved:
    return Solved(
        document(
            request("short", 2),
            request("long", 4),
            tick_s=0.1,
            service={"kind": "steps", "step_s": {"table": [1.0, 1.2]}},
        ),
        6.8,
        "together, short ends after 2 steps of 1.2 s and long goes on at 1 s: 2.4 + 4.4; at 1.2 s "
        "to its end it would be 7.2, one after the other is 2 + 6",
    )


def loads_are_rounded_one_by_one() -> Solved:
    return Solved(
        document(
            request("r0"),
            request("r1", adapter="b"),
            gpus=[gpu(resident=())],
            adapters=[adapter("a", 0.4), adapter("b", 0.4)],
            switching={"max_resident": 2, "max_per_batch": 2},
        ),
        6.8,
        "each load takes a tick, though both are 0.8 s in all: 3 + 3 of latency, plus 0.8 of "
        "switching; one after the other they end at 2 and 4",
    )


def service_is_rounded_once() -> Solved:
    return Solved(
        document(
            request("r0", 2),
            service={
                "kind": "steps",
                "step_s": {"base": 0.3, "per_sample": 0.05},
                "overhead_s": {"base": 0.2, "per_sample": 0.1},
            },
        ),
        1.0,
        "overhead 0.3 and two steps of 0.35 are 1.0 s: one tick, not 1 + 1 or 1 + 2",
    )


def switching_while_idle() -> Solved:
    return Solved(
        document(
            request("r0", arrival_s=5.0),
            gpus=[gpu(resident=())],
            adapters=[adapter("a", 3.0)],
            switching={"price_per_s": 0.5},
        ),
        2.5,
        "the load runs from 2 to 5, before the request arrives: 1 of latency, 1.5 of switching",
    )


def loading_another_avoids_no_activation() -> Solved:
    return Solved(
        document(
            request("r0"),
            request("r1", adapter="b"),
            gpus=[gpu(resident=("a", "b"))],
            adapters=[adapter("a", 3.0), adapter("b", 3.0), adapter("c", 0.5)],
            switching={"max_resident": 3, "activate_s": 2.0},
        ),
        7.0,
        "the second batch pays 2 s of activation, with or without a load of c, which no request "
        "needs: 1 + 4 of latency and 2",
    )


def a_load_in_place_of_an_activation() -> Solved:
    return Solved(
        document(
            request("r0"),
            request("r1", adapter="b"),
            gpus=[gpu(resident=("a", "b"))],
            adapters=[adapter("a", 1.0), adapter("b", 1.0)],
            switching={"max_resident": 2, "activate_s": 2.0},
        ),
        5.0,
        "b is evicted before the first batch and loaded before its own, in 1 s instead of 2 s of "
        "activation: 1 + 3 of latency and 1",
    )


def first_batch_activates_free() -> Solved:
    return Solved(
        document(
            request("r0", adapter="b"),
            gpus=[gpu(resident=("a", "b"))],
            adapters=[adapter("a", 1.0), adapter("b", 1.0)],
            switching={"max_resident": 2, "activate_s": 5.0},
        ),
        1.0,
        "a GPU's first batch pays no activation: one second of latency",
    )


def deadline_met_on_the_grid() -> Solved:
    return Solved(
        document(
            request("r0", 3, deadline_s=0.3),
            tick_s=0.1,
            late_price=10.0,
            service={"kind": "steps", "step_s": {"base": 0.1, "per_sample": 0.0}},
        ),
        0.3,
        "three ticks of 0.1 s meet a deadline of 0.3 s, though 3 * 0.1 is above 0.3 in floats",
    )


def eviction_frees_memory() -> Solved:
    return Solved(
        document(
            request("r0", demand={"vram_gib": 5.0}),
            gpus=[gpu(resident=("big",))],
            adapters=[adapter("a", 1.0, 1.0), adapter("big", 1.0, 6.0)],
            switching={"max_resident": 2},
        ),
        3.0,
        "6 + 1 + 5 GiB do not fit 10, so big goes, at no cost: 1 of loading, 2 of latency",
    )


def rejecting_is_cheaper() -> Solved:
    return Solved(
        document(
            request("r0", 3), request("r1", 3, weight=2.0, reject_loss=2.0), service=ONE_AT_A_TIME
        ),
        7.0,
        "serving both costs at least 2 * 3 + 6; rejecting r1 costs its weight times 2: 3 + 4",
    )


def two_residents_in_one_batch() -> Solved:
    return Solved(
        document(
            request("r0"),
            request("r1", adapter="b"),
            adapters=[adapter("a", 1.0), adapter("b", 1.0)],
            gpus=[gpu(resident=("a", "b"))],
            switching={"max_resident": 2, "max_per_batch": 2},
        ),
        2.0,
        "both are resident and may share a batch: 1 + 1",
    )


def waiting_makes_a_batch() -> Solved:
    return Solved(
        document(request("r0", 4), request("r1", 4, arrival_s=1.0)),
        9.0,
        "started at once, r0 ends at 4 and r1 at 8: 4 + 7; waiting a tick both end at 5: 5 + 4",
    )


def leaving_an_adapter_early() -> Solved:
    return Solved(
        document(
            request("long", 10, weight=0.1),
            request("short", 1, weight=5.0),
            request("other", 1, weight=5.0, adapter="b"),
            adapters=[adapter("a", 1.0), adapter("b", 1.0)],
            switching={"price_per_s": 0.0},
            service=ONE_AT_A_TIME,
        ),
        21.4,
        "short ends at 1, other at 3 after a load, long at 14 after another: 5 + 15 + 1.4; long "
        "before other would save a load and end other at 13",
    )


def two_gpus_take_an_adapter_each() -> Solved:
    return Solved(
        document(
            request("r0", 3),
            request("r1", 3),
            request("r2", 3, adapter="b"),
            gpus=[gpu("gpu-0", ()), gpu("gpu-1", ())],
            adapters=[adapter("a", 2.0), adapter("b", 2.0)],
        ),
        19.0,
        "each GPU loads one adapter for 2 s and serves to 5: 3 * 5 of latency, 2 * 2 of loading",
    )


def documents_slots() -> Solved:
    return Solved(
        document(
            request("r0", reject_loss=1.0),
            request("r1", adapter="b", reject_loss=1.0),
            request("r2", arrival_s=1.0, reject_loss=1.0),
            gpus=[gpu(resident=())],
            adapters=[adapter("a", 1.0), adapter("b", 1.0)],
            switching={"price_per_s": 0.5},
            service={"kind": "slot"},
            latency_price_per_s=0.1,
        ),
        1.1,
        "b in slot 0, then both of a in slot 1: one slot waited, two switches of 0.5; a in slots 0 "
        "and 1 and b in slot 2 waits two slots",
    )


def detour_over_a_third_adapter() -> Solved:
    pairs = [(None, "a", 1.0), ("a", "b", 1.0), ("b", "c", 1.0), ("a", "c", 5.0)]
    return Solved(
        document(
            request("r0"),
            request("r1", adapter="b", reject_loss=0.0),
            request("r2", adapter="c"),
            gpus=[gpu(resident=())],
            adapters=[adapter(name, 10.0) for name in "abc"],
            switching={"pairs": [{"from": f, "to": t, "load_s": s} for f, t, s in pairs]},
            latency_price_per_s=0.0,
        ),
        3.0,
        "from nothing to a, b, c: 1 + 1 + 1; rejecting r1 is free, but a to c direct takes 5",
    )


def prefetch_of_an_unused_adapter() -> Solved:
    return Solved(
        document(
            request("r0", arrival_s=2.0),
            request("r1", adapter="b", arrival_s=2.0),
            gpus=[gpu(resident=())],
            adapters=[adapter("a", 0.5), adapter("b", 0.5)],
            switching={"max_resident": 2, "price_per_s": 0.0},
        ),
        3.0,
        "the first switch loads both in the two ticks before anything arrives, b unused yet: they "
        "wait 1 and 2; loading b when it is needed takes a tick more",
    )


def the_last_takes_its_time() -> Solved:
    fast, slow = {"steps": 1, "quality": 0.5}, {"steps": 3, "quality": 1.0}
    return Solved(
        document(
            request("r0", options=[fast, slow]),
            request("r1", options=[slow, fast]),
            service=ONE_AT_A_TIME,
            latency_price_per_s=0.2,
        ),
        1.5,
        "fast then slow: 0.5 + 0.2 * (1 + 4); fast both 1 + 0.2 * 3, slow both 0.2 * 9",
    )


def horizon_forces_fewer_steps() -> Solved:
    fast, slow = {"steps": 2, "quality": 0.25}, {"steps": 3, "quality": 1.0}
    return Solved(
        document(request("r0", options=[slow, fast]), latency_price_per_s=0.1, horizon_ticks=2),
        0.95,
        "three steps end at 3, after the horizon, so quality 0.75 is lost: 0.75 + 0.2",
    )


def second_resource_limits() -> Solved:
    demand = {"vram_gib": 1.0, "batch": 1.0}
    return Solved(
        document(*(request(f"r{i}", demand=demand) for i in range(3)), gpus=[gpu(batch=2.0)]),
        4.0,
        "memory holds all three, the resource batch only two: they end at 1, 1 and 2",
    )


ZOO: tuple[Callable[[], Solved], ...] = (
    early_leaving,
    loads_are_rounded_one_by_one,
    service_is_rounded_once,
    switching_while_idle,
    loading_another_avoids_no_activation,
    a_load_in_place_of_an_activation,
    first_batch_activates_free,
    deadline_met_on_the_grid,
    eviction_frees_memory,
    rejecting_is_cheaper,
    two_residents_in_one_batch,
    waiting_makes_a_batch,
    leaving_an_adapter_early,
    two_gpus_take_an_adapter_each,
    documents_slots,
    detour_over_a_third_adapter,
    prefetch_of_an_unused_adapter,
    the_last_takes_its_time,
    horizon_forces_fewer_steps,
    second_resource_limits,
)
