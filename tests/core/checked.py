"""A valid schedule by hand, and edits of it that keep or break one rule of PROBLEM.md section 5."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pats_opt.model.checker import TOLERANCE, Verdict, check
from pats_opt.model.files import parse_instance
from pats_opt.model.parsing import convert
from pats_opt.model.schedule import Schedule
from tests.support.zoo import adapter, document, gpu, request

Json = dict[str, Any]
Edit = Callable[[Json, Json], object]


def problem() -> Json:
    """Two adapters, two GPUs, four requests, of which the last may be rejected."""
    slow = [{"steps": 1, "quality": 0.5}, {"steps": 2, "quality": 1.0}]
    return document(
        request("r0", 2, demand={"vram_gib": 1.0, "batch": 1.0}),
        request("r1", 1, arrival_s=3.0, demand={"vram_gib": 1.0, "batch": 1.0}),
        request("r2", adapter="b", options=slow, demand={"vram_gib": 1.0, "batch": 1.0}),
        request("r3", reject_loss=1.0),
        gpus=[gpu(batch=2.0), gpu("gpu-1", ())],
        adapters=[adapter("a", 2.0, 1.0), adapter("b", 1.0, 1.0), adapter("c")],
        switching={"max_resident": 2, "max_per_batch": 2, "activate_s": 1.0},
        horizon_ticks=10,
    )


def plan() -> Json:
    """Serves r0, then r1 and r2 together after loading b; its loss is 9.5."""
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
                        "requests": [{"id": "r0", "option": 0, "completion": 2}],
                    },
                    {
                        "switch_start": 2,
                        "load": ["b"],
                        "start": 3,
                        "requests": [
                            {"id": "r1", "option": 0, "completion": 4},
                            {"id": "r2", "option": 0, "completion": 4},
                        ],
                    },
                ],
            }
        ],
        "rejected": ["r3"],
    }


def verdict(*edits: Edit) -> Verdict:
    """The verdict on the plan, after edits of the problem and the plan."""
    instance_document, schedule_document = problem(), plan()
    for edit in edits:
        edit(instance_document, schedule_document)
    instance = parse_instance(json.dumps(instance_document))
    schedule_document["instance"]["sha256"] = instance.sha256
    return check(instance, convert(schedule_document, Schedule))


def batch(schedule: Json, b: int) -> Json:
    """A batch of the first GPU."""
    found: Json = schedule["gpus"][0]["batches"][b]
    return found


def member(schedule: Json, b: int, m: int) -> Json:
    """A member of a batch of the first GPU."""
    found: Json = batch(schedule, b)["requests"][m]
    return found


def prefetched(_: Json, s: Json) -> None:
    """Load b ahead of the first batch, so that the second pays an activation."""
    batch(s, 0).update(switch_start=0, load=["b"], start=1)
    member(s, 0, 0)["completion"] = 3
    batch(s, 1).update(load=[], switch_start=3, start=4)
    for m in (0, 1):
        member(s, 1, m)["completion"] = 5


def same_adapter_twice(i: Json, s: Json) -> None:
    """The second batch serves r1 alone, with nothing to switch; r2 is rejected."""
    i["requests"][2]["reject_loss"] = 1.0
    s["rejected"].append("r2")
    batch(s, 1).update(load=[], switch_start=3, requests=batch(s, 1)["requests"][:1])


def followed(i: Json, s: Json) -> None:
    """The second batch is larger than the table, so that it has no length; r3 starts with it."""
    i["service"].update(step_s={"table": [1.0]})
    s["rejected"].clear()
    third: Json = {"switch_start": 3, "start": 3}
    third["requests"] = [{"id": "r3", "option": 0, "completion": 4}]
    s["gpus"][0]["batches"].append(third)


def free_of_charge(i: Json, _: Json) -> None:
    """Nothing costs anything; the loss is 0."""
    i.update(latency_price_per_s=0.0)
    i["switching"].update(price_per_s=0.0)
    i["requests"][2]["options"][0].update(quality=1.0)
    i["requests"][3].update(reject_loss=0.0)


def both(*edits: Edit) -> Edit:
    """Some edits after each other."""

    def edit(i: Json, s: Json) -> None:
        for each in edits:
            each(i, s)

    return edit


#: Edits that keep the schedule valid.
ALLOWED: dict[str, Edit] = {
    "a GPU that does nothing may be listed": lambda _i, s: s["gpus"].append(
        {"id": "gpu-1", "batches": []}
    ),
    "batches in any order": lambda _i, s: s["gpus"][0]["batches"].reverse(),
    "starting late": lambda _i, s: (
        batch(s, 1).update(switch_start=6, start=7),
        [m.update(completion=8) for m in batch(s, 1)["requests"]],
    ),
    "switching early": lambda _i, s: (
        batch(s, 1).update(start=7),
        [m.update(completion=8) for m in batch(s, 1)["requests"]],
    ),
    "exactly full memory": lambda i, _s: i["requests"][0]["demand"].update(vram_gib=9.0),
    "memory in decimals": lambda i, _s: (
        i["gpus"][0]["capacity"].update(vram_gib=2.3),
        i["requests"][1]["demand"].update(vram_gib=0.1),
        i["requests"][2]["demand"].update(vram_gib=0.2),
    ),
    "a resource without a limit": lambda i, _s: (
        i["gpus"][0]["capacity"].pop("batch"),
        i["requests"][1]["demand"].update(batch=1e6),
    ),
    "the horizon met exactly": lambda i, _s: i.update(horizon_ticks=4),
    "a loss that is the same but for rounding": lambda _i, s: s.update(loss=9.5 * (1 + 9e-7)),
    "a bound at the loss but for rounding": lambda _i, s: s.update(bound=9.5 + 9.5 * TOLERANCE),
    "no loss but for rounding": both(free_of_charge, lambda _i, s: s.update(loss=TOLERANCE)),
    "an activation paid": prefetched,
    "no switch": same_adapter_twice,
    "evicting what is not needed": lambda _i, s: (
        batch(s, 1).update(evict=["a"], requests=batch(s, 1)["requests"][1:]),
        s["gpus"].append(
            {
                "id": "gpu-1",
                "batches": [
                    {
                        "switch_start": 0,
                        "load": ["a"],
                        "start": 3,
                        "requests": [{"id": "r1", "option": 0, "completion": 4}],
                    }
                ],
            }
        ),
    ),
}

#: Edits that break one rule, with the violations: rule, place and message.
BROKEN: dict[str, tuple[Edit, list[str]]] = {
    "unknown GPU": (
        lambda _i, s: s["gpus"].append({"id": "no", "batches": []}),
        ["0 gpus[1]: GPU 'no' is unknown"],
    ),
    "GPU listed twice": (
        lambda _i, s: s["gpus"].append({"id": "gpu-0", "batches": []}),
        ["0 gpus[1]: GPU 'gpu-0' is listed twice"],
    ),
    "unknown request": (
        lambda _i, s: batch(s, 0)["requests"].insert(0, {"id": "no", "option": 0, "completion": 2}),
        ["0 gpu 'gpu-0' batch 0: request 'no' is unknown"],
    ),
    "unknown request rejected": (
        lambda _i, s: s["rejected"].append("no"),
        ["0 rejected[1]: request 'no' is unknown"],
    ),
    "unknown adapter loaded": (
        lambda _i, s: batch(s, 1)["load"].append("no"),
        ["0 gpu 'gpu-0' batch 1: load: adapter 'no' is unknown"],
    ),
    "adapter loaded twice": (
        lambda _i, s: batch(s, 1)["load"].append("b"),
        ["0 gpu 'gpu-0' batch 1: load: adapter 'b' is listed twice"],
    ),
    "no such option": (
        lambda _i, s: member(s, 1, 0).update(option=1),
        [
            "0 gpu 'gpu-0' batch 1: 'r1': has no option 1",
            "1 request 'r1': neither served nor rejected",
        ],
    ),
    "started before arrival": (
        lambda i, _s: i["requests"][1].update(arrival_s=3.1),
        ["1 gpu 'gpu-0' batch 1: 'r1' arrives at tick 4, after 3"],
    ),
    "served and rejected": (
        lambda i, s: (i["requests"][0].update(reject_loss=0.0), s["rejected"].append("r0")),
        ["1 request 'r0': dealt with 2 times"],
    ),
    "rejected twice": (
        lambda _i, s: s["rejected"].append("r3"),
        ["1 request 'r3': dealt with 2 times"],
    ),
    "served twice": (
        lambda _i, s: (
            batch(s, 1)["requests"].append({"id": "r0", "option": 0, "completion": 5}),
            s["gpus"][0]["batches"][1]["requests"].pop(1),
            batch(s, 1).update(load=[], switch_start=3),
            s["gpus"].append(
                {
                    "id": "gpu-1",
                    "batches": [
                        {
                            "switch_start": 0,
                            "load": ["b"],
                            "start": 1,
                            "requests": [{"id": "r2", "option": 0, "completion": 2}],
                        }
                    ],
                }
            ),
        ),
        ["1 request 'r0': dealt with 2 times"],
    ),
    "neither served nor rejected": (
        lambda _i, s: s["rejected"].clear(),
        ["1 request 'r3': neither served nor rejected"],
    ),
    "rejected though it must be served": (
        lambda i, _s: i["requests"][3].pop("reject_loss"),
        ["1 rejected[0]: 'r3' has no reject_loss: it must be served"],
    ),
    "too many residents": (
        lambda _i, s: batch(s, 1)["load"].append("c"),
        ["2 gpu 'gpu-0' batch 1: 3 residents, max_resident 2"],
    ),
    "too many adapters in a batch": (
        lambda i, _s: i["switching"].update(max_per_batch=1),
        ["2 gpu 'gpu-0' batch 1: 2 adapters, max_per_batch 1"],
    ),
    "adapter not resident": (
        lambda _i, s: batch(s, 1)["load"].clear(),
        ["2 gpu 'gpu-0' batch 1: adapter 'b' is not resident"],
    ),
    "evicts what is not resident": (
        lambda _i, s: batch(s, 0).update(evict=["b"]),
        ["2 gpu 'gpu-0' batch 0: evict: 'b' is not resident"],
    ),
    "loads what is resident": (
        lambda _i, s: batch(s, 0).update(load=["a"]),
        ["2 gpu 'gpu-0' batch 0: load: 'a' is resident already"],
    ),
    "too much memory": (
        lambda i, _s: i["requests"][0]["demand"].update(vram_gib=9.000001),
        ["3 gpu 'gpu-0' batch 0: members take 9.000001 of vram_gib, 9 is free"],
    ),
    "too much memory by what is resident": (
        lambda i, _s: i["adapters"][1].update(vram_gib=7.000001),
        ["3 gpu 'gpu-0' batch 1: members take 2 of vram_gib, 1.999999 is free"],
    ),
    "too much memory by the base model": (
        lambda i, _s: i.update(base_vram_gib=6.5),
        ["3 gpu 'gpu-0' batch 1: members take 2 of vram_gib, 1.5 is free"],
    ),
    "too much of another resource": (
        lambda i, _s: i["gpus"][0]["capacity"].update(batch=1.999),
        ["3 gpu 'gpu-0' batch 1: members take 2 of batch, 1.999 is free"],
    ),
    "larger than the table, and another after it": (
        followed,
        ["3 gpu 'gpu-0' batch 1: 2 members, the step table ends at 1"],
    ),
    "larger than the table": (
        lambda i, _s: i["service"].update(step_s={"table": [1.0]}),
        ["3 gpu 'gpu-0' batch 1: 2 members, the step table ends at 1"],
    ),
    "no time to load": (
        lambda _i, s: batch(s, 1).update(switch_start=3),
        ["4 gpu 'gpu-0' batch 1: its switch takes 1 tick from 3, past its start at 3"],
    ),
    "loading takes longer": (
        lambda i, _s: i["adapters"][1].update(load_s=1.1),
        ["4 gpu 'gpu-0' batch 1: its switch takes 2 ticks from 2, past its start at 3"],
    ),
    "no time to activate": (
        both(prefetched, lambda _i, s: batch(s, 1).update(switch_start=4)),
        ["4 gpu 'gpu-0' batch 1: its switch takes 1 tick from 4, past its start at 4"],
    ),
    "a switch where there is none": (
        both(same_adapter_twice, lambda _i, s: batch(s, 1).update(switch_start=2)),
        ["4 gpu 'gpu-0' batch 1: there is no switch, so switch_start must equal start"],
    ),
    "completes too early": (
        lambda _i, s: member(s, 0, 0).update(completion=1),
        ["5 gpu 'gpu-0' batch 0: 'r0' completes at tick 2, not 1"],
    ),
    "completes too late": (
        lambda _i, s: member(s, 1, 1).update(completion=5),
        ["5 gpu 'gpu-0' batch 1: 'r2' completes at tick 4, not 5"],
    ),
    "overlapping batches": (
        lambda i, s: (
            i["requests"][1].update(arrival_s=0.0),
            i["adapters"][1].update(load_s=0.0),
            batch(s, 1).update(switch_start=1, start=1),
            [m.update(completion=2) for m in batch(s, 1)["requests"]],
        ),
        ["6 gpu 'gpu-0' batch 1: starts at tick 1, busy to 2"],
    ),
    "switch during a batch": (
        lambda i, s: (
            i["adapters"][1].update(load_s=2.0),
            batch(s, 1).update(switch_start=1),
        ),
        ["6 gpu 'gpu-0' batch 1: starts at tick 1, busy to 2"],
    ),
    "ends after the horizon": (
        lambda i, _s: i.update(horizon_ticks=3),
        ["6 gpu 'gpu-0' batch 1: ends at tick 4, after horizon_ticks 3"],
    ),
    "wrong loss claimed": (
        lambda _i, s: s.update(loss=9.4),
        ["0 loss: the file says 9.4, the schedule's loss is 9.5"],
    ),
    "wrong loss claimed by a little": (
        lambda _i, s: s.update(loss=9.5 * (1 - 1.1e-6)),
        ["0 loss: the file says 9.49998955, the schedule's loss is 9.5"],
    ),
    "wrong loss claimed where there is none": (
        both(free_of_charge, lambda _i, s: s.update(loss=1.5e-6)),
        ["0 loss: the file says 1.5e-06, the schedule's loss is 0"],
    ),
    "bound above the loss": (
        lambda _i, s: s.update(bound=9.6),
        ["0 bound: the bound 9.6 is above the loss 9.5"],
    ),
}
