"""The checker: each rule of PROBLEM.md section 5 alone, kept and broken in one way."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.errors import InputError
from pats_opt.model.checker import TOLERANCE, Verdict, check
from pats_opt.model.files import parse_instance
from pats_opt.model.loss import LossTerms
from pats_opt.model.parsing import convert
from pats_opt.model.schedule import Schedule
from tests.core.checked import ALLOWED, BROKEN, Edit, batch, member, plan, problem, verdict
from tests.support.brute_force import best_schedule, brute_force
from tests.support.strategies import documents, parent, places

Json = dict[str, Any]


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
    assert found.problem is not None
    assert [(b.gpu, b.switch.ticks, b.batch.start, b.resident, b.end) for b in found.replayed] == [
        (0, 0, 0, (0,), 2),
        (0, 1, 3, (0, 1), 4),
    ]


@pytest.mark.parametrize("edit", ALLOWED.values(), ids=ALLOWED.keys())
def test_allowed(edit: Edit) -> None:
    """Variations that the rules allow are no violations."""
    found = verdict(edit)
    assert found.violations == ()


@pytest.mark.parametrize(("edit", "violations"), BROKEN.values(), ids=BROKEN.keys())
def test_broken(edit: Edit, violations: list[str]) -> None:
    """A schedule broken in one way has exactly that violation."""
    found = verdict(edit)
    assert not found.ok
    assert [f"{v.rule} {v.place}: {v.message}" for v in found.violations] == violations


def test_all_violations_are_listed() -> None:
    """All of several faults are listed, not only the first."""
    found = verdict(
        lambda _i, s: s["rejected"].clear(),
        lambda _i, s: member(s, 0, 0).update(completion=9),
        lambda i, _s: i.update(horizon_ticks=3),
    )
    assert sorted(violation.rule for violation in found.violations) == [1, 5, 6]


def test_similar_names_are_given_for_the_first_few() -> None:
    """An unknown id comes with those it may be meant for, while the list is short."""
    found = verdict(lambda _i, s: s["rejected"].extend(["r33"] * 9))
    messages = [violation.message for violation in found.violations]
    known = "request 'r33' is unknown; did you mean 'r3'?"
    assert messages == [known] * 8 + ["request 'r33' is unknown"]


def test_verdict_in_a_line() -> None:
    """The verdict's text and the error that refuses it have the first violation and the count."""
    found = verdict()
    found.require_valid()
    assert repr(found) == "Verdict(valid, loss=9.5)"
    exact = Verdict(violations=(), terms=LossTerms(quality=1.23456789))
    assert repr(exact) == "Verdict(valid, loss=1.23457)"
    broken = verdict(lambda _i, s: s["rejected"].clear(), lambda i, _s: i.update(horizon_ticks=3))
    line = "rule 6: gpu 'gpu-0' batch 1: ends at tick 4, after horizon_ticks 3 (2 violations)"
    assert broken.first() == line
    assert repr(broken) == f"Verdict(not valid, {line}, loss=8.5)"
    with pytest.raises(InputError) as error:
        broken.require_valid()
    assert str(error.value) == (
        f"the schedule breaks {line}; 'pats-opt check' lists all violations"
    )


def test_another_instance_is_refused() -> None:
    """A schedule is never checked against an instance that it was not made for."""
    instance = parse_instance(json.dumps(problem()))
    with pytest.raises(InputError) as error:
        check(instance, convert(plan(), Schedule))
    assert str(error.value) == (
        "instance.sha256: the schedule was made for another instance ('zoo', digest 000000000000, "
        f"not {instance.sha256[:12]}); name the instance that the schedule was made for"
    )


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
