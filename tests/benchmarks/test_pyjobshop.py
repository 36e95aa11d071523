"""PyJobShop's model of the problem has its optimum; skipped where PyJobShop is not installed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import pats_opt
from pats_opt.errors import CapabilityError
from pats_opt.generate import Recipe, generate

pytest.importorskip("pyjobshop", reason="the extra 'benchmark' is not installed")

from benchmarks.pyjobshop_solver import PyJobShop

A100 = {"profile": "a100-40g", "tick_s": 0.6}
DIFFERENT = {"levels": {"values": [0.5]}, "spread": 0.5}


def made(seed: int = 0, **tables: Any) -> pats_opt.Instance:
    """A tiny instance: five requests for two adapters at a high load, with other tables."""
    base = {"requests": 5, "popularity": {"adapters": 2}, "arrivals": {"load": 2.0}}
    return generate(msgspec.convert(base | tables, Recipe), seed=seed)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"service": A100, "complexity": DIFFERENT, "terms": {"latency_price_per_s": 0.01}},
        {"gpus": {"count": 2, "resident": "popular"}, "requests": 4},
        {"service": {"overhead_s": 0.7}, "steps": {"full": {"values": [60]}, "pruned": [20, 40]}},
        {"gpus": {"batch": 2}, "complexity": DIFFERENT},
    ],
    ids=["documents", "a100", "two GPUs", "three options", "small batches"],
)
def test_its_optimum_is_the_optimum(tables: dict[str, Any], seed: int) -> None:
    """And its objective is the loss as the checker has it."""
    instance = made(seed, **tables)
    theirs = pats_opt.solve(instance, PyJobShop(), time_limit=300)
    ours = pats_opt.solve(instance, "exact", time_limit=300)
    assert ours.status.point == theirs.status.point == "optimal"
    assert theirs.loss == pytest.approx(ours.loss, abs=1e-6)
    assert theirs.details["objective"] == pytest.approx(theirs.loss, abs=1e-4)


@pytest.mark.parametrize(
    "switching", [{"max_resident": 2}, {"pairs_spread": 0.8}], ids=["cache", "pairs"]
)
def test_it_proves_nothing_of_what_it_cannot_state(switching: dict[str, Any]) -> None:
    found = pats_opt.solve(made(switching=switching), PyJobShop(), time_limit=300)
    assert found.bound is None
    assert found.loss is not None


def test_requests_of_several_sizes_are_refused() -> None:
    sizes = [{"width": 1024, "height": 1024}, {"width": 1536, "height": 1024}]
    with pytest.raises(CapabilityError, match="several sizes"):
        pats_opt.solve(made(sizes=sizes, seed=1), PyJobShop(), time_limit=1)
