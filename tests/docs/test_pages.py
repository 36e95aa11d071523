"""Every command and snippet of every page is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.docs.instead import ROOT
from tests.docs.story import Story, compare, pages, unused


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Story(page, folder).run()


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_code_is_in_fences(page: Path) -> None:
    """Indented code would not be run."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    assert [token.map for token in tokens if token.type == "code_block"] == []


def test_the_list_has_no_stale_entries() -> None:
    assert unused() == []


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        ("a ... c", "a b\n"),
        ("a", "a\nb"),
        ("a\n...\nc", "a\nb"),
        ("a\n...", "b"),
        ("1.5", "115"),
        ("a", ""),
    ],
)
def test_other_output_is_noticed(expected: str, told: str) -> None:
    with pytest.raises(AssertionError):
        compare(expected, told, "here")


def test_wildcards() -> None:
    compare("took ... s\n...\nend", "took 1.2 s\n\nmore\nend\n", "here")
    compare("a\n...\nend", "a\nend\n", "here")
