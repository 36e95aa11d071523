"""The page of answers is what the committed results give, and its verdicts follow the figures."""

from __future__ import annotations

import math
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.questions import (
    overlap,
    page,
    ranking,
    reading,
    routing,
    statistics,
    timers,
    words,
)
from experiments.questions.statistics import Interval


def narrow(mean: float) -> Interval:
    """An interval a hundredth wide."""
    return Interval(mean, mean - 0.005, mean + 0.005, 10)


@pytest.fixture(scope="module")
def answers() -> list[words.Answer]:
    """The answers, made once."""
    return page.answers()


def test_the_page_is_what_the_results_give(answers: list[words.Answer]) -> None:
    """Writing the page again changes nothing."""
    assert page.text(answers).encode() == (reading.EXPERIMENTS / "answers.md").read_bytes()


def test_every_picture_is_there_and_can_be_drawn_again(answers: list[words.Answer]) -> None:
    """Each is a sound SVG file with a description, and its drawing does not fail."""
    pictures = [picture for answer in answers for picture in answer.pictures]
    folder = reading.EXPERIMENTS / page.PICTURES
    assert {f"{picture.name}.svg" for picture in pictures} == {f.name for f in folder.iterdir()}
    for picture in pictures:
        for svg in ((folder / f"{picture.name}.svg").read_text("utf-8"), picture.draw()):
            root = ElementTree.fromstring(svg)  # noqa: S314 (our own)
            assert root.get("aria-label") == picture.caption
            assert len(list(root.iter())) > 20


def test_no_instance_lacks_a_policy() -> None:
    """Every comparison is paired: each solver of a run file has a schedule for every instance."""
    for experiment in (*(q.EXPERIMENT for q in page.QUESTIONS), ranking.DEFAULTS, overlap.SMALL):
        cases = reading.read(experiment)
        solvers = {spec for case in cases for spec in case.rows}
        assert all(set(case.rows) == solvers for case in cases), experiment


@given(st.lists(st.floats(0.1, 10.0), min_size=1, max_size=20))
def test_a_mean_lies_within_its_interval_and_its_values(values: list[float]) -> None:
    """For both means; ratios turned upside down give the mean turned upside down."""
    for found in (statistics.mean(values), statistics.mean_ratio(values)):
        assert min(values) * (1 - 1e-9) <= found.low <= found.high <= max(values) * (1 + 1e-9)
        assert found.count == len(values)
    forth = statistics.mean_ratio(values)
    back = statistics.mean_ratio([1 / value for value in values])
    assert forth.mean * back.mean == pytest.approx(1.0)


def test_an_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    """Of 200 samples of 40 normal numbers, 95 % give or take."""
    rng = np.random.default_rng(5)
    found = [statistics.mean(rng.normal(3.0, 1.0, 40).tolist()) for _ in range(200)]
    assert 0.88 <= sum(f.low <= 3.0 <= f.high for f in found) / 200 <= 0.99


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12))
def test_kendall_counts_pairs(pairs: list[tuple[int, int]]) -> None:
    """Tau-b against its definition by pairs."""
    agree = sum(int(np.sign(a[0] - b[0]) * np.sign(a[1] - b[1])) for a, b in combinations(pairs, 2))
    one, two = (sum(a[i] != b[i] for a, b in combinations(pairs, 2)) for i in (0, 1))
    expected = agree / math.sqrt(one * two) if one and two else 0.0
    first, second = (np.array([pair[i] for pair in pairs], dtype=float) for i in (0, 1))
    assert statistics.kendall(first, second) == pytest.approx(expected)


def test_verdicts_follow_the_figures() -> None:
    """The words for a timer and for routing are those of the intervals."""

    def places(mean: float) -> timers.Found:
        loads = (0.3, 0.5, 0.7, 0.9)
        return {
            timers.Place(False, 3, x): dict.fromkeys(timers.TIMERS, narrow(mean)) for x in loads
        }

    assert timers.short(places(0.8)).startswith("Yes: at 4 of 4 ")
    assert timers.short(places(1.2)).startswith("No: ")
    assert timers.short(places(1.001)).endswith("at 0 some raise it.")
    row = dict.fromkeys(routing.ROUTES, narrow(1.0))
    assert routing.short({"spread": row}).startswith("No difference")
    assert routing.short({"spread": row | {"cost-aware": narrow(0.7)}}).startswith("Yes")
    assert routing.short({"spread": row | {"cost-aware": narrow(1.4)}}).startswith("No: it raises")


@pytest.mark.parametrize(
    ("value", "told"),
    [(1.004, "the same"), (1.2, "20 % more"), (0.75, "25 % less"), (7.0, "7.00 times as much")],
)
def test_ratios_in_words(value: float, told: str) -> None:
    assert words.more(value) == told


def test_lists_in_words() -> None:
    assert [words.listed(x) for x in (["a"], ["a", "b"], ["a", "b", "c"])] == [
        "a",
        "a and b",
        "a, b and c",
    ]
