"""Damage to files by grammar: JSON by its structure, other text by its tokens, bytes last.

A step of damage is a seed: the same seed does the same to the same text. A list of seeds is one
broken input, and it is shrunk by leaving seeds out.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

#: Text that stands in a document for what no JSON writer would write; put in its place at the end.
RAW = "\ue000"

#: Values that no reader likes, and some that only some places take.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -0.0, -1, 1, 2, 7, 0.1, 1.5, 1e-9, 5e-324, 1e9, 1e12, 1e308, -1e308,
    2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400,
    float("nan"), float("inf"), -float("inf"),
    "", " ", "x", "base", "0", "1e3", "nan", "null", "../escaped", "/dev/null", "a/b", "two\nlines",
    "\x00", "\x1b[31mred\x1b[0m", "\u202egnp", "\ud800", "\ufeff", "é" * 3, "x" * 600, "y" * 70_000,
    "💡", "{0}", "%s", "=1+1",
    [], [[]], [1], ["x"], [None], {}, {"extra": {"a": [1]}}, {"vram_gib": 1.0}, {"vram_gib": -1},
    {"base": 1.0, "per_sample": 0.0}, {"base": 0, "per_sample": 0}, {"table": [1.0]}, {"table": []},
    {"": 0},
    f"{RAW}1e999", f"{RAW}-", f"{RAW}01", f"{RAW}.5", f"{RAW}0x10", f"{RAW}NaN", f"{RAW}{{",
    f"{RAW}'x'", f"{RAW}[1,]", f'{RAW}"\\u12"', f'{RAW}"\t"', f"{RAW}1 /* x */",
    f"{RAW}{'[' * 100_000}{']' * 100_000}", f"{RAW}{'9' * 5000}",
)  # fmt: skip

#: Keys that some objects know and others do not.
KEYS = (
    "extra",
    "Extra",
    "id",
    "table",
    "skip",
    "steps",
    "",
    "weight ",
    "quality",
    "\u00a0",
    "x" * 300,
)

#: What a number or a name in other text becomes.
TOKENS = (
    "", "-1", "0", "nan", "inf", "-inf", "1e308", "1e999", "1e-320", "9" * 400, "0x1F", "1_000",
    "\u0663", "1,5", "true", "null", '"', "'", '"""', "\\", "=", "[", "]", "{", "}", "#", ",", ";",
    "\t", "\x00", "\x1b[2J", "\u202e", "é", "💡", "x" * 3000, "[" * 3000, "../escaped", "=1+1",
    "2024-02-30", "1979-05-27T07:32:00Z", "$(id)", "%s%n", "{0.__class__}", '"a\\u0000b"', "[[a]]",
)  # fmt: skip

TOKEN = re.compile(r"[\w.+-]+")


class Twin(str):
    """A key that may be in one object twice."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def damaged(text: bytes, steps: list[int], *, is_json: bool = False) -> bytes:
    """Return a file's content after some steps of damage."""
    for step in steps:
        rng = random.Random(step)
        kinds = [_bytes, _tokens, _lines]
        if is_json and (document := _parsed(text)) is not None and rng.random() < 0.8:
            text = _written(_structure(rng, document))
        else:
            text = rng.choices(kinds, (1, 2, 1))[0](rng, text)
    return text


def shrunk(steps: list[int], fails: Callable[[list[int]], bool]) -> list[int]:
    """Return as few of the steps as still fail."""
    for step in list(steps):
        fewer = [other for other in steps if other != step]
        if fails(fewer):
            steps = fewer
    return steps


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _written(document: Any) -> bytes:
    text = json.dumps(document, indent=1)
    return re.sub(
        r'"\\ue000((?:[^"\\]|\\.)*)"', lambda found: json.loads(f'"{found[1]}"'), text
    ).encode("utf-8", "surrogatepass")


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each (object or list, key or index) of a document, innermost first."""
    for key, value in list(
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    ):
        yield from places(value)
        yield node, key


def _structure(rng: random.Random, document: Any) -> Any:
    """Change one thing in a document."""
    found = [*places(document)]
    if not found or rng.random() < 0.02:
        return rng.choice(VALUES)
    # A kind of place is as likely as another, however often it is there.
    names = sorted({str(key) if isinstance(node, dict) else "#" for node, key in found})
    name = rng.choice(names)
    node, key = rng.choice(
        [(n, k) for n, k in found if (str(k) if isinstance(n, dict) else "#") == name]
    )
    change = rng.choice(
        ("value", "value", "value", "number", "other", "drop", "add", "twice", "rename")
    )
    if change == "number" and isinstance(node[key], int | float):
        node[key] *= rng.choice((-1, 0, 0.1, 0.5, 1 + 1e-9, 2, 3, 1e3, 1e6, 1e9, 1e15))
    elif change == "other":  # what stands elsewhere in the document
        there, where = rng.choice(found)
        node[key] = json.loads(json.dumps(there[where]))
    elif change == "drop":
        del node[key]
    elif change == "twice" and isinstance(node, dict):
        node[Twin(key)] = rng.choice((node[key], rng.choice(VALUES)))
    elif change == "twice":
        node.insert(rng.randrange(len(node) + 1), node[key])
    elif change in {"add", "rename"} and isinstance(node, dict):
        value = node.pop(key) if change == "rename" else rng.choice(VALUES)
        node[rng.choice(KEYS)] = value
    else:
        node[key] = rng.choice(VALUES)
    return document


def _tokens(rng: random.Random, text: bytes) -> bytes:
    """Replace, drop, repeat or swap a number or a word."""
    whole = text.decode("utf-8", "surrogateescape")
    found = list(TOKEN.finditer(whole))
    if not found:
        return text
    at, other = rng.choice(found), rng.choice(found)
    new = rng.choice((rng.choice(TOKENS), rng.choice(TOKENS), other[0], f"{at[0]} {at[0]}"))
    changed = whole[: at.start()] + new + whole[at.end() :]
    return changed.encode("utf-8", "surrogateescape")


def _lines(rng: random.Random, text: bytes) -> bytes:
    """Drop, repeat, swap, join or add lines, or change how they end."""
    lines = text.splitlines(keepends=True) or [b""]
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    change = rng.choice(("drop", "twice", "swap", "join", "add", "ends", "many"))
    if change == "drop":
        del lines[at]
    elif change == "twice":
        lines.insert(other, lines[at])
    elif change == "swap":
        lines[at], lines[other] = lines[other], lines[at]
    elif change == "join":
        lines[at] = lines[at].rstrip(b"\r\n")
    elif change == "add":
        lines.insert(at, rng.choice(TOKENS).encode() + b"\n")
    elif change == "many":
        lines[at] *= 500
    else:
        end = rng.choice((b"\r\n", b"\r", b"\n\n", b"", b"\x0b", b"\xe2\x80\xa8"))
        lines = [line.rstrip(b"\r\n") + end for line in lines]
    return b"".join(lines)


def _bytes(rng: random.Random, text: bytes) -> bytes:
    """Cut, flip, insert or encode otherwise."""
    at, other = sorted(rng.randrange(len(text) + 1) for _ in range(2))
    whole = text.decode("utf-8", "replace")
    changes: tuple[Callable[[], bytes], ...] = (
        lambda: text[:at],
        lambda: text[at:],
        lambda: text[:at] + text[other:],
        lambda: text[:at] + rng.randbytes(rng.choice((1, 2, 30))) + text[at:],
        lambda: (
            text[:at] + bytes([text[at] ^ 1 << rng.randrange(8)]) + text[at + 1 :]
            if at < len(text)
            else text
        ),
        lambda: (
            text[:at] + rng.choice((b"\x00", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80")) + text[at:]
        ),
        lambda: b"\xef\xbb\xbf" + text,
        lambda: whole.encode("utf-16"),
        lambda: whole.encode("utf-32-le"),
        lambda: whole.encode("latin-1", "replace"),
        lambda: gzip.compress(text, mtime=0),
        lambda: text + text,
        lambda: b"",
        lambda: rng.randbytes(200),
        lambda: b" " * 100_000 + text,
    )
    return rng.choice(changes)()
