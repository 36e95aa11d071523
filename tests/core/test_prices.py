"""GPU-time prices travel with a schedule, and what is not prices is left alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import pats_opt
from pats_opt.core.prices import prices_of
from pats_opt.model.instance import Instance
from pats_opt.model.parsing import convert
from tests.support import zoo

INSTANCE = convert(zoo.leaving_an_adapter_early().document, Instance)


@pytest.mark.parametrize("solver", ["lagrangian", "dp", "exact", "auto"])
def test_a_schedule_keeps_the_prices_of_its_solver(solver: str) -> None:
    result = pats_opt.solve(INSTANCE, solver, time_limit=20)
    found = prices_of(result.schedule)
    assert found is not None
    assert list(found.gpus[0].hold) == result.details["prices"]["gpus"][0]["hold"]


def test_an_online_policy_has_none() -> None:
    assert prices_of(pats_opt.solve(INSTANCE, "pats").schedule) is None


@pytest.mark.parametrize(
    "extra",
    [{}, {"prices": 3}, {"prices": {"tick_s": 0, "gpus": []}}, {"prices": {"tick_s": "<b>"}}],
)
def test_what_is_no_prices_is_ignored(extra: dict[str, Any]) -> None:
    """``extra`` is anybody's, so its content may be anything."""
    schedule = pats_opt.solve(INSTANCE, "pats").schedule
    assert prices_of(msgspec.structs.replace(schedule, extra=extra)) is None
