"""The bound by a price of the GPU: below the optimum, and equal to it where adapters are apart."""

from __future__ import annotations

from typing import Any

import pytest

from pats_opt.errors import InputError
from pats_solvers.semi_markov.optimum import online_optimum
from pats_solvers.semi_markov.priced import priced_bound
from tests.semi_markov.systems import system

DEAR: dict[str, Any] = {"load_s": 9.0, "price_per_s": 10.0}

#: Systems, and the share of the optimum that the bound reaches at least: where requests wait for
#: those of other adapters it is loose.
CASES = {
    "busy": (system({"a": 0.25, "b": 0.2}), 0.2),
    "batches": (system({"a": 0.2, "b": 0.2}, options=((3, 1.0), (1, 0.4)), batch=3), 0.8),
    "dear switches": (system({"a": 0.03, "b": 0.03}, **DEAR), 0.98),
    "unequal": (system({"a": 0.04, "b": 0.01}, batch=2, **DEAR), 0.8),
    "three": (system({"a": 0.03, "b": 0.03, "c": 0.02}, **DEAR), 0.9),
    "two kinds": (system({"a": 0.1, "a2": 0.1, "b": 0.2}, price_per_s=1.0), 0.4),
    "switches of no time": (system({"a": 0.2, "b": 0.2}, load_s=0.0), 0.4),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_below_the_optimum_and_not_far(name: str) -> None:
    """No policy loses less, whatever the limits of the queues."""
    (site, kinds), share = CASES[name]
    best = online_optimum(site, kinds, 8, tolerance=1e-2)
    found = priced_bound(site, kinds, 12, tolerance=1e-3)
    assert share * best.lower <= found.lower <= best.upper
    assert priced_bound(site, kinds, 2, tolerance=1e-3).lower <= best.upper


def test_one_adapter_needs_no_price() -> None:
    """There the bound is the optimum but for the switch, which is made once."""
    site, kinds = system({"a": 0.3}, options=((2, 1.0), (1, 0.5)), batch=2)
    best = online_optimum(site, kinds, 20)
    assert priced_bound(site, kinds, 40).lower == pytest.approx(best.lower, rel=2e-3)


def test_several_residents_are_refused() -> None:
    site, kinds = system({"a": 0.2, "b": 0.2}, max_resident=2)
    with pytest.raises(InputError, match="one adapter at a time"):
        priced_bound(site, kinds, 10)
