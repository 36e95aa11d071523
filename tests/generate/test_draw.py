"""Seeded draws: their distributions, and that a seed is a seed."""

from __future__ import annotations

import numpy as np
import pytest

from pats_opt.generate import draw
from pats_opt.generate.config import Mix
from pats_opt.generate.profile import LoadTime
from pats_opt.generate.recipe import Arrivals, Complexity, ImageSize, Popularity

MANY = 200_000


@pytest.mark.parametrize(
    ("spec", "cv"),
    [
        (Arrivals(), 1.0),
        (Arrivals(process="bursty", cv=4.0), 4.0),
        (Arrivals(process="bursty", cv=1.5), 1.5),
        (Arrivals(process="bursty", cv=0.5), 0.5),
        (Arrivals(process="bursty", cv=0.0), 0.0),
        (Arrivals(process="regular"), 0.0),
    ],
)
def test_gaps_have_the_given_mean_and_variation(spec: Arrivals, cv: float) -> None:
    gaps = draw.gaps(spec, 2.0, MANY, draw.stream(3, "arrivals"))
    assert gaps.min() >= 0
    assert gaps.mean() == pytest.approx(2.0, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05, abs=1e-9)


def test_all_at_once_arrives_at_zero() -> None:
    times = draw.arrivals(Arrivals(process="at-once"), 5.0, 4, draw.stream(0, "arrivals"))
    assert times == [0.0] * 4


def test_arrivals_start_at_zero_and_never_go_back() -> None:
    times = draw.arrivals(Arrivals(), 1.0, 500, draw.stream(0, "arrivals"))
    assert times[0] == 0.0
    assert times == sorted(times)


def test_zipf_popularity() -> None:
    """Adapter i is drawn in proportion to 1 / (i + shift) ** s."""
    spec = Popularity(adapters=3, zipf=1.0, shift=1.0)
    ids = draw.adapters(spec, MANY, draw.stream(0, "adapters"))
    shares = [ids.count(f"lora-{i}") / MANY for i in (1, 2, 3)]
    weights = np.array([1 / 2, 1 / 3, 1 / 4])
    assert shares == pytest.approx(list(weights / weights.sum()), abs=0.01)


def test_base_share_goes_without_adapter() -> None:
    ids = draw.adapters(Popularity(base_share=0.3), MANY, draw.stream(0, "adapters"))
    assert ids.count(draw.BASE) / MANY == pytest.approx(0.3, abs=0.01)


def test_recency_gives_the_stated_cache_hits() -> None:
    """Under least-recent eviction a cache of k hits at least as often as the recency says."""
    spec = Popularity(adapters=5000, zipf=0.0, depths=(1, 2, 4), hits=(0.4, 0.6, 0.7))
    ids = draw.adapters(spec, 20_000, draw.stream(1, "adapters"))
    for k, share in zip(spec.depths, spec.hits, strict=True):
        cache: list[str] = []
        hits = 0
        for name in ids:
            hits += name in cache
            cache = [name, *(other for other in cache if other != name)][:k]
        assert hits / len(ids) == pytest.approx(share, abs=0.02)


def test_complexities_stay_around_their_levels_and_in_range() -> None:
    spec = Complexity(levels=Mix(values=(0.0, 0.9), shares=(1, 3)), spread=0.2)
    drawn = draw.complexities(spec, 5000, draw.stream(0, "complexity"))
    assert all(0 <= c <= 0.2 or 0.7 <= c <= 1 for c in drawn)
    assert sum(c > 0.5 for c in drawn) / 5000 == pytest.approx(0.75, abs=0.03)


def test_sizes_by_share() -> None:
    choices = (ImageSize(share=1), ImageSize(width=512, height=512, share=3))
    drawn = draw.sizes(choices, 5000, draw.stream(0, "sizes"))
    assert sum(size.width == 512 for size in drawn) / 5000 == pytest.approx(0.75, abs=0.03)


def test_load_times_have_the_quantiles_given() -> None:
    spec = LoadTime(levels=(0.05, 0.5, 0.95), seconds=(1.0, 4.0, 7.0))
    drawn = np.array(draw.load_times(spec, MANY, draw.stream(0, "load times")))
    assert np.quantile(drawn, [0.05, 0.25, 0.5, 0.95]) == pytest.approx(
        [1.0, 1 + 3 * 0.2 / 0.45, 4.0, 7.0], abs=0.05
    )
    assert (drawn.min(), drawn.max()) == (1.0, 7.0)


def test_components_have_streams_of_their_own() -> None:
    """Another component or another seed gives other numbers; the same ones the same."""
    first = draw.stream(0, "a").random(4).tolist()
    assert first == draw.stream(0, "a").random(4).tolist()
    assert first != draw.stream(0, "b").random(4).tolist()
    assert first != draw.stream(1, "a").random(4).tolist()
