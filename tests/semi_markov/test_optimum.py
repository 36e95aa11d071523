"""The online optimum: against plain value iteration, and where theory knows it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pats_opt.errors import InputError
from pats_solvers.semi_markov.arrivals import count_table, poisson
from pats_solvers.semi_markov.decisions import DecisionTable
from pats_solvers.semi_markov.iteration import OverflowLoss, TruncatedModel, solve
from pats_solvers.semi_markov.loader import LoadingTable
from pats_solvers.semi_markov.optimum import OptimumResult, online_optimum
from pats_solvers.semi_markov.table import PolicyTable
from tests.semi_markov.plain_values import PlainLoader, PlainProcess, plain_optimum
from tests.semi_markov.systems import system

#: One channel of a loader, and two residents.
LOADER: dict[str, Any] = {"max_resident": 2, "overlap": {"channels": 1}}

CASES = {
    "one resident": system(
        {"a": 0.3, "b": 0.2}, options=((2, 1.0), (1, 0.4)), batch=2, price_per_s=0.5
    ),
    "two residents": system(
        {"a": 0.3, "b": 0.2, "c": 0.2}, load_s=2.0, max_resident=2, activate_s=1.0
    ),
    "mixed batches": system(
        {"a": 0.3, "b": 0.4}, batch=2, max_resident=2, max_per_batch=2, activate_s=1.0
    ),
    "two kinds": system({"a": 0.2, "a2": 0.3}, options={"a": ((3, 1.0),), "a2": ((1, 1.0),)}),
}


@pytest.mark.parametrize("name", CASES)
def test_against_plain_value_iteration(name: str) -> None:
    """The truncated process has the same least loss as one built from the simulator's rules."""
    site, kinds = CASES[name]
    none, limit, over = np.zeros(len(kinds)), 2, 7.0
    limits = [limit] * len(kinds)
    listed = DecisionTable(site, kinds, limits)
    model = TruncatedModel(site, kinds, limits, OverflowLoss(none + over, none, none), listed)
    found = solve(model, 1e-7)
    assert found.upper - found.lower <= 1e-6 * found.upper
    low, high = plain_optimum(PlainProcess(site, kinds, limit, over), sweeps=120)
    assert high - low < 0.02 * high
    assert low - 1e-6 <= found.upper
    assert found.lower <= high + 1e-6


#: Loads beside serving, each with the longest queue.
BESIDE = {
    "three adapters": (1, system({"a": 0.2, "b": 0.1, "c": 0.1}, load_s=3.0, **LOADER)),
    "one resident": (
        2,
        system(
            {"a": 0.2, "b": 0.2},
            options=((3, 1.0), (1, 0.4)),
            batch=2,
            load_s=2.0,
            **LOADER | {"max_resident": 1, "price_per_s": 0.5},
        ),
    ),
}


@pytest.mark.parametrize("name", BESIDE)
def test_loads_beside_serving_against_plain_value_iteration(name: str) -> None:
    """Jumps to where something can be decided leave out no policy of the simulator's rules."""
    limit, (site, kinds) = BESIDE[name]
    none, over = np.zeros(len(kinds)), 7.0
    limits = [limit] * len(kinds)
    listed = LoadingTable(site, kinds, limits)
    model = TruncatedModel(site, kinds, limits, OverflowLoss(none + over, none, none), listed)
    found = solve(model, 1e-7)
    assert found.upper - found.lower <= 1e-6 * found.upper
    low, high = plain_optimum(PlainLoader(site, kinds, limit, over), sweeps=200)
    assert high - low < 0.02 * high
    assert low - 1e-6 <= found.upper
    assert found.lower <= high + 1e-6


def test_a_loader_that_has_loaded_all_is_the_queue_of_constant_service() -> None:
    """M/D/1: both adapters fit, so only the first loads take time."""
    site, kinds = system({"a": 0.1, "b": 0.1}, options=((3, 1.0),), load_s=2.0, **LOADER)
    load = 0.6
    wait = work(0.6, 9 * (0.2 + 0.2**2)) - load / 2
    close(online_optimum(site, kinds, 24, tolerance=1e-5), 0.2 * (wait + 3))


def test_loads_beside_serving_lose_less_than_those_that_stop_the_gpu() -> None:
    """Of three adapters two are resident; the bounds tell the two optima apart."""
    rates = {"a": 0.1, "b": 0.08, "c": 0.06}
    stopping = online_optimum(*system(rates, load_s=3.0, max_resident=2), 5, tolerance=1e-3)
    beside = online_optimum(*system(rates, load_s=3.0, **LOADER), 5, tolerance=1e-3)
    assert 0.0 < beside.lower <= beside.found < stopping.lower


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overlap": {"channels": 2}}, r"switching\.channels: several loads at a time"),
        ({"activate_s": 1.0}, r"switching\.activate_s: activations that take time"),
        ({"load_s": 0.0}, r"switching\.load_s: an adapter whose load beside serving takes no time"),
        ({"load_s": 1e6}, r"take about .* GiB.*a longer service\.tick_s"),
    ],
)
def test_loads_beside_serving_that_are_refused(changes: dict[str, Any], message: str) -> None:
    """What the decisions lack is named with a mend."""
    with pytest.raises(InputError, match=message):
        online_optimum(*system(dict.fromkeys("ab", 0.01), **LOADER | changes), 2)


def work(rate: float, moment: float) -> float:
    """Mean work in a queue at a tick, arrivals of that tick included (Lindley's recursion).

    Args:
        rate: Mean work that arrives in a tick.
        moment: Its second moment.
    """
    return (rate - 2 * rate**2 + moment) / (2 * (1 - rate))


def close(found: OptimumResult, per_tick: float) -> None:
    """Assert that a loss per tick is known, and that the bounds have it."""
    assert found.lower <= per_tick * (1 + 1e-9)
    assert found.upper >= per_tick * (1 - 1e-9)
    assert found.upper - found.lower <= 2e-3 * per_tick


def test_one_adapter_is_the_queue_of_constant_service() -> None:
    """M/D/1 on the grid: nothing is left to decide."""
    site, kinds = system({"a": 0.2}, options=((3, 1.0),))
    found = online_optimum(site, kinds, 40, tolerance=1e-5)
    load = 0.6
    wait = work(load, 9 * (0.2 + 0.2**2)) - load / 2
    close(found, 0.2 * (wait + 3))


def test_conservation_of_weighted_waits() -> None:
    """M/G/1 with weights in proportion to service: every order without idling is as good."""
    rates = {"a": 0.1, "a2": 0.2}
    site, kinds = system(
        rates, options={"a": ((4, 1.0),), "a2": ((1, 1.0),)}, weights={"a": 4.0, "a2": 1.0}
    )
    found = online_optimum(site, kinds, 30, tolerance=1e-5)
    load, square = 0.6, 16 * 0.1 + 0.2
    waits = load * (work(load, square + load**2) - load / 2)
    close(found, waits + square)


def row(table: PolicyTable, resident: str) -> np.ndarray:
    """The decisions of the GPU that holds an adapter and has not switched ahead."""
    modes = [m.resident == (resident,) and not m.ahead for m in table.modes]
    sizes = [kind.limit + 1 for kind in table.kinds]
    return np.array(table.best[modes.index(True)]).reshape(sizes)


def test_symmetric_queues_are_served_exhaustively() -> None:
    """Hofri and Ross 1987: one serves the queue at hand until it is empty."""
    site, kinds = system({"a": 0.15, "b": 0.15}, load_s=3.0)
    table = online_optimum(site, kinds, 12).table
    for resident, turn in (("a", 0), ("b", 1)):
        decided = row(table, resident)
        decided = decided if turn == 0 else decided.T
        for own in range(1, 8):
            for other in range(8):
                members = table.decisions[decided[own, other]].members
                assert decided[own, other] >= 0
                assert members == ((turn, 0, 1),)


def test_one_adapter_in_batches_has_a_threshold() -> None:
    """Deb and Serfozo 1973: wait below a number of requests, else serve as many as fit."""
    site, kinds = system({"a": 0.6}, options=((6, 1.0),), batch=6)
    found = online_optimum(site, kinds, 24)
    decided = row(found.table, "a")
    waits = [n for n in range(25) if decided[n] < 0]
    assert waits == list(range(len(waits)))
    assert 1 < len(waits) < 6
    for n in range(len(waits), 20):
        assert found.table.decisions[decided[n]].members == ((0, 0, min(n, 6)),)


def test_dear_switches_between_unequal_adapters_converge() -> None:
    """Values may fall in a sweep before they settle; that is no reason to stop there."""
    site, kinds = system(
        {"a": 0.0156, "b": 0.0055},
        options=((3, 1.0), (1, 0.5)),
        batch=4,
        load_s=90.0,
        price_per_s=10.0,
    )
    found = online_optimum(site, kinds, 16, tolerance=1e-3)
    assert found.upper - found.lower <= 3e-3 * found.upper


def test_longer_queues_bring_the_bounds_together() -> None:
    """Bounds hold at every truncation: those of short queues hold for long ones."""
    site, kinds = system({"a": 0.25, "b": 0.1}, batch=2, load_s=2.0)
    results = [online_optimum(site, kinds, limit, tolerance=1e-6) for limit in (4, 8, 16)]
    best = results[-1]
    assert best.upper - best.lower < 1e-4 * best.upper
    for result in results:
        assert result.lower <= best.upper
        assert result.upper >= best.lower
    assert results[0].lower < results[1].lower


def test_unstable_load_is_refused() -> None:
    """The message has the load."""
    site, kinds = system({"a": 0.6}, options=((2, 1.0), (3, 1.0)))
    with pytest.raises(InputError, match=r"the load is 1\.2: .*lower arrivals"):
        online_optimum(site, kinds, 10)


def test_too_many_states_are_refused() -> None:
    """The message has the estimate and a length of queues that fits."""
    site, kinds = system(dict.fromkeys("abcde", 0.01))
    with pytest.raises(InputError, match=r"take about .* GiB.*--queue 6 or less"):
        online_optimum(site, kinds, 20, memory_gib=0.05)


def test_counts_beyond() -> None:
    """Expected counts above a number of places, and their squares, are sums over the counts."""
    table = count_table([0.7], [3], [8])
    shares = poisson(2.1, 60)
    for room in range(9):
        beyond = [(k - room, share) for k, share in enumerate(shares) if k > room]
        assert table.over[0, 0, room] == pytest.approx(sum(e * p for e, p in beyond))
        assert table.over_squares[0, 0, room] == pytest.approx(sum(e * e * p for e, p in beyond))
        assert table.beyond[0, 0, room] == pytest.approx(shares[room:].sum())
    assert math.isclose(shares.sum(), 1.0)


def test_a_queue_too_short_for_the_load_is_not_proven() -> None:
    """Then there is no upper bound; the lower one holds, as the queue of constant service shows."""
    site, kinds = system({"a": 0.47}, load_s=1.0)
    found = online_optimum(site, kinds, 8)
    assert found.upper == math.inf
    load = 0.94
    wait = work(load, 4 * (0.47 + 0.47**2)) - load / 2
    assert 0.0 < found.lower <= 0.47 * (wait + 2) <= found.found
