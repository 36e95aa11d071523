"""The guide builds without a complaint, and a built page needs nothing from the network."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import pats_opt
from pats_opt.cli import COMMANDS
from tests.docs.site import guide as built


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory)


def test_it_builds_without_a_complaint(site: Path) -> None:
    """A dead link, a page in no table of contents, a docstring that is no markup."""
    assert (site / "complaints.txt").read_text(encoding="utf-8") == ""


def test_nothing_is_fetched(site: Path) -> None:
    """Links may lead away; scripts, styles, fonts and pictures are all in the folder."""
    pages = [p for p in (site / "html").rglob("*.html") if p.name != "report.html"]
    assert len(pages) > 40
    for page in pages:
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"([^\"]+)\"", text)
        fetched += re.findall(r"<link[^>]*\shref=\"([^\"]+)\"", text)
        assert [address for address in fetched if "//" in address] == [], page
    for style in (site / "html" / "_static").rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert re.findall(r"(?:url\(|@import )\s*['\"]?(?:https?:)?//", text) == [], style


def test_links_lead_somewhere(site: Path) -> None:
    """Those that Sphinx makes, and those to reports, which it does not know."""
    root = site / "html"
    for page in root.rglob("*.html"):
        if page.name == "report.html":
            continue
        for address in re.findall(r'<a [^>]*href="([^"]+)"', page.read_text(encoding="utf-8")):
            parts = urlsplit(address)
            where = page.parent / unquote(parts.path)
            assert parts.scheme or where.exists(), f"{page.relative_to(root)}: {address}"


def test_the_reference_has_every_public_name(site: Path) -> None:
    """Each is a link to where its docstring is."""
    page = (site / "html" / "docs" / "reference" / "index.html").read_text(encoding="utf-8")
    for name in set(pats_opt.__all__) - {"__version__"}:
        home = f"{getattr(pats_opt, name).__module__}.{name}"
        assert re.search(rf'href="\w+\.html#{re.escape(home)}"', page), name


def test_the_reference_has_every_command(site: Path) -> None:
    """With its help as the terminal shows it."""
    page = (site / "html" / "docs" / "cli.html").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f'id="pats-opt-{name}"' in page, name
    assert r"\b" not in page


def test_the_reference_takes_no_sentence_for_a_type(site: Path) -> None:
    """A colon in the docstring of a constant or a property would end its type."""
    for page in (site / "html" / "docs" / "reference").glob("*.html"):
        assert ">Type<" not in page.read_text(encoding="utf-8"), page.name
