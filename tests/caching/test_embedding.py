"""Embedders by name, and those of the user's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pats_opt.caching.dense import DenseEmbedder
from pats_opt.caching.embedders import embedder
from pats_opt.caching.words import WordEmbedder
from pats_opt.errors import InputError


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_vectors.py").write_text(
        "def lengths(prompt):\n    return [len(prompt), prompt.count(' ')]\nnumber = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_vectors", raising=False)
    assert isinstance(embedder(), WordEmbedder)
    own = embedder("own_vectors:lengths")
    vector = own.embed("a b c")
    assert vector is not None
    assert vector.tolist() == pytest.approx([5 / 29**0.5, 2 / 29**0.5])
    assert own.embed("") is None
    with pytest.raises(InputError, match="'own_vectors:number' is no function; name a function"):
        embedder("own_vectors:number")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("word", "there is no embedder 'word'; choose one of: words; or write it as module:"),
        ("no_such_module:f", r"there is no embedder 'no_such_module:f' \(No module named"),
        ("math:no_such", r"there is no embedder 'math:no_such' \(module 'math' has no attribute"),
        (":f", r"there is no embedder ':f' \(Empty module name\); write it as module:function"),
    ],
)
def test_unknown_embedders(spec: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        embedder(spec)


@pytest.mark.parametrize(
    "given", [[], "text", [float("nan")], [[1.0]], None, {"a": 1}, [1, 2, 3], 7.0]
)
def test_functions_that_give_no_vectors(given: Any) -> None:
    """What is no list of numbers, or not as many as before, is refused in one line."""
    answers = iter([[1.0, 2.0], given])
    own = DenseEmbedder(lambda _prompt: next(answers), "own")
    own.embed("first")
    with pytest.raises(InputError, match=r"embedder 'own' gave .*; it must give a list of finite"):
        own.embed("second")


def test_freed_places_are_used_again() -> None:
    """The matrix grows by the entries at a time, not by those of the stream."""
    index: Any = DenseEmbedder(lambda prompt: [1.0, float(prompt)], "own").index()
    own = DenseEmbedder(lambda prompt: [1.0, float(prompt)], "own")
    for i in range(1000):
        vector = own.embed(str(i))
        assert vector is not None
        index.add(i, vector)
        if i >= 10:
            index.remove(i - 10)
    assert len(index) == 10
    assert len(index._entries) == 64
