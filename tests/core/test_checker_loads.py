"""Loads beside serving: each sentence of section 5a kept and broken alone; plans and documents."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pats_opt.errors import InputError
from pats_opt.model.checker import ReplayedLoad, check, valid_loss
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.plan import Plan, PlannedBatch, PlannedLoad, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import SolverRef
from tests.core.checked import Edit
from tests.core.checked_loads import ALLOWED, BROKEN, problem, verdict
from tests.support.zoo import document, request

Json = dict[str, Any]


def test_valid_schedule() -> None:
    found = verdict()
    assert found.violations == ()
    assert found.terms.latency == 4 + 1 + 6 + 10
    assert found.terms.switching == 2 + 1 + 3 + 1
    assert found.loads == (
        ReplayedLoad(0, 1, frozenset(), 1, 3),
        ReplayedLoad(0, 2, frozenset((0,)), 5, 8),
    )
    assert [b.resident for b in found.replayed] == [(0,), (1, 2), (1, 2)]
    assert [b.switch.activate for b in found.replayed] == [
        frozenset(),
        frozenset((1,)),
        frozenset((2,)),
    ]


@pytest.mark.parametrize("edit", ALLOWED.values(), ids=ALLOWED.keys())
def test_allowed(edit: Edit) -> None:
    assert verdict(edit).violations == ()


@pytest.mark.parametrize(("edit", "violations"), BROKEN.values(), ids=BROKEN.keys())
def test_broken(edit: Edit, violations: list[str]) -> None:
    """A schedule broken in one way has exactly that violation."""
    found = verdict(edit)
    assert [f"{v.rule} {v.place}: {v.message}" for v in found.violations] == violations


def test_a_plan_becomes_the_schedule() -> None:
    """Evictions of batches follow from what stays; switches are the activations."""
    own = Problem(parse_instance(json.dumps(problem())))
    a, b, c = (frozenset((i,)) for i in range(3))
    batches = (
        PlannedBatch(0, ((0, 0), (1, 0)), a),
        PlannedBatch(5, ((2, 0),), b),
        PlannedBatch(8, ((3, 0),), b | c, switch_start=6),
    )
    plan = Plan((batches,), ((PlannedLoad(1, 1), PlannedLoad(2, 5)),))
    made = schedule_of(own, plan, SolverRef(name="by hand"))
    assert [(batch.switch_start, batch.evict) for batch in made.gpus[0].batches] == [
        (0, ()),
        (4, ("a",)),
        (6, ()),
    ]
    assert check(own, made).violations == ()
    assert valid_loss(own, plan) == verdict().loss


def test_no_overlap_leaves_the_document_as_it_was() -> None:
    """Keys that nobody wrote are not written, so no digest changes; a null is kept."""
    plain = document(request("r0"))
    assert b"overlap" not in encode(parse_instance(json.dumps(plain)))
    plain["switching"]["overlap"] = None
    assert Problem(parse_instance(json.dumps(plain))).site.channels is None
    own = Problem(parse_instance(json.dumps(plain)))
    plan = Plan(((PlannedBatch(0, ((0, 0),), frozenset((0,))),),))
    assert b"loads" not in encode(schedule_of(own, plan, SolverRef(name="x")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"max_resident": 1, "pairs": [{"from": None, "to": "a", "load_s": 1.0}]},
            "switching.pairs: loads beside serving have no pairs; remove pairs, or set overlap to "
            "null",
        ),
        (
            {"overlap": {"channels": 0}},
            "switching.overlap.channels: expected a whole number >= 1; correct the value",
        ),
        ({"overlap": {}}, "switching.overlap: missing key 'channels'; add it"),
    ],
    ids=["pairs", "no channel", "no channels"],
)
def test_bad_overlap(change: Json, message: str) -> None:
    made = problem()
    made["switching"].update(change)
    with pytest.raises(InputError) as error:
        parse_instance(json.dumps(made))
    assert str(error.value) == message


def test_slot_service_has_no_loads_beside_serving() -> None:
    with pytest.raises(InputError, match=r"^switching.overlap: slot service has no loads beside"):
        parse_instance(json.dumps({**problem(), "service": {"kind": "slot"}}))
