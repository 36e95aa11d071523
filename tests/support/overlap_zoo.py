"""Hand-solved instances with loads beside serving, one per sentence that is easy to get wrong.

The defaults are those of :mod:`tests.support.zoo`; a second of loading costs 1 as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.zoo import Solved, adapter, document, gpu, request

Json = dict[str, Any]


def overlapping(*requests: Json, channels: int = 1, **others: Any) -> Json:
    """An instance document with a loader."""
    switching = {"max_resident": 2, **others.pop("switching", {})}
    switching["overlap"] = {"channels": channels}
    return document(*requests, switching=switching, **others)


def a_load_is_hidden_behind_a_batch() -> Solved:
    return Solved(
        overlapping(
            request("r0", 3),
            request("r1", adapter="b"),
            adapters=[adapter("a"), adapter("b", 2.0)],
            horizon_ticks=4,
        ),
        9.0,
        "b loads from 0 to 2 while r0 is served to 3, and r1 ends at 4: 3 + 4, plus 2 of loading",
    )


def _two_loads(channels: int) -> Json:
    return overlapping(
        request("r0", 4),
        request("r1", adapter="b"),
        request("r2", adapter="c"),
        channels=channels,
        adapters=[adapter("a"), adapter("b", 3.0, 3.0), adapter("c", 3.0, 6.0)],
        switching={"max_resident": 3},
    )


def one_channel_loads_one_by_one() -> Solved:
    return Solved(
        _two_loads(1),
        22.0,
        "c is loaded from 3 to 6 only, and just fits: r0, r1 and r2 end at 4, 5 and 7, plus 6 of "
        "loading",
    )


def two_channels_load_at_once() -> Solved:
    return Solved(_two_loads(2), 21.0, "all is loaded at 3: ends at 4, 5 and 6, plus 6 of loading")


def with_one_resident_a_load_waits() -> Solved:
    return Solved(
        overlapping(
            request("r0", 3),
            request("r1", 2, adapter="b"),
            adapters=[adapter("a", 1.0), adapter("b", 2.0)],
            switching={"max_resident": 1},
        ),
        12.0,
        "the batch uses a, so b is loaded from 3 to 5 and r1 ends at 7: 3 + 7 + 2; b first is "
        "4 + 8 + 3",
    )


def members_that_left_still_count() -> Solved:
    large = {"vram_gib": 4.0}
    return Solved(
        overlapping(
            request("short", demand=large),
            request("long", 3, demand=large),
            request("late", adapter="b", arrival_s=3.0),
            adapters=[adapter("a"), adapter("b", 1.0, 4.0)],
        ),
        7.0,
        "both in one batch leave 2 GiB until 3, though short ends at 1, so b is loaded from 3 to "
        "4: 1 + 3 + 2, plus 1 of loading; one after the other is at least 1 + 4 + 2 + 1",
    )


def an_adapter_just_loaded_is_activated() -> Solved:
    return Solved(
        overlapping(
            request("r0", 3),
            request("r1", adapter="b"),
            adapters=[adapter("a"), adapter("b", 2.0)],
            switching={"activate_s": 1.0},
        ),
        11.0,
        "b is loaded meanwhile, but its first batch activates it from 3 to 4: 3 + 5, plus 2 + 1",
    )


def the_first_batch_activates_nothing() -> Solved:
    return Solved(
        overlapping(
            request("r0", adapter="b"),
            adapters=[adapter("a"), adapter("b", 2.0)],
            switching={"activate_s": 5.0},
        ),
        5.0,
        "loaded at 2, served to 3, plus 2 of loading",
    )


def an_activation_beside_a_load() -> Solved:
    return Solved(
        overlapping(
            request("r0"),
            request("r1", adapter="b"),
            adapters=[adapter("a"), adapter("b", 5.0)],
            switching={"activate_s": 2.0},
        ),
        14.0,
        "r0 ends at 1; b is loaded from 0 to 5 and activated from 1 to 3, so r1 ends at 6: 1 + 6, "
        "plus 5 + 2",
    )


def an_activation_ahead_of_an_arrival() -> Solved:
    return Solved(
        overlapping(
            request("r0"),
            request("r1", adapter="b", arrival_s=5.0),
            adapters=[adapter("a", 1.0), adapter("b", 1.0)],
            gpus=[gpu(resident=("a", "b"))],
            switching={"activate_s": 2.0},
        ),
        4.0,
        "b is activated by 5, when r1 comes: 1 + 1, plus 2",
    )


def what_has_served_may_leave() -> Solved:
    return Solved(
        overlapping(
            request("r0", adapter="b"),
            request("r1", adapter="c"),
            adapters=[adapter("a", 1.0), adapter("b", 1.0), adapter("c", 1.0)],
            switching={"max_resident": 1},
        ),
        8.0,
        "b is loaded to 1 and serves to 2, c is loaded in its place to 3 and serves to 4: 2 + 4, "
        "plus 2 of loading",
    )


def a_batch_evicts_for_room() -> Solved:
    return Solved(
        overlapping(
            request("r0", demand={"vram_gib": 8.0}),
            adapters=[adapter("a", 1.0), adapter("b", 1.0, 4.0)],
            gpus=[gpu(resident=("a", "b"))],
        ),
        1.0,
        "b leaves at the start of the batch, which needs its memory, at no cost",
    )


def a_load_must_fit_beside_the_batch() -> Solved:
    return Solved(
        overlapping(
            request("r0", 3, weight=3.0, demand={"vram_gib": 8.0}),
            request("late", adapter="b", arrival_s=1.0),
            adapters=[adapter("a"), adapter("b", 1.0, 4.0)],
        ),
        14.0,
        "b does not fit beside r0, so it is loaded from 3 to 4, and late ends at 5: 3 x 3 + 4 + 1; "
        "late first is 1 + 3 x 5 + 1",
    )


def a_load_evicts_what_makes_room() -> Solved:
    return Solved(
        overlapping(
            request("r0", adapter="c"),
            request("r1", adapter="b"),
            adapters=[adapter("a", 1.0, 4.0), adapter("b", 1.0, 1.0), adapter("c", 1.0, 7.0)],
            gpus=[gpu(resident=("a", "b"))],
            switching={"max_resident": 3},
        ),
        4.0,
        "a is the large one: c is loaded in its place while r1 is served from b, which stays: "
        "1 + 2, plus 1 of loading",
    )


def a_load_of_no_time() -> Solved:
    return Solved(
        overlapping(
            request("r0", adapter="b"),
            adapters=[adapter("a", 1.0), adapter("b")],
        ),
        1.0,
        "b is loaded and used in the same tick",
    )


def one_adapter_per_batch() -> Solved:
    return Solved(_two_residents(), 3.0, "one after the other: 1 + 2")


def two_adapters_per_batch() -> Solved:
    return Solved(_two_residents(max_per_batch=2), 2.0, "both in one batch: 1 + 1")


def _two_residents(**switching: int) -> Json:
    return overlapping(
        request("r0"),
        request("r1", adapter="b"),
        adapters=[adapter("a", 1.0), adapter("b", 1.0)],
        gpus=[gpu(resident=("a", "b"))],
        switching=switching,
    )


OVERLAP_ZOO: tuple[Callable[[], Solved], ...] = (
    a_load_is_hidden_behind_a_batch,
    one_channel_loads_one_by_one,
    two_channels_load_at_once,
    with_one_resident_a_load_waits,
    members_that_left_still_count,
    an_adapter_just_loaded_is_activated,
    the_first_batch_activates_nothing,
    an_activation_beside_a_load,
    an_activation_ahead_of_an_arrival,
    what_has_served_may_leave,
    a_batch_evicts_for_room,
    a_load_must_fit_beside_the_batch,
    a_load_evicts_what_makes_room,
    a_load_of_no_time,
    one_adapter_per_batch,
    two_adapters_per_batch,
)
