"""The campaign's attack on pages finds a page that runs its text."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from tests.campaign.outside import pages


def test_a_page_that_runs_its_text_is_found(browser: Browser, tmp_path: Path) -> None:
    """Scripts, elements, requests and formulas."""
    page, table = tmp_path / "page.html", tmp_path / "runs.csv"
    page.write_text(f"<meta charset=utf-8><p>{pages.TEXTS[0]}{pages.TEXTS[3]}", encoding="utf-8")
    table.write_text("a,b\n-1,=1+1\n-1e-3,'=1\n", encoding="utf-8")
    assert [*pages._formulas(table)] == ["a cell that is a formula: =1+1"]
    found = " ".join(pages._opened(browser, page, {"name": "x"}))
    assert "text was run as a script" in found
    assert "text became 1 elements" in found
