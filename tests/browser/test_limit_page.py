"""The page of a limit in a browser: it fits a telephone, and everyone can use it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize

from pats_opt.limits.limit import LimitReport, OnlineBounds
from pats_opt.limits.page import page as limit_page
from pats_opt.limits.sampling import OfflineEstimate, PolicyEstimate
from tests.support.browser import NARROW, WIDE, barriers, overflow, too_wide, visit


def estimate(policy: str, mean: float, more: float) -> PolicyEstimate:
    return PolicyEstimate(
        policy=policy,
        mean=mean,
        interval=(0.9 * mean, 1.1 * mean),
        gives_away=more,
        gives_away_interval=(0.9 * more, 1.1 * more),
        requests=4945,
        growing=False,
    )


@pytest.fixture
def written(tmp_path: Path) -> Path:
    report = LimitReport(
        rate_per_s=0.51234567,
        load=0.8,
        kinds=4,
        queue=20,
        states=123456,
        online=OnlineBounds(loss=0.4, lower=0.39, upper=0.41, loss_per_s=0.2),
        priced=None,
        offline=OfflineEstimate(
            low=0.3, high=0.3, interval=(0.29, 0.31), windows=(24, 48), paths=8, proven=16
        ),
        policies=(
            estimate("online-optimum", 0.4, 0.0),
            estimate("exhaustive:option=fewest:max_wait_s=null:eviction=lru", 0.5, 0.1),
        ),
        future=0.1,
        seconds=4945.1512,
    )
    path = tmp_path / "limit.html"
    path.write_text(limit_page(report, "<b>two</b>"), encoding="utf-8")
    return path


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["desktop", "telephone"])
def test_it_fits_and_everyone_can_use_it(page: Page, written: Path, size: ViewportSize) -> None:
    """A gap is of the policy's own loss: 0.1 of 0.5."""
    page.set_viewport_size(size)
    visit(page, written)
    assert overflow(page) == 0
    assert too_wide(page) == []
    assert barriers(page) == []
    said = page.inner_text("main")
    assert "a gap of 20 % to the online optimum" in said
    assert "a gap of 25 % to the offline optimum" in said
