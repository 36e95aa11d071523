"""The page of a plan in a browser: it fits a telephone, figures too, and everyone can use it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize

from pats_opt.cli import run
from pats_opt.model.files import encode
from tests.report.examples import document
from tests.support.browser import NARROW, WIDE, barriers, overflow, too_wide, visit


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    load, out = folder / "load.json", folder / "out"
    load.write_bytes(encode(document(name="<b>load</b>", requests=12)))
    args = ["--gpus", "1..3", "--policies", "fifo,fcfs-grouped", "--slo", "9:0.9"]
    assert run(["plan", str(load), *args, "--bound-time", "5", "-o", str(out)]) == 0
    return out / "plan.html"


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["desktop", "telephone"])
def test_it_fits_and_everyone_can_use_it(page: Page, written: Path, size: ViewportSize) -> None:
    page.set_viewport_size(size)
    visit(page, written)
    assert overflow(page) == 0
    assert barriers(page) == []
    assert too_wide(page) == []
    assert page.locator("figure svg").count() == 2
    assert page.locator("#bound").count() == 1
    assert page.locator("h1").inner_text() == "What to buy: <b>load</b>"
