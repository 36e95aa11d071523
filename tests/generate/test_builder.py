"""``pats_opt.Model``: instances put together in Python."""

from __future__ import annotations

import types
from typing import Any

import polars as pl
import pytest
from msgspec import UNSET

import pats_opt
from pats_opt.errors import InputError
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.instance import Option, StepTime


def model(**others: Any) -> pats_opt.Model:
    return pats_opt.Model(**others).add_gpu().add_adapter("ink")


def test_what_is_not_given_is_of_the_profile() -> None:
    made = model(profile="a100-40g").add_request(adapter="ink").instance()
    assert made.tick_s == 0.05
    assert made.gpus[0].capacity == {"vram_gib": 40.0, "batch": 21.0}
    assert (made.adapters[0].load_s, made.adapters[0].vram_gib) == (1.153, 0.17)
    assert made.requests[0].demand == {"vram_gib": 2.3834, "batch": 1.0}
    assert [(o.steps, o.quality) for o in made.requests[0].options] == [(30, 1.0)]


def test_every_field_can_be_given() -> None:
    built = pats_opt.Model(
        "mine",
        tick_s=0.5,
        step_s=0.25,
        overhead_s=0.5,
        base_vram_gib=7.0,
        max_resident=2,
        max_per_batch=2,
        activate_s=0.1,
        load_channels=1,
        switch_price_per_s=2.0,
        latency_price_per_s=1.0,
        late_price=3.0,
        horizon_ticks=100,
    )
    built.add_gpu(vram_gib=20.0, batch=4, resident=["oil"], count=2)
    built.add_adapter("oil", load_s=2.0, vram_gib=0.5).add_adapter("ink")
    built.add_request(
        "first",
        adapter="oil",
        arrival_s=1.0,
        steps={20: 0.9, 10: 0.5},
        demand={"vram_gib": 3.0, "batch": 2.0},
        weight=2.0,
        deadline_s=9.0,
        group="g",
    )
    built.add_request(adapter="ink", steps=[Option(steps=10, skip=5, quality=0.7)])
    made = built.instance()
    assert parse_instance(encode(made)) == made
    assert [gpu.id for gpu in made.gpus] == ["gpu-0", "gpu-1"]
    assert [r.id for r in made.requests] == ["first", "r1"]
    assert [(o.steps, o.quality) for o in made.requests[0].options] == [(10, 0.5), (20, 0.9)]
    assert (made.requests[0].group, made.requests[1].group) == ("g", UNSET)
    assert made.service.step_s == StepTime(base=0.25, per_sample=0.0)
    assert made.switching.overlap
    assert (made.late_price, made.horizon_ticks, made.base_vram_gib) == (3.0, 100, 7.0)


def test_the_slotted_model_and_transitions() -> None:
    built = model(slotted=True).add_adapter("oil")
    built.add_transition(None, "ink", 3.0).add_transition("ink", "oil", 0.5)
    made = built.add_request(adapter="oil").instance()
    assert made.service.__struct_config__.tag == "slot"
    assert [(p.source, p.target, p.load_s) for p in made.switching.pairs] == [
        (None, "ink", 3.0),
        ("ink", "oil", 0.5),
    ]


ROWS: dict[str, list[Any]] = {
    "t": [0.0, 1.0, 2.5],
    "adapter": ["ink", "oil", "ink"],
    "steps": [30, 30, 50],
    "deadline_s": [20.0, None, 30.0],
}


class Pandas(types.SimpleNamespace):
    """A frame with the one method of pandas that is used; gaps make whole numbers floats."""

    def to_dict(self, orient: str) -> dict[str, list[Any]]:
        """The columns as lists."""
        assert orient == "list"
        nan = float("nan")
        return {**ROWS, "steps": [30.0, 30.0, 50.0], "deadline_s": [20.0, nan, 30.0]}


@pytest.mark.parametrize("frame", [ROWS, pl.DataFrame(ROWS), Pandas()], ids=["dict", "pl", "pd"])
def test_a_frame_of_requests(frame: Any) -> None:
    made = pats_opt.Model().add_gpu().add_requests(frame, arrival_s="t").instance()
    assert [a.id for a in made.adapters] == ["ink", "oil"]
    assert [(r.id, r.arrival_s, r.deadline_s) for r in made.requests] == [
        ("r0", 0.0, 20.0),
        ("r1", 1.0, None),
        ("r2", 2.5, 30.0),
    ]
    assert [type(r.options[0].steps) for r in made.requests] == [int, int, int]


def test_from_a_frame_to_a_gap() -> None:
    built = pats_opt.Model().add_gpu().add_requests(pl.DataFrame(ROWS), arrival_s="t")
    instance = built.instance()
    best, fifo = pats_opt.solve(instance), pats_opt.solve(instance, "fifo")
    assert best.bound is not None
    assert fifo.loss is not None
    assert best.bound <= fifo.loss


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: model().add_request(adapter="inc").instance(), "adapter 'inc' is not declared"),
        (lambda: model().add_adapter("ink"), "adapter 'ink' is there already"),
        (lambda: model().add_gpu("one", count=2), "several GPUs have one name"),
        (lambda: model().add_request(adapter="ink", deadlin_s=1.0), "a request has no 'deadlin_s'"),
        (lambda: model().add_requests({"t": [1]}), "a request has no 't'"),
        (lambda: model().add_requests({"arrival_s": [1]}), "no column of adapters"),
        (lambda: model().add_requests({"adapter": ["a"]}, arrival_s="t"), "no column 't'"),
        (lambda: model().add_requests([1, 2]), "a list is no table of requests"),
        (lambda: model().add_requests({"adapter": ["ink", None]}), "the adapter is missing"),
        (lambda: model().add_requests({"adapter": ["a", "b"], "steps": [3]}), "'steps' is not as"),
        (lambda: model().add_request(adapter="ink", id="x"), "a request has no 'id'"),
        (lambda: model().add_request(adapter="ink", weight=-1.0).instance(), "requests[0].weight"),
        (lambda: model().add_request(adapter="ink", steps=0).instance(), "steps"),
        (lambda: pats_opt.Model(profile="a100"), "there is no profile 'a100'"),
        (
            lambda: (
                model().add_request("x", adapter="ink").add_request("x", adapter="ink").instance()
            ),
            "'x'",
        ),
    ],
)
def test_errors_are_those_of_a_file(build: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        build()
    assert message in str(error.value)
    assert error.value.hint
