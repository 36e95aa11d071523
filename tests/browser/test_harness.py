"""The helpers of these tests notice what they are there to notice."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser import NARROW, barriers, overflow, visit, watch

PAGE = "<!doctype html><html lang=en><title>t</title><main><h1>t</h1>{}</main></html>"


def written(folder: Path, inside: str) -> Path:
    path = folder / "page.html"
    path.write_text(PAGE.format(inside), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "inside",
    [
        "<script>nothing()</script>",
        "<script>console.error('x')</script>",
        "<img alt=x src=http://127.0.0.1:9/x.png>",
    ],
)
def test_complaints_and_requests_are_noticed(browser: Browser, tmp_path: Path, inside: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        complaints = watch(page)
        visit(page, written(tmp_path, inside))
        assert complaints


def test_a_calm_page_passes(page: Page, tmp_path: Path) -> None:
    visit(page, written(tmp_path, "<p>calm</p>"))
    assert overflow(page) == 0
    assert barriers(page) == []


def test_what_is_too_wide_or_unreadable_is_noticed(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size(NARROW)
    pale = "<p style='color:#ddd;background:#fff;width:900px'>pale</p>"
    visit(page, written(tmp_path, pale))
    assert overflow(page) > 400
    assert any("contrast" in barrier for barrier in barriers(page))
