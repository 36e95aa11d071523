"""The benchmark of dispatch: its page is that of its runs, and says what the guide says."""

from __future__ import annotations

import csv
import math

import pytest

from benchmarks import dispatch


@pytest.fixture
def found() -> list[dispatch.Run]:
    """The runs, from the results."""
    with (dispatch.RESULTS / "dispatch.csv").open(encoding="utf-8", newline="") as file:
        return [
            dispatch.Run(way, float(load), int(seed), rule, float(mean), float(p99), int(loads))
            for way, load, seed, rule, mean, p99, loads in list(csv.reader(file))[1:]
        ]


def test_the_page_is_that_of_the_runs(found: list[dispatch.Run]) -> None:
    page = (dispatch.RESULTS / "dispatch.md").read_text(encoding="utf-8")
    assert dispatch.page(found) == page
    cases = len(dispatch.WAYS) * len(dispatch.LOADS) * len(dispatch.SEEDS)
    assert len(found) == cases * len(dispatch.dispatches())


def price(found: list[dispatch.Run], way: str, load: float, rule: str) -> float:
    """Mean logarithm of a rule's latency over that of the central queue."""
    at = {(r.seed, r.dispatch): r.latency_mean_s for r in found if (r.way, r.load) == (way, load)}
    logs = [math.log(at[seed, rule] / at[seed, "central"]) for seed in dispatch.SEEDS]
    return math.fsum(logs) / len(logs)


def test_the_guide_says_what_the_runs_say(found: list[dispatch.Run]) -> None:
    """Rules that look at loads alone, plain hashing, stealing, saturation; loads beside serving."""
    low, high = dispatch.LOADS
    blocking, beside = dispatch.WAYS
    for load in dispatch.LOADS:
        for rule in ("round-robin", "join-shortest-queue", "power-of-two", "least-work"):
            assert price(found, blocking, load, rule) > math.log(4)
            assert abs(price(found, beside, load, rule)) < math.log(1.2)
        assert price(found, blocking, load, "hash") > math.log(4)
        assert 0 < price(found, blocking, load, "hash:steal=true") < math.log(1.5)
        assert price(found, beside, load, "earliest-completion") < 0
    for rule in ("earliest-completion", "bounded-hash", "dualmap"):
        assert price(found, blocking, low, rule) < price(found, blocking, high, rule)
