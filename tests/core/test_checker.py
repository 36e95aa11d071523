"""The checker: each rule of PROBLEM.md section 5 alone, kept and broken in one way."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.errors import InputError
from pats_opt.model.checker import TOLERANCE, Verdict, check
from pats_opt.model.files import parse_instance
from pats_opt.model.parsing import convert
from pats_opt.model.schedule import Schedule
from tests.support.brute_force import best_schedule, brute_force
from tests.support.strategies import documents, parent, places
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


def test_valid_schedule() -> None:
    """A valid schedule has no violations, and each loss term is what the formula says."""
    found = verdict()
    assert found.ok
    assert found.violations == ()
    assert found.terms.quality == 0.5
    assert found.terms.latency == 2 + 1 + 4
    assert found.terms.late == 0
    assert found.terms.switching == 1
    assert found.terms.rejection == 1
    assert found.loss == 9.5


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

#: Edits that break one rule, with the rules that the violations name.
BROKEN: dict[str, tuple[Edit, list[int]]] = {
    "unknown GPU": (lambda _i, s: s["gpus"].append({"id": "no", "batches": []}), [0]),
    "GPU listed twice": (lambda _i, s: s["gpus"].append({"id": "gpu-0", "batches": []}), [0]),
    "unknown request": (
        lambda _i, s: batch(s, 0)["requests"].append({"id": "no", "option": 0, "completion": 2}),
        [0],
    ),
    "unknown request rejected": (lambda _i, s: s["rejected"].append("no"), [0]),
    "unknown adapter loaded": (lambda _i, s: batch(s, 1)["load"].append("no"), [0]),
    "adapter loaded twice": (lambda _i, s: batch(s, 1)["load"].append("b"), [0]),
    "no such option": (lambda _i, s: member(s, 1, 1).update(option=2), [0, 1]),
    "started before arrival": (lambda i, _s: i["requests"][1].update(arrival_s=3.1), [1]),
    "served and rejected": (
        lambda i, s: (i["requests"][0].update(reject_loss=0.0), s["rejected"].append("r0")),
        [1],
    ),
    "rejected twice": (lambda _i, s: s["rejected"].append("r3"), [1]),
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
        [1],
    ),
    "neither served nor rejected": (lambda _i, s: s["rejected"].clear(), [1]),
    "rejected though it must be served": (
        lambda i, _s: i["requests"][3].pop("reject_loss"),
        [1],
    ),
    "too many residents": (lambda _i, s: batch(s, 1)["load"].append("c"), [2]),
    "too many adapters in a batch": (
        lambda i, _s: i["switching"].update(max_per_batch=1),
        [2],
    ),
    "adapter not resident": (lambda _i, s: batch(s, 1)["load"].clear(), [2]),
    "evicts what is not resident": (lambda _i, s: batch(s, 0).update(evict=["b"]), [2]),
    "loads what is resident": (lambda _i, s: batch(s, 0).update(load=["a"]), [2]),
    "too much memory": (
        lambda i, _s: i["requests"][0]["demand"].update(vram_gib=9.000001),
        [3],
    ),
    "too much memory by what is resident": (
        lambda i, _s: i["adapters"][1].update(vram_gib=7.000001),
        [3],
    ),
    "too much memory by the base model": (lambda i, _s: i.update(base_vram_gib=6.5), [3]),
    "too much of another resource": (
        lambda i, _s: i["gpus"][0]["capacity"].update(batch=1.999),
        [3],
    ),
    "larger than the table": (
        lambda i, _s: i["service"].update(step_s={"table": [1.0]}),
        [3],
    ),
    "no time to load": (lambda _i, s: batch(s, 1).update(switch_start=3), [4]),
    "loading takes longer": (lambda i, _s: i["adapters"][1].update(load_s=1.1), [4]),
    "no time to activate": (
        both(prefetched, lambda _i, s: batch(s, 1).update(switch_start=4)),
        [4],
    ),
    "a switch where there is none": (
        both(same_adapter_twice, lambda _i, s: batch(s, 1).update(switch_start=2)),
        [4],
    ),
    "completes too early": (lambda _i, s: member(s, 0, 0).update(completion=1), [5]),
    "completes too late": (lambda _i, s: member(s, 1, 1).update(completion=5), [5]),
    "overlapping batches": (
        lambda i, s: (
            i["requests"][1].update(arrival_s=0.0),
            i["adapters"][1].update(load_s=0.0),
            batch(s, 1).update(switch_start=1, start=1),
            [m.update(completion=2) for m in batch(s, 1)["requests"]],
        ),
        [6],
    ),
    "switch during a batch": (
        lambda i, s: (
            i["adapters"][1].update(load_s=2.0),
            batch(s, 1).update(switch_start=1),
        ),
        [6],
    ),
    "ends after the horizon": (lambda i, _s: i.update(horizon_ticks=3), [6]),
    "wrong loss claimed": (lambda _i, s: s.update(loss=9.4), [0]),
    "bound above the loss": (lambda _i, s: s.update(bound=9.6), [0]),
}


@pytest.mark.parametrize("edit", ALLOWED.values(), ids=ALLOWED.keys())
def test_allowed(edit: Edit) -> None:
    """Variations that the rules allow are no violations."""
    found = verdict(edit)
    assert found.violations == ()


@pytest.mark.parametrize(("edit", "rules"), BROKEN.values(), ids=BROKEN.keys())
def test_broken(edit: Edit, rules: list[int]) -> None:
    """A schedule broken in one way has exactly that violation."""
    found = verdict(edit)
    assert not found.ok
    assert [violation.rule for violation in found.violations] == rules, found.violations
    assert all(violation.place and violation.message for violation in found.violations)


def test_all_violations_are_listed() -> None:
    """All of several faults are listed, not only the first."""
    found = verdict(
        lambda _i, s: s["rejected"].clear(),
        lambda _i, s: member(s, 0, 0).update(completion=9),
        lambda i, _s: i.update(horizon_ticks=3),
    )
    assert sorted(violation.rule for violation in found.violations) == [1, 5, 6]


def test_another_instance_is_refused() -> None:
    """A schedule is never checked against an instance that it was not made for."""
    instance = parse_instance(json.dumps(problem()))
    with pytest.raises(InputError, match="made for another instance"):
        check(instance, convert(plan(), Schedule))


def test_late_and_slot_terms() -> None:
    """Late requests pay by weight, to the tick; a slot completes at its start and pays no time."""
    late = verdict(
        lambda i, _s: i.update(late_price=10.0),
        lambda i, _s: i["requests"][0].update(deadline_s=2.0, weight=3.0),
        lambda i, _s: i["requests"][2].update(deadline_s=3.999, weight=3.0),
    )
    assert late.terms.late == 30.0
    slot = verdict(
        lambda i, _s: i.update(service={"kind": "slot"}),
        lambda _i, s: batch(s, 1).update(switch_start=3),
        lambda _i, s: [
            m.update(completion=t) for b, t in ((0, 0), (1, 3)) for m in batch(s, b)["requests"]
        ],
    )
    assert slot.ok, slot.violations
    assert slot.terms.latency == 0 + 0 + 3
    assert slot.terms.switching == 1


@given(documents(), st.data())
def test_no_accepted_schedule_beats_the_optimum(valid: Json, data: st.DataObject) -> None:
    """Change an optimal schedule anywhere: it is refused, or its loss is no lower than before."""
    best = best_schedule(valid)
    if best is None:
        return
    instance = parse_instance(json.dumps(valid))
    optimum = brute_force(valid)
    assert optimum is not None
    assert check(instance, convert(best, Schedule)).ok
    changed = copy.deepcopy(best)
    changed["loss"] = changed["bound"] = None
    body = {"gpus": changed["gpus"], "rejected": changed["rejected"]}
    for _ in range(data.draw(st.integers(1, 3))):
        paths = [*places(body)]
        if not paths:
            return
        node, key = parent(body, data.draw(st.sampled_from(paths)))
        if isinstance(node[key], int):
            node[key] = max(0, node[key] + data.draw(st.sampled_from((-2, -1, 1, 2))))
        elif isinstance(node[key], str):
            named = [a["id"] for a in valid["adapters"]] + [r["id"] for r in valid["requests"]]
            node[key] = data.draw(st.sampled_from(named))
        elif isinstance(node, list) and data.draw(st.booleans()):
            node.append(copy.deepcopy(node[key]))
        elif isinstance(node, list):
            del node[key]
    try:
        schedule = convert(changed, Schedule)
    except InputError:
        return
    found = check(instance, schedule)
    if found.ok:
        assert found.loss >= optimum - TOLERANCE * max(1.0, optimum)
