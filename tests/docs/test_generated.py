"""Generated parts of the pages agree with the code and the results."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.docs.instead import ROOT

DOCS = ROOT / "docs"
PICTURES: dict[str, Any] = runpy.run_path(str(DOCS / "pictures.py"))
TABLES: dict[str, Any] = runpy.run_path(str(DOCS / "tables.py"))

NUMBER = re.compile(r"\d+(?:\.\d+)?")


def said(svg: bytes) -> list[str]:
    """The texts of a picture, in any order: headings, figures, the names on bars and axes."""
    root = ElementTree.fromstring(svg)  # noqa: S314 (written by this project)
    texts = ("".join(e.itertext()).strip() for e in root.iter() if e.tag.endswith("}text"))
    return sorted(filter(None, texts))


@pytest.mark.parametrize("name", PICTURES["PICTURES"])
def test_a_picture_says_what_its_solves_give(name: str) -> None:
    """Where bars lie may differ between optima of one loss; what is written may not."""
    drawn: Callable[[str], bytes] = PICTURES["drawn"]
    kept = (DOCS / "pictures" / f"{name}.svg").read_bytes()
    assert len(kept) < 100_000
    texts = said(kept)
    assert any(NUMBER.search(text) for text in texts)
    assert said(drawn(name)) == texts


def test_every_picture_is_shown_and_nothing_else_is_kept() -> None:
    pages = [ROOT / "README.md", *DOCS.glob("*.md")]
    shown = {
        Path(found).stem
        for page in pages
        for found in re.findall(r"pictures/([\w-]+\.svg)\)", page.read_text(encoding="utf-8"))
    }
    kept = {path.stem for path in (DOCS / "pictures").iterdir()}
    assert shown == kept == set(PICTURES["PICTURES"])


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_tables_are_fresh(page: Path) -> None:
    """``python docs/tables.py`` would change nothing."""
    text = page.read_text(encoding="utf-8")
    filled: Callable[[str], str] = TABLES["filled"]
    assert filled(text) == text


def test_every_table_is_in_a_page() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    assert set(re.findall(r"<!-- table: ([\w-]+) -->", pages)) == set(TABLES["TABLES"])


def test_the_page_on_the_code_names_files_that_exist() -> None:
    text = (DOCS / "inside.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:pats_opt|solvers|tests)/[\w/]+(?:\.py)?)`", text))
    assert len(named) > 20
    assert not [path for path in named if not (ROOT / path).exists()]
