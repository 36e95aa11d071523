"""Fleets as arguments: other GPUs, caches, batches, loads, and parts of the requests."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pats_opt.errors import InputError
from pats_opt.model.files import parse_instance
from pats_opt.model.fleet import (
    FleetSetting,
    RequestSpan,
    busiest,
    equipped,
    part,
    refuse_unequippable,
)
from pats_opt.model.instance import Instance, validate
from pats_opt.runs.setting import RunSetting
from tests.report.examples import document


def instance(**changes: Any) -> Instance:
    return parse_instance(msgspec.json.encode(document(**changes)))


def test_gpus_are_the_first_ones_or_all_again() -> None:
    two = [
        {"id": "a", "capacity": {"vram_gib": 40.0, "batch": 4}, "resident": ["pixel-art"]},
        {"id": "b", "capacity": {"vram_gib": 24.0, "batch": 2}},
    ]
    known = instance(gpus=two)
    assert [gpu.id for gpu in equipped(known, FleetSetting(gpus=1)).gpus] == ["a"]
    many = equipped(known, FleetSetting(gpus=5))
    assert [gpu.capacity["vram_gib"] for gpu in many.gpus] == [40.0, 24.0, 40.0, 24.0, 40.0]
    assert [gpu.resident for gpu in many.gpus[::2]] == [("pixel-art",)] * 3
    validate(many)


def test_a_copy_takes_no_id_that_is_there() -> None:
    named = [{"id": name, "capacity": {"vram_gib": 40.0}} for name in ("a", "a.1")]
    made = equipped(instance(gpus=named), FleetSetting(gpus=4))
    assert len({gpu.id for gpu in made.gpus}) == 4


def test_everything_else_of_a_fleet() -> None:
    known = instance(requests=3)
    made = equipped(known, FleetSetting(residents=2, channels=3, batch=2, load_factor=0.5))
    assert made.switching.max_resident == 2
    assert made.switching.overlap.channels == 3  # type: ignore[union-attr]
    assert [gpu.capacity["batch"] for gpu in made.gpus] == [2.0]
    assert [adapter.load_s for adapter in made.adapters] == [0.58, 0.58]
    assert made.requests == known.requests
    assert equipped(known, FleetSetting()) == known
    blocking = equipped(made, FleetSetting(channels=0))
    assert not blocking.switching.overlap


def test_residents_at_tick_0_are_cut() -> None:
    held = [{"id": "a", "capacity": {"vram_gib": 40.0}, "resident": ["pixel-art", "watercolor"]}]
    known = instance(gpus=held, switching={"max_resident": 2, "price_per_s": 1.0})
    assert equipped(known, FleetSetting(residents=1)).gpus[0].resident == ("pixel-art",)


@pytest.mark.parametrize(
    ("setting", "changes", "message"),
    [
        (FleetSetting(batch=8), {}, "no batch of 8 fits 'gpu-0', which takes 4"),
        (FleetSetting(gpus=2), {"gpus": []}, "there are no GPUs"),
        (
            FleetSetting(residents=2),
            {
                "switching": {
                    "max_resident": 1,
                    "price_per_s": 1.0,
                    "pairs": [{"from": None, "to": "watercolor", "load_s": 1.0}],
                }
            },
            "pairs need max_resident 1",
        ),
        (FleetSetting(batch=2), {"requests": 1, "batch": False}, "needs the resource 'batch'"),
    ],
)
def test_what_cannot_be_is_refused(
    setting: FleetSetting, changes: dict[str, Any], message: str
) -> None:
    counted = changes.pop("batch", True)
    known = document(**changes)
    if not counted:
        for request in known["requests"]:
            del request["demand"]["batch"]
    with pytest.raises(InputError, match=message):
        refuse_unequippable(parse_instance(msgspec.json.encode(known)), setting)


def test_a_part_begins_at_0_with_its_own_adapters() -> None:
    known = instance(requests=6, horizon_ticks=500)
    made = part(known, RequestSpan(first=2, count=2))
    assert [request.id for request in made.requests] == ["r2", "r3"]
    assert [request.arrival_s for request in made.requests] == [0.0, 1.0]
    assert made.horizon_ticks is None
    alone = part(known, RequestSpan(first=3, count=1))
    assert [adapter.id for adapter in alone.adapters] == ["watercolor"]
    validate(made)


def test_the_busiest_requests_of_each_part() -> None:
    known = instance(requests=10)
    arrivals = [0.0, 9.0, 9.5, 20.0, 40.0, 50.0, 60.0, 70.0, 71.0, 72.0]
    requests = [
        msgspec.structs.replace(request, arrival_s=at)
        for request, at in zip(known.requests, arrivals, strict=True)
    ]
    known = msgspec.structs.replace(known, requests=tuple(requests))
    assert busiest(known, 2, 2) == [RequestSpan(first=1, count=2), RequestSpan(first=7, count=2)]
    assert busiest(known, 2, 40) == [RequestSpan(first=0, count=10)]
    assert busiest(known, 0, 2) == []


def test_a_setting_has_a_digest_of_its_own() -> None:
    known = instance()
    settings = [
        RunSetting(),
        RunSetting(fleet=FleetSetting(gpus=2)),
        RunSetting(fleet=FleetSetting(residents=2)),
        RunSetting(span=RequestSpan(first=0, count=2)),
    ]
    digests = {setting.of(known).sha256 for setting in settings}
    assert len(digests) == len(settings)
    assert known.sha256 not in digests
