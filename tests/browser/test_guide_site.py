"""The built guide in a browser: it opens from the disk, fits a telephone, and is searched."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.docs.site import guide as built
from tests.support.browser import NARROW, WIDE, barriers, overflow, visit


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory) / "html"


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize(
    "name",
    ["docs/index", "docs/problem-in-pictures", "docs/choose-a-solver", "docs/reference/solving"],
)
def test_a_page_opens_and_fits(page: Page, html: Path, name: str, size: dict[str, int]) -> None:
    page.set_viewport_size({"width": size["width"], "height": size["height"]})
    visit(page, html / f"{name}.html")
    expect(page.locator("h1").first).to_be_visible()
    assert overflow(page) == 0
    broken = page.eval_on_selector_all(
        "article img", "all => all.filter(one => !one.naturalWidth).map(one => one.src)"
    )
    assert broken == []


def test_people_with_a_screen_reader_can_use_it(page: Page, html: Path) -> None:
    visit(page, html / "docs" / "problem-in-pictures.html")
    assert barriers(page) == []


def test_the_front_door_leads_to_the_guide(page: Page, html: Path) -> None:
    visit(page, html / "index.html")
    page.wait_for_url("**/docs/index.html")


def test_it_is_searched_without_a_server(page: Page, html: Path) -> None:
    visit(page, html / "docs" / "index.html")
    page.locator("input[name=q]").first.fill("resident")
    page.keyboard.press("Enter")
    expect(page.locator("#search-results li").first).to_be_visible()
