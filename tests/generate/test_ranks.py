"""Memory of adapters by their rank."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from pats_opt import Instance
from pats_opt.generate import Recipe, generate
from pats_opt.generate.profile import load
from pats_opt.generate.ranks import AdapterRanks, lora_gib

RANKS = {"rank": {"values": [8, 16, 64], "shares": [1, 2, 1]}}


def made(ranks: dict[str, Any] | None = None, **parts: Any) -> Instance:
    """An instance of many adapters, without ranks or with these."""
    table = {} if ranks is None else {"ranks": ranks}
    recipe = {"requests": 3000, "popularity": {"adapters": 400, "zipf": 0.0}, **parts, **table}
    return generate(msgspec.convert(recipe, Recipe), seed=3)


def test_formula() -> None:
    """A layer of 4 x 4 weights at rank 2 gets 2 x 4 and 4 x 2 weights."""
    assert lora_gib(2, hidden=4, layers=1, bytes_per_weight=4) * 2**30 == (8 + 8) * 4


def test_default_sizes_are_those_of_sdxl() -> None:
    """Counted on its UNet, the attention has 1,451,520 weights per rank."""
    assert AdapterRanks().gib(1) * 2**30 / 2 == pytest.approx(1_451_520, rel=0.013)
    assert AdapterRanks().gib(16) == pytest.approx(load("h100-80g").memory.adapter_gib, rel=0.02)
    assert AdapterRanks().gib(64) == pytest.approx(load("documents").memory.adapter_gib, rel=0.02)


def test_adapters_draw_their_ranks_by_share() -> None:
    counts = Counter(adapter.vram_gib for adapter in made(RANKS).adapters)
    assert sorted(counts) == [0.0214, 0.0428, 0.1709]
    few, many, most = (counts[gib] for gib in sorted(counts))
    assert many == pytest.approx(200, abs=40)
    assert few == pytest.approx(100, abs=40)
    assert most == pytest.approx(100, abs=40)


def test_ranks_change_the_memory_and_nothing_else() -> None:
    plain = msgspec.to_builtins(made(arrivals={"rate_per_s": 1.0}))
    other = msgspec.to_builtins(made(RANKS, arrivals={"rate_per_s": 1.0}))
    assert {a.pop("vram_gib") for a in plain["adapters"]} == {0.17}
    assert len({a.pop("vram_gib") for a in other["adapters"]}) == 3
    assert plain == other


def test_sizes_scale_the_memory() -> None:
    small = {"rank": {"values": [16]}, "hidden": 640, "layers": 280, "bytes": 4}
    assert {a.vram_gib for a in made(small).adapters} == {0.0214}


def test_model_without_adapter_has_no_rank() -> None:
    (base,) = made(RANKS, popularity={"base_share": 1.0}).adapters
    assert (base.id, base.vram_gib) == ("base", 0.0)


def test_offered_load_counts_the_memory() -> None:
    """Adapters of 7 GiB leave room for 2 requests beside the base model's 7 GiB, not for 4."""
    ranks = {"rank": {"values": [2621]}}
    regular = {"arrivals": {"process": "regular"}, "gpus": {"vram_gib": [23.0]}}
    gaps = [made(table, **regular).requests[1].arrival_s for table in (None, ranks)]
    assert gaps == [pytest.approx(4.76 / n, abs=1e-3) for n in (3, 2)]


@pytest.mark.parametrize("rank", [0, 0.5, 8.5, -8, float("nan"), float("inf"), 1e9])
def test_a_rank_is_a_positive_whole_number(rank: float) -> None:
    with pytest.raises(msgspec.ValidationError, match="'rank' needs whole numbers from 1"):
        msgspec.convert({"ranks": {"rank": {"values": [rank]}}}, Recipe)
