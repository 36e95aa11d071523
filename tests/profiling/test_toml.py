"""Writing TOML: whatever is written reads back the same."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from pats_opt.profiling.toml import dump

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
plain = st.one_of(
    text,
    st.booleans(),
    st.integers(-(2**60), 2**60),
    st.floats(allow_nan=False, allow_infinity=False),
)
inline = st.recursive(
    plain,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=3)),
    max_leaves=8,
)
documents = st.dictionaries(text, inline, max_size=5)


@given(documents)
def test_what_is_written_reads_back(document: dict[str, object]) -> None:
    assert tomllib.loads(dump(document)) == document


def test_layout_is_for_people() -> None:
    """Plain values first, tables by their full names, lists of tables a line each."""
    assert dump({"a": 1, "b": {"c": {"d": 0.5}, "e": "x"}, "f": [{"g": [1, 2]}]}) == (
        'a = 1\nf = [\n  { g = [1, 2] },\n]\n\n[b]\ne = "x"\n\n[b.c]\nd = 0.5\n'
    )
