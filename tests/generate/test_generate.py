"""The generator: what each part of a recipe does to the instance."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from msgspec import UNSET
from msgspec.structs import replace

from pats_opt import Instance
from pats_opt.core.solver import Feature, features
from pats_opt.errors import InputError
from pats_opt.generate import Recipe, generate
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.problem import Problem


def made(seed: int = 0, **parts: object) -> Instance:
    """An instance of a recipe given as plain tables."""
    return generate(msgspec.convert(parts, Recipe), seed)


def test_same_seed_same_bytes_other_seed_other_ones() -> None:
    assert encode(made(seed=5)) == encode(made(seed=5))
    assert encode(made(seed=5)) != encode(made(seed=6))


def test_digest_of_a_default_instance() -> None:
    """The bytes are the same on every machine and release; a change needs a new suite name."""
    assert made(seed=1).sha256[:16] == "fa94554c09017336"


def test_what_is_made_reads_back_as_strictly_as_a_file() -> None:
    instance = made(requests=30)
    assert parse_instance(encode(instance)).sha256 == instance.sha256
    assert len(instance.requests) == 30


def test_no_requests_is_an_instance_too() -> None:
    instance = made(requests=0)
    assert instance.requests == ()
    assert instance.adapters == ()


def test_one_component_does_not_reshuffle_another() -> None:
    """Arrivals and adapters stay when complexity and deadlines change."""
    plain = made()
    other = made(complexity={"levels": {"values": [0.5]}}, terms={"deadline_share": 1.0})
    assert [(r.arrival_s, r.adapter) for r in plain.requests] == [
        (r.arrival_s, r.adapter) for r in other.requests
    ]
    assert all(r.deadline_s for r in other.requests)


def test_load_factor_is_offered_over_available_gpu_time() -> None:
    """documents, b = 4: a request is worth (60 * 0.06 + 1.16) / 4 = 1.19 GPU seconds."""
    instance = made(requests=4000, arrivals={"process": "regular", "load": 0.8}, gpus={"count": 2})
    assert instance.requests[1].arrival_s == pytest.approx(1.19 / 0.8 / 2, abs=1e-3)


def test_load_factor_counts_images_that_become_requests() -> None:
    split = made(arrivals={"process": "regular"}, images={"count": {"values": [2]}})
    stack = made(
        arrivals={"process": "regular"}, images={"count": {"values": [2]}, "mode": "stack"}
    )
    assert split.requests[2].arrival_s == pytest.approx(2 * stack.requests[1].arrival_s, abs=2e-3)


def test_rate_replaces_load() -> None:
    instance = made(arrivals={"process": "regular", "rate_per_s": 0.5})
    assert [r.arrival_s for r in instance.requests[:3]] == [0.0, 2.0, 4.0]


def test_assumed_batch_is_cut_to_what_fits() -> None:
    """On 16 GiB two requests of 4 GiB fit beside base and adapter: b = 2."""
    instance = made(arrivals={"process": "regular"}, gpus={"vram_gib": [16.0]})
    assert instance.requests[1].arrival_s == pytest.approx((3.6 + 1.16) / 2, abs=1e-3)


@pytest.mark.parametrize(
    ("mode", "count", "demand", "weight"),
    [
        ("split", 3, 4.0, 2.0),
        ("group", 3, 4.0, 2.0),
        ("share", 3, 4.0, 2 / 3),
        ("stack", 1, 12.0, 2.0),
        ("one", 1, 4.0, 2.0),
    ],
)
def test_images(mode: str, count: int, demand: float, weight: float) -> None:
    instance = made(
        requests=2,
        images={"count": {"values": [3]}, "mode": mode},
        terms={"weight": {"values": [2]}},
    )
    assert len(instance.requests) == 2 * count
    assert {r.demand["vram_gib"] for r in instance.requests} == {demand}
    assert {r.weight for r in instance.requests} == {weight}
    assert len({r.id for r in instance.requests}) == 2 * count
    assert len({r.seed for r in instance.requests}) == 2 * count


def test_images_of_a_request_are_its_group() -> None:
    """The same instance as ``split``, but for the groups; one image is a group too."""
    images = {"count": {"values": [1, 3]}}
    split, grouped = (made(requests=9, images={**images, "mode": m}) for m in ("split", "group"))
    assert {r.group for r in split.requests} == {UNSET}
    assert [replace(r, group=UNSET) for r in grouped.requests] == list(split.requests)
    assert [r.group for r in grouped.requests] == [r.id.partition(".")[0] for r in split.requests]
    assert Counter(Counter(r.group for r in grouped.requests).values()).keys() == {1, 3}


def test_options_are_the_pruned_steps_below_the_full_ones() -> None:
    instance = made(steps={"full": {"values": [30]}, "pruned": [20, 10, 40]})
    assert [o.steps for o in instance.requests[0].options] == [10, 20, 30]
    qualities = [o.quality for o in instance.requests[0].options]
    assert qualities == sorted(qualities)


def test_sizes_change_the_memory() -> None:
    instance = made(sizes=[{"width": 512, "height": 512}], service={"profile": "a100-40g"})
    assert {r.demand["vram_gib"] for r in instance.requests} == {0.5959}
    assert {(r.width, r.height) for r in instance.requests} == {(512, 512)}


def test_profile_gives_service_memory_and_grid() -> None:
    instance = made(service={"profile": "a100-40g"})
    assert instance.tick_s == 0.05
    assert msgspec.to_builtins(instance.service)["step_s"] == {"base": 0.03, "per_sample": 0.118}
    assert instance.base_vram_gib == 6.7334
    assert instance.gpus[0].capacity == {"vram_gib": 40.0, "batch": 21.0}
    assert {a.load_s for a in instance.adapters} == {1.153}


def test_unequal_gpus_take_the_memory_in_turn() -> None:
    instance = made(gpus={"count": 3, "vram_gib": [40, 24], "batch": 5})
    assert [g.capacity["vram_gib"] for g in instance.gpus] == [40.0, 24.0, 40.0]
    assert {g.capacity["batch"] for g in instance.gpus} == {5.0}


def test_popular_residents_start_on_different_gpus() -> None:
    instance = made(gpus={"count": 2, "resident": "popular"}, switching={"max_resident": 2})
    wanted = Counter(r.adapter for r in instance.requests).most_common()
    residents = [name for gpu in instance.gpus for name in gpu.resident]
    assert residents[0] == wanted[0][0]
    assert len(set(residents)) == 4


@pytest.mark.parametrize(
    ("parts", "feature"),
    [
        ({}, Feature.OPTIONS),
        ({"gpus": {"count": 2}}, Feature.GPUS),
        ({"service": {"kind": "slot"}}, Feature.SLOT),
        ({"switching": {"max_resident": 2}}, Feature.RESIDENT),
        ({"switching": {"max_resident": 2, "max_per_batch": 2}}, Feature.MIXED_BATCH),
        ({"switching": {"pairs_spread": 0.5}}, Feature.PAIRS),
        ({"switching": {"max_resident": 2, "channels": 2}}, Feature.OVERLAP),
        ({"switching": {"max_resident": 2, "activate_s": 0.1}}, Feature.ACTIVATE),
        ({"terms": {"deadline_share": 1, "late_price": 1}}, Feature.DEADLINES),
        ({"terms": {"reject_share": 1}}, Feature.REJECTION),
        ({"gpus": {"resident": "popular"}}, Feature.INITIAL),
        ({"terms": {"horizon_slack": 1}}, Feature.HORIZON),
    ],
)
def test_every_feature_can_be_generated(parts: dict[str, Any], feature: Feature) -> None:
    assert feature in features(Problem(made(**parts)))


def test_rejection_costs_the_best_quality_by_default() -> None:
    plain = made(terms={"reject_share": 1})
    assert all(r.reject_loss == max(o.quality for o in r.options) for r in plain.requests)
    told = made(terms={"reject_share": 1, "reject_loss": 3})
    assert {r.reject_loss for r in told.requests} == {3.0}


def test_pairs_stay_within_their_spread() -> None:
    instance = made(switching={"pairs_spread": 0.5})
    n = len(instance.adapters)
    assert len(instance.switching.pairs) == n + n * (n - 1)
    assert all(0.58 <= pair.load_s <= 1.74 for pair in instance.switching.pairs)


def test_tier_gives_the_load_time() -> None:
    instance = made(service={"profile": "tiers"}, switching={"tier": "disk"})
    assert all(0.8 <= a.load_s <= 1.1 for a in instance.adapters)
    assert instance.switching.activate_s == 0.06


def test_base_is_free_to_load() -> None:
    instance = made(popularity={"base_share": 1})
    (base,) = instance.adapters
    assert (base.id, base.load_s, base.vram_gib) == ("base", 0.0, 0.0)


def test_request_that_fits_no_gpu_is_refused() -> None:
    with pytest.raises(InputError, match="request 'r0' cannot be served: it fits no GPU"):
        made(gpus={"vram_gib": [10.0]})


@pytest.mark.parametrize(
    "parts",
    [
        {"arrivals": {"process": "sometimes"}},
        {"arrivals": {"load": 0}},
        {"popularity": {"depths": [2, 1], "hits": [0.1, 0.2]}},
        {"popularity": {"depths": [1], "hits": []}},
        {"images": {"count": {"values": [1, 2], "shares": [1]}}},
        {"switching": {"max_resident": 2, "pairs_spread": 0.1}},
        {"switching": {"channels": 0}},
        {"switching": {"channels": 1, "pairs_spread": 0.1}},
        {"switching": {"channels": 1}, "service": {"kind": "slot"}},
        {"requests": -1},
        {"colour": 1},
    ],
)
def test_wrong_recipes_are_refused(parts: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(parts, Recipe)
