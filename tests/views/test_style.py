"""The pictures' look: colours, labels, and SVG that stands in a page beside others."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.views import style
from pats_opt.wording import label


def bars(name: str, label: str = "x") -> str:
    """A small figure as SVG, with a tooltip on its one bar."""
    with style.drawing():
        drawn = style.figure(3, 2)
        ax = drawn.add_subplot()
        made = ax.bar([0], [1], gid="the-bar", hatch="//")
        style.legend(ax, [made], [label])
    return style.svg(drawn, name, "bars", {"the-bar": f"tip {label}"})


def test_palette_goes_on_in_grey() -> None:
    colours = style.palette(20)
    assert len(set(colours[:14])) == 14
    assert set(colours[14:]) == {style.OTHER}
    assert style.palette(0) == []


@given(st.text())
def test_labels_are_short_and_printable(text: str) -> None:
    made = label(text, 12)
    assert len(made) <= 12
    assert made.isprintable()


def test_ids_are_the_figures_own() -> None:
    """Every id, and every reference to one, starts with the figure's name."""
    root = ElementTree.fromstring(bars("first"))  # noqa: S314
    found = [e.get("id") for e in root.iter() if e.get("id")]
    assert found
    assert all(str(name).startswith("first-") for name in found)
    for element in root.iter():
        for value in element.attrib.values():
            assert "url(#" not in value or "url(#first-" in value
        assert (element.get("href") or "#first-").startswith("#first-")


def test_the_same_figure_is_the_same_text() -> None:
    assert bars("first") == bars("first")


@pytest.mark.parametrize("text", ["<b>&\"'", "_hidden", "$x$ $", "%s \\frac", "日本", "\x00\ud800"])
def test_any_text_is_shown_as_it_is(text: str) -> None:
    """Mark-up, matplotlib's own signs, and what no font has."""
    root = ElementTree.fromstring(bars("first", text))  # noqa: S314
    texts = [e.text for e in root.iter() if e.tag in ("text", "title")]
    assert label(text) in texts
    assert f"tip {label(text)}" in texts


def test_a_file_of_its_own_names_its_name_space() -> None:
    root = ElementTree.fromstring(style.document(bars("first")))  # noqa: S314
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
