"""A valid schedule with loads beside serving, and edits that keep or break a sentence of 5a."""

from __future__ import annotations

import json
from typing import Any

from pats_opt.model.checker import Verdict, check
from pats_opt.model.files import parse_instance
from pats_opt.model.parsing import convert
from pats_opt.model.schedule import Schedule
from tests.core.checked import Edit, batch, both, member
from tests.support.overlap_zoo import overlapping
from tests.support.zoo import adapter, gpu, request

Json = dict[str, Any]


def problem() -> Json:
    """Three adapters, two of which fit; r0 and r1 use the first, r2 the second, r3 the third."""
    return overlapping(
        request("r0", 4),
        request("r1", 1),
        request("r2", adapter="b"),
        request("r3", 2, adapter="c"),
        gpus=[gpu(batch=2.0)],
        adapters=[adapter("a", 1.0, 1.0), adapter("b", 2.0, 1.0), adapter("c", 3.0, 1.0)],
        switching={"max_resident": 2, "activate_s": 1.0},
        horizon_ticks=12,
    )


def plan() -> Json:
    """r0 and r1 from 0 to 4; r2 from 5 to 6; r3, whose adapter takes the place of a, from 8."""
    return {
        "format": "pats-opt/schedule",
        "version": 1,
        "instance": {"name": "zoo", "sha256": "0" * 64},
        "solver": {"name": "by hand"},
        "status": {"stop": "complete", "point": "feasible"},
        "gpus": [
            {
                "id": "gpu-0",
                "batches": [
                    {
                        "switch_start": 0,
                        "start": 0,
                        "requests": [
                            {"id": "r0", "option": 0, "completion": 4},
                            {"id": "r1", "option": 0, "completion": 1},
                        ],
                    },
                    {
                        "switch_start": 4,
                        "start": 5,
                        "requests": [{"id": "r2", "option": 0, "completion": 6}],
                    },
                    {
                        "switch_start": 6,
                        "start": 8,
                        "requests": [{"id": "r3", "option": 0, "completion": 10}],
                    },
                ],
                "loads": [
                    {"adapter": "b", "start": 1},
                    {"adapter": "c", "start": 5, "evict": ["a"]},
                ],
            }
        ],
    }


def verdict(*edits: Edit) -> Verdict:
    """The verdict on the plan, after edits of the problem and the plan."""
    instance_document, schedule_document = problem(), plan()
    for edit in edits:
        edit(instance_document, schedule_document)
    instance = parse_instance(json.dumps(instance_document))
    schedule_document["instance"]["sha256"] = instance.sha256
    return check(instance, convert(schedule_document, Schedule))


def load(schedule: Json, i: int) -> Json:
    """A load."""
    found: Json = schedule["gpus"][0]["loads"][i]
    return found


def later(schedule: Json, b: int, ticks: int) -> Json:
    """Move a batch, its switch and its members; return it."""
    batch(schedule, b)["switch_start"] += ticks
    batch(schedule, b)["start"] += ticks
    for served in batch(schedule, b)["requests"]:
        served["completion"] += ticks
    return batch(schedule, b)


def two_channels(i: Json, s: Json) -> None:
    """Load c beside b, in place of nothing."""
    i["switching"].update(max_resident=3, overlap={"channels": 2})
    load(s, 1).update(start=2, evict=[])


def full(i: Json, _: Json) -> None:
    """The first batch and two residents fill the memory."""
    for first in i["requests"][:2]:
        first["demand"]["vram_gib"] = 4.0


#: Edits that keep the schedule valid.
ALLOWED: dict[str, Edit] = {
    "a load in the tick in which the batch starts": lambda _i, s: load(s, 0).update(start=0),
    "loads in any order": lambda _i, s: s["gpus"][0]["loads"].reverse(),
    "a load that ends as its batch starts": lambda _i, s: load(s, 0).update(start=3),
    "a load beside a switch": lambda _i, s: load(s, 1).update(start=4),
    "evicting as the batch that uses it ends": lambda _i, s: (
        load(s, 1).update(start=6, evict=["b"]) or later(s, 2, 1)
    ),
    "a load that no batch uses": lambda _i, s: s["gpus"][0]["loads"].append(
        {"adapter": "a", "start": 9, "evict": ["b"]}
    ),
    "such a load to the horizon": lambda _i, s: s["gpus"][0]["loads"].append(
        {"adapter": "a", "start": 11, "evict": ["b"]}
    ),
    "two loads on two channels": two_channels,
    "full memory beside the batch": full,
    "full memory of residents alone": lambda i, s: (
        i["adapters"][2].update(vram_gib=9.0),
        load(s, 1).update(start=6),
        later(s, 2, 1).update(evict=["b"]),
    ),
    "room as the batch ends": lambda i, s: (
        i["gpus"][0]["capacity"].update(vram_gib=2.0 + 1.0),
        load(s, 0).update(start=4),
        later(s, 1, 1),
        load(s, 1).update(start=7),
        later(s, 2, 2),
    ),
    "a load of no ticks takes no channel": lambda i, s: (
        i["adapters"][2].update(load_s=0.0),
        i["switching"].update(max_resident=3),
        load(s, 1).update(start=2, evict=[]),
    ),
    "a batch evicts": lambda _i, s: (
        batch(s, 1).update(evict=["a"]),
        load(s, 1).update(evict=[]),
    ),
    "a batch evicts before a load in its tick": lambda _i, s: (
        batch(s, 1).update(evict=["a"]),
        load(s, 1).update(start=4, evict=[]),
    ),
    "an evicted adapter is loaded again": lambda i, s: (
        load(s, 1).update(adapter="a", evict=[]),
        batch(s, 0).update(evict=[]),
        batch(s, 1).update(evict=["a"]),
        i["requests"][3].update(adapter="a"),
    ),
}

#: Edits that break one sentence, with the violations: rule, place and message.
BROKEN: dict[str, tuple[Edit, list[str]]] = {
    "used before its load ends": (
        lambda i, s: (
            i["switching"].update(overlap={"channels": 2}),
            load(s, 0).update(start=4),
        ),
        ["5a gpu 'gpu-0' batch 1: 'b' is being loaded to tick 6"],
    ),
    "never loaded": (
        lambda _i, s: s["gpus"][0]["loads"].pop(1),
        ["2 gpu 'gpu-0' batch 2: adapter 'c' is not resident"],
    ),
    "not loaded by the first tick": (
        lambda i, s: (
            i["gpus"][0].update(resident=[]),
            load(s, 1).update(evict=[]),
        ),
        ["2 gpu 'gpu-0' batch 0: adapter 'a' is not resident"],
    ),
    "loaded after its batch starts": (
        lambda _i, s: load(s, 1).update(start=9, evict=["a"]),
        ["2 gpu 'gpu-0' batch 2: adapter 'c' is not resident"],
    ),
    "more loads than channels": (
        both(two_channels, lambda i, _s: i["switching"].update(overlap={"channels": 1})),
        ["5a gpu 'gpu-0' load 1: 2 loads in progress, channels 1"],
    ),
    "more loads than channels, and one of no ticks": (
        lambda i, s: (
            i["switching"].update(max_resident=4),
            i["adapters"].append(adapter("d")),
            load(s, 1).update(start=2, evict=[]),
            s["gpus"][0]["loads"].append({"adapter": "d", "start": 2}),
        ),
        ["5a gpu 'gpu-0' load 1: 2 loads in progress, channels 1"],
    ),
    "evicts what the batch in progress uses": (
        lambda i, s: (
            i["switching"].update(max_resident=1),
            load(s, 0).update(evict=["a"]),
            load(s, 1).update(start=6, evict=["b"]),
            later(s, 2, 1),
        ),
        ["5a gpu 'gpu-0' load 0: evict: the batch in progress uses 'a'"],
    ),
    "evicts what is being loaded": (
        lambda i, s: (
            i["switching"].update(overlap={"channels": 2}),
            s["gpus"][0]["loads"].insert(1, {"adapter": "c", "start": 2, "evict": ["b"]}),
            load(s, 2).update(adapter="b", start=3, evict=["a"]),
            later(s, 1, 2),
            later(s, 2, 2),
            load(s, 2).update(start=4),
        ),
        ["5a gpu 'gpu-0' load 1: evict: 'b' is being loaded"],
    ),
    "evicts what is not resident": (
        lambda _i, s: load(s, 0).update(evict=["c"]),
        ["2 gpu 'gpu-0' load 0: evict: 'c' is not resident"],
    ),
    "loads what is resident": (
        lambda _i, s: s["gpus"][0]["loads"].append({"adapter": "b", "start": 9}),
        ["2 gpu 'gpu-0' load 2: load: 'b' is resident already"],
    ),
    "loads what it evicts": (
        lambda _i, s: s["gpus"][0]["loads"].append({"adapter": "b", "start": 9, "evict": ["b"]}),
        ["2 gpu 'gpu-0' load 2: load: 'b' is resident already"],
    ),
    "unknown adapter": (
        lambda _i, s: s["gpus"][0]["loads"].append({"adapter": "no", "start": 9}),
        ["0 gpu 'gpu-0' load 2: load: adapter 'no' is unknown"],
    ),
    "unknown adapter evicted": (
        lambda _i, s: load(s, 0).update(evict=["no"]),
        ["0 gpu 'gpu-0' load 0: evict: adapter 'no' is unknown"],
    ),
    "too many residents": (
        lambda _i, s: load(s, 1).update(evict=[]),
        [
            "5a gpu 'gpu-0' load 1: 3 residents, max_resident 2",
            "2 gpu 'gpu-0' batch 1: 3 residents, max_resident 2",
            "2 gpu 'gpu-0' batch 2: 3 residents, max_resident 2",
        ],
    ),
    "no room beside the batch in progress": (
        both(full, lambda i, _s: i["requests"][1]["demand"].update(vram_gib=4.5)),
        ["5a gpu 'gpu-0' load 0: residents and batch in progress take 0.5 GiB too much"],
    ),
    "a member that has left still counts": (
        both(
            full,
            lambda i, _s: i["requests"][1]["demand"].update(vram_gib=4.5),
            lambda _i, s: load(s, 0).update(start=2),
        ),
        ["5a gpu 'gpu-0' load 0: residents and batch in progress take 0.5 GiB too much"],
    ),
    "a batch does not fit beside a load": (
        lambda i, _s: i["requests"][2]["demand"].update(vram_gib=8.5),
        ["3 gpu 'gpu-0' batch 1: members take 8.5 of vram_gib, 8 is free"],
    ),
    "a batch loads": (
        lambda _i, s: batch(s, 1).update(load=["c"]),
        ["5a gpu 'gpu-0' batch 1: load: with overlap, the GPU's 'loads' load"],
    ),
    "a batch evicts what is being loaded": (
        lambda _i, s: (
            load(s, 1).update(start=4),
            batch(s, 2).update(evict=["c"]),
        ),
        [
            "5a gpu 'gpu-0' batch 2: evict: 'c' is being loaded",
            "2 gpu 'gpu-0' batch 2: adapter 'c' is not resident",
        ],
    ),
    "a batch evicts what it uses": (
        lambda _i, s: batch(s, 1).update(evict=["b"]),
        ["2 gpu 'gpu-0' batch 1: adapter 'b' is not resident"],
    ),
    "no activation after a load": (
        lambda _i, s: batch(s, 1).update(switch_start=5),
        ["4 gpu 'gpu-0' batch 1: its switch takes 1 tick from 5, past its start at 5"],
    ),
    "a load past the horizon": (
        lambda _i, s: s["gpus"][0]["loads"].append({"adapter": "a", "start": 12, "evict": ["b"]}),
        ["5a gpu 'gpu-0' load 2: ends at tick 13, after horizon_ticks 12"],
    ),
    "overlapping batches": (
        lambda _i, s: later(s, 1, -2),
        [
            "6 gpu 'gpu-0' batch 1: starts at tick 2, busy to 4",
        ],
    ),
    "loads without overlap": (
        lambda i, s: (
            i["switching"].update(overlap=None, activate_s=0.0),
            s["gpus"][0].update(loads=[{"adapter": "b", "start": 0}]),
            batch(s, 1).update(switch_start=4, start=6, load=["b"]),
            member(s, 1, 0).update(completion=7),
            batch(s, 2).update(switch_start=7, start=10, load=["c"], evict=["b"]),
            member(s, 2, 0).update(completion=12),
        ),
        ["5a gpu 'gpu-0' load 0: the instance has no overlap; load in a batch instead"],
    ),
}
