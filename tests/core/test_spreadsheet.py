"""CSV tables: no text is a formula to a spreadsheet, and every text can be read again."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.spreadsheet import csv_text, original

#: Texts of what formulas, numbers and marks are made of, and any other text.
TEXTS = st.text(st.sampled_from("'=-+@15.ex\t \n"), max_size=8) | st.text(max_size=8)


def cells(*row: object) -> list[str]:
    """A row, written and read."""
    return next(csv.reader(io.StringIO(csv_text([], [row]), newline="").readlines()[1:]))


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "-inf",
        "=cmd|' /C calc'!A0",
        "\N{FULLWIDTH EQUALS SIGN}1",
    ],
)
def test_formulas_are_marked(text: str) -> None:
    assert cells(text, f"'{text}") == [f"'{text}", f"''{text}"]


def test_other_cells_stay_as_they_are() -> None:
    """Numbers, dashes in the place of figures, and texts with such characters further in."""
    kept = ["-1.5e-3", "+2", "-.5", "-", "", "a=b", "pats:gamma=-1", "'tis", "'", "x\ny"]
    assert cells(*kept) == kept
    assert cells(-1.5, 3, None) == ["-1.5", "3", ""]


@given(TEXTS)
def test_no_text_is_a_formula_and_every_text_comes_back(text: str) -> None:
    (cell,) = cells(text)
    assert original(cell) == text
    assert not re.match(r"[=@\t\r]|[-+].*[^-+.\de]", cell, re.DOTALL) or len(cell) == 1
