"""Hypothesis strategies: valid instance documents, and documents broken in one place."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import strategies as st

from pats_opt.core.solver import Feature
from pats_opt.model.files import encode
from pats_opt.testing.instances import random_instance

Json = dict[str, Any]
Path = tuple[str | int, ...]

#: Keys that may be left out, each with the value that this stands for.
NEUTRAL: Json = {
    "weight": 1.0,
    "deadline_s": None,
    "reject_loss": None,
    "complexity": None,
    "skip": 0,
    "pairs": [],
    "resident": [],
    "late_price": 0.0,
    "horizon_ticks": None,
    "activate_s": 0.0,
    "max_per_batch": 1,
    "overhead_s": 0.0,
    "prompt": "",
    "negative_prompt": "",
    "seed": 0,
    "width": 1024,
    "height": 1024,
    "group": None,
}

#: Values that no reader likes, and some that only some places take.
NASTY: tuple[Any, ...] = (
    None,
    True,
    -1,
    -0.0,
    0,
    2,
    1.5,
    1e-9,
    1e12,
    1e308,
    10**30,
    "",
    "x",
    "base",
    "../x",
    "two\nlines",
    "\u202e",
    "x" * 600,
    [],
    [1],
    ["x"],
    {},
    {"extra": {"any": ["thing", None]}},
    {"vram_gib": 1.0},
    {"base": 1.0, "per_sample": 0.0},
    {"table": [1.0]},
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def documents(draw: st.DrawFn, features: Iterable[Feature] | None = None) -> Json:
    """A tiny valid instance document; keys with a neutral value may be left out of it."""
    rng = draw(st.randoms(use_true_random=False))
    document: Json = json.loads(encode(random_instance(rng, features, requests=(1, 3))))
    for path in [*places(document)]:
        node, key = parent(document, path)
        if isinstance(node, dict) and NEUTRAL.get(key, ...) == node[key] and draw(st.booleans()):
            del node[key]
    return document


def places(node: Any, at: Path = ()) -> Iterator[Path]:
    """The path of everything in a JSON document, innermost first, the document itself left out."""
    items: Iterable[tuple[str | int, Any]] = ()
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, list):
        items = enumerate(node)
    for key, value in items:
        yield from places(value, (*at, key))
        yield (*at, key)


def parent(document: Json, path: Path) -> tuple[Any, Any]:
    """The object or list that holds what is at ``path``, and its key or index there."""
    node: Any = document
    for key in path[:-1]:
        node = node[key]
    return node, path[-1]


@st.composite
def broken_documents(draw: st.DrawFn) -> Json:
    """A valid document with one change somewhere, which mostly breaks it."""
    document: Json = copy.deepcopy(draw(documents()))
    node, key = parent(document, draw(st.sampled_from([*places(document)])))
    change = draw(st.sampled_from(("replace", "remove", "add", "twice")))
    if change == "replace":
        node[key] = draw(st.sampled_from(NASTY) | json_values)
    elif change == "remove":
        del node[key]
    elif isinstance(node, list):
        node.append(copy.deepcopy(node[draw(st.integers(0, len(node) - 1))]))
    elif change == "add":
        node[draw(st.sampled_from(("extra", "Extra", "id", "table", "skip", "steps")))] = draw(
            st.sampled_from(NASTY)
        )
    return document
