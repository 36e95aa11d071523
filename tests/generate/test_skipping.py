"""Quality of skipped steps: the published curve, tables, and the spread over prompts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.errors import InputError
from pats_opt.generate.skipping import (
    normalised,
    published_quality,
    read_skip_table,
    sensitivities,
)

#: Loss of quality at 0, 5, ..., 25 of 50 steps, in percent.
LOST = [0.0, 2.954, 4.192, 5.622, 6.765, 8.48]


@pytest.mark.parametrize("sensitivity", [0.0, 0.5, 1.0, 3.0])
def test_published_curve(sensitivity: float) -> None:
    quality = published_quality()
    found = [quality(k, 50, None, sensitivity) for k in range(0, 30, 5)]
    assert found == pytest.approx([1 - sensitivity * lost / 100 for lost in LOST])
    assert quality(12, 50, None, 1.0) == pytest.approx(1 - (0.6 * 0.04192 + 0.4 * 0.05622))
    assert quality(10, 20, None, 1.0) == quality(25, 50, None, 1.0)


def test_quality_is_never_below_0() -> None:
    assert published_quality()(25, 50, None, 50.0) == 0.0


@given(st.floats(0, 5), st.integers(0, 25), st.integers(0, 25))
def test_quality_falls_with_the_steps_skipped(sensitivity: float, one: int, other: int) -> None:
    quality = published_quality()
    fewer, more = sorted((one, other))
    assert quality(fewer, 50, None, sensitivity) >= quality(more, 50, None, sensitivity)


def test_more_than_was_published_is_refused() -> None:
    with pytest.raises(
        InputError, match="no quality is known of 30 of 50 steps skipped, only up to 50%"
    ):
        published_quality()(30, 50, None, 1.0)


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
def test_sensitivities_have_mean_1_and_the_given_variation(spread: float) -> None:
    """By quantiles in equal steps, which is the integral."""
    drawn = np.array(sensitivities(spread, (np.arange(200_000) + 0.5) / 200_000))
    assert drawn.mean() == pytest.approx(1.0, rel=0.01)
    assert drawn.std() == pytest.approx(spread, rel=0.1)
    assert drawn.min() >= 0


def test_no_spread_is_the_mean_prompt() -> None:
    assert sensitivities(0.0, np.array([0.1, 0.9])) == [1.0, 1.0]
    assert normalised([0.0, 1.0, 3.0]) == [0.0, 0.5, 0.75]
    extremes = sensitivities(1.0, np.array([0.0, 1.0]))
    assert 0 <= extremes[0] < extremes[1] < 1e5


def table(tmp_path: Path, text: str) -> str:
    """A table as a file."""
    path = tmp_path / "table.csv"
    path.write_text(text)
    return str(path)


def test_table_by_similarity(tmp_path: Path) -> None:
    """The curve of the greatest least similarity that is reached; the first one otherwise."""
    found = read_skip_table(
        table(
            tmp_path,
            "similarity,skip,quality\n0.5,0,1\n0.5,20,0.8\n0.9,0,0.98\n0.9,20,0.95\n0.9,20,0.97\n",
        )
    )
    assert found.by_similarity
    assert found(10, 30, 0.6, 1.0) == pytest.approx(0.9)
    assert found(10, 30, None, 1.0) == pytest.approx(0.9)
    assert found(10, 30, 0.9, 1.0) == pytest.approx(0.97)
    assert found(20, 30, 0.95, 2.0) == pytest.approx(0.98 - 2 * 0.02)
    with pytest.raises(InputError, match="of 25 of 30 steps skipped, only up to 20 steps"):
        found(25, 30, 0.6, 1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("skip,qualty\n0,1\n", "needs the columns 'skip' and 'quality'; rename them; it has: skip"),
        ("skip,quality\n", "this table has no rows; add some"),
        ("skip,quality\n0,1\n5,0.9\n10,0.95\n", "quality rises from 0.9 at skip 5 to 0.95 at"),
        ("skip,quality\n5,0.9\n", "similarity 0: there is no row of skip 0; add the quality of"),
        ("skip,quality\n0,1\n5,90\n", "line 3: this row is not skip and quality .out of range"),
        ("skip,quality\n0,1\nfive,0.9\n", "line 3: this row is not skip and quality .invalid"),
        ("skip,quality\n0\n", "line 2: this row is not skip and quality"),
        ("similarity,skip,quality\n7,0,1\n", "line 2: this row is not skip and quality .out of"),
    ],
)
def test_faulty_tables(text: str, expected: str, tmp_path: Path) -> None:
    path = table(tmp_path, text)
    with pytest.raises(InputError, match=expected) as caught:
        read_skip_table(path)
    assert str(caught.value).startswith(path)
