"""Levels of a similarity: strictly above a threshold, the deepest of several."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.caching.levels import CLIP, LEVELS, WORDS, CacheLevels, published


@pytest.mark.parametrize(
    ("similarity", "level"),
    [(0.0, 0), (0.65, 0), (0.6501, 5), (0.75, 5), (0.8, 10), (0.9, 15), (0.91, 20), (0.96, 25)],
)
def test_levels_of_nirvana(similarity: float, level: int) -> None:
    assert CacheLevels().of(similarity) == level


@given(
    st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8]), min_size=1, max_size=5).map(sorted),
    st.sampled_from([0.0, 0.1, 0.2, 0.4, 0.5, 0.6, 0.8, 0.9, 1.0]),
)
def test_a_level_is_the_deepest_whose_threshold_is_exceeded(
    thresholds: list[float], similarity: float
) -> None:
    levels = tuple(range(5, 5 + len(thresholds)))
    plain = max(
        (k for k, low in zip(levels, thresholds, strict=True) if similarity > low), default=0
    )
    assert CacheLevels(levels=levels, thresholds=tuple(thresholds)).of(similarity) == plain


def test_words_never_find_the_level_without_a_threshold_of_its_own() -> None:
    found = published(LEVELS, WORDS)
    assert {found.of(i / 100) for i in range(101)} == {0, 10, 15, 20, 25}
    assert published((10, 25), CLIP) == CacheLevels(levels=(10, 25), thresholds=(0.75, 0.95))


@pytest.mark.parametrize(
    ("levels", "thresholds", "problem"),
    [
        ((5, 10), (0.7, 0.6), "'thresholds' needs one cosine for each of 'levels', none below"),
        ((5, 10), (0.7,), "'thresholds' needs one cosine for each of 'levels', none below"),
        ((10, 5), (0.6, 0.7), "'levels' needs rising numbers of steps"),
        ((5, 5), (0.6, 0.7), "'levels' needs rising numbers of steps"),
        ((), (), "'levels' needs rising numbers of steps, at least one"),
    ],
)
def test_levels_out_of_order(
    levels: tuple[int, ...], thresholds: tuple[float, ...], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        CacheLevels(levels=levels, thresholds=thresholds)
    with pytest.raises(msgspec.ValidationError, match=problem):
        msgspec.convert({"levels": levels, "thresholds": thresholds}, CacheLevels)


def test_a_level_without_a_published_threshold() -> None:
    with pytest.raises(ValueError, match="level 7 has no published threshold; give 'thresholds'"):
        published((5, 7), CLIP)
