"""Strict parsing of JSON to typed data. An error is one line with its place and a hint."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from pats_opt.errors import InputError
from pats_opt.nearest import meant

T = TypeVar("T")


def parse_json(data: bytes | str) -> Any:
    """A JSON text as Python objects, refusing duplicate keys, NaN, infinity and lone surrogates.

    Raises:
        InputError: The error with its place and a hint.
    """
    document, _ = parse(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
    return document


def parse(data: bytes) -> tuple[Any, bytes | None]:
    """A JSON text as Python objects and, unless it is unusual, as compact JSON with sorted keys.

    msgspec parses several times faster than :mod:`json` but keeps the last of duplicate keys. Each
    key has one colon outside of strings, so a document has lost a key if it has fewer colons when
    written again; an escaped colon could hide that. Texts that may have an error are parsed again,
    by a parser which knows its place.
    """
    try:
        document = msgspec.json.decode(data)
        compact = msgspec.json.encode(document, order="sorted")
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return _parse_slowly(data), None
    if has_lost_keys(data, compact.count(b":")):
        return _parse_slowly(data), None
    return document, compact


def has_lost_keys(data: bytes, colons: int) -> bool:
    """Whether a text may have duplicate keys; ``colons`` are in it as it is written again."""
    return _ESCAPED_COLON.search(data) is not None or data.count(b":") != colons


def _short(text: str, most: int = 80) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


_ESCAPED_COLON = re.compile(rb"\\u003[aA]")


class _DuplicateKey(dict[str, Any]):
    """A JSON object with a duplicate key."""

    key: str


def _parse_slowly(data: bytes) -> Any:
    """Parse with the place of every error."""
    text = _decode(data)
    duplicates = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal duplicates
        found = dict(items)
        if len(found) != len(items):
            duplicates = True
            found = _DuplicateKey(found)
            keys = [key for key, _ in items]
            found.key = next(key for i, key in enumerate(keys) if key in keys[:i])
        return found

    def no_number(token: str) -> Any:
        found = re.search(rf"(?<![\w\"]){re.escape(token)}", text)
        line = text.count("\n", 0, found.start()) + 1 if found else "?"
        raise InputError(
            f"{_short(token)} is no number", place=f"line {line}", hint="write a finite one"
        )

    def finite(token: str) -> float:
        value = float(token)
        return value if math.isfinite(value) else no_number(token)

    def whole(token: str) -> int:
        return int(token) if len(token) < 400 else no_number(token)

    try:
        document = json.loads(
            text,
            object_pairs_hook=pairs,
            parse_constant=no_number,
            parse_float=finite,
            parse_int=whole,
        )
    except json.JSONDecodeError as error:
        raise InputError(
            f"this is not JSON ({error.msg})",
            place=f"line {error.lineno} column {error.colno}",
            hint="correct the syntax there",
        ) from None
    except RecursionError:
        raise InputError("this is nested too deeply", hint="flatten it") from None
    if duplicates:
        place, key = next(_duplicate_keys(document, ""))
        raise InputError(f"key {_short(key)!r} is there twice", place=place, hint="keep one")
    return document


def _decode(data: bytes) -> str:
    """Decode UTF-8 text without a byte-order mark or escapes of half a surrogate pair."""
    if data.startswith(b"\xef\xbb\xbf"):
        raise InputError(
            "this starts with a byte-order mark", place="byte 0", hint="save it as UTF-8 without"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            "this is not UTF-8 text", place=f"byte {error.start}", hint="save it as UTF-8 JSON"
        ) from None
    for found in _SURROGATES.finditer(text):
        if found["half"]:
            raise InputError(
                f"{found['half']} is half a character",
                place=f"line {text.count(chr(10), 0, found.start()) + 1}",
                hint="write both halves of the surrogate pair or neither",
            )
    return text


_SURROGATES = re.compile(
    r"\\(?:[^u]|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def _duplicate_keys(node: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, _DuplicateKey):
        yield place, node.key
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _duplicate_keys(value, f"{place}.{_short(key)}" if place else _short(key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _duplicate_keys(value, f"{place}[{i}]")


def convert(document: Any, kind: type[T]) -> T:
    """A parsed JSON document as typed data.

    Raises:
        InputError: The error with its place and a hint.
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        _refuse_other_kind(document, kind)
        problem, _, path = str(error).partition(" - at `$")
        place = _place(path.rstrip("`").lstrip("."), problem, document, kind)
        raise InputError(_plain(problem), place=place, hint=_hint(problem, place, kind)) from None
    except RecursionError:
        raise InputError("this is nested too deeply", hint="flatten it") from None


def _refuse_other_kind(document: Any, kind: type) -> None:
    """Name the kind of a document which says that it is of another one."""
    given = document.get("format") if isinstance(document, dict) else None
    wanted = _allowed(_types(inspect.type_info(kind), "format"))
    if wanted and isinstance(given, str) and given not in wanted and given.startswith(_FORMAT):
        this, right = (name.removeprefix(_FORMAT) for name in (given, wanted[0]))
        raise InputError(
            f"this file is of kind {this!r}, not {right!r}",
            place="format",
            hint="name another file (are two of them swapped?)",
        )


#: Beginning of the formats of this package.
_FORMAT = "pats-opt/"


def _place(path: str, problem: str, document: Any, kind: type) -> str | None:
    """The place of an error; msgspec writes ``[...]`` for any key of a mapping."""
    before, unnamed, after = path.partition("[...]")
    if not unnamed:
        return path or None
    node = document
    for key, index in _STEP.findall(before):
        node = node[key or int(index)]
    for key, value in list(node.items()):  # the document is given up: leave one key at a time in it
        node.clear()
        node[key] = value
        try:
            msgspec.convert(document, kind)
        except msgspec.ValidationError as error:
            if str(error).startswith(problem):
                return f"{before}.{_short(key)}{after}"
    return path


_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")

_KINDS = {
    "object": "an object",
    "array": "a list",
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
}


def _plain(problem: str) -> str:
    """The message of msgspec in the words of JSON."""
    if problem.startswith("Object "):
        name = problem.partition("`")[2].rstrip("`")
        return f"{'unknown' if 'unknown' in problem else 'missing'} key {_short(name)!r}"
    problem = re.sub(
        r"`([a-z]+(?: \| [a-z]+)*)`",
        lambda found: " or ".join(_KINDS.get(name, name) for name in found[1].split(" | ")),
        problem,
    )
    problem = problem.replace("Invalid enum value", "Invalid value")
    return _short(problem[:1].lower() + problem[1:], 200)


def _hint(problem: str, place: str | None, kind: type) -> str:
    if "missing required" in problem:
        return "add it"
    types = _types(inspect.type_info(kind), place or "")
    if "unknown field" in problem:
        structs = [found for found in types if isinstance(found, inspect.StructType)]
        keys = [field.encode_name for found in structs for field in found.fields]
        near = meant(problem.partition("`")[2].rstrip("`"), keys)
        return near or "remove it, correct its spelling, or put it below 'extra'"
    allowed = _allowed(types) if "Invalid" in problem else []
    return f"write {' or '.join(map(repr, allowed))}" if allowed else "correct the value"


def _types(root: inspect.Type, place: str) -> list[inspect.Type]:
    """The types that the type ``root`` allows at ``place``."""
    types = list(_alternatives(root))
    for key, _ in _STEP.findall(place):
        types = [inner for each in types for inner in _inside(each, key)]
    return types


def _allowed(types: list[inspect.Type]) -> list[Any]:
    """The values of literals and enumerations."""
    values: list[Any] = []
    for found in types:
        match found:
            case inspect.LiteralType():
                values += found.values
            case inspect.EnumType():
                values += [member.value for member in found.cls]
    return values


def _inside(outer: inspect.Type, key: str) -> Iterator[inspect.Type]:
    """The types in ``outer`` at a key, or at any index where ``key`` is empty."""
    match outer:
        case inspect.UnionType():
            for each in outer.types:
                yield from _inside(each, key)
        case inspect.VarTupleType() | inspect.ListType() if not key:
            yield from _alternatives(outer.item_type)
        case inspect.DictType():
            yield from _alternatives(outer.value_type)
        case inspect.StructType() if key == outer.tag_field:
            yield inspect.LiteralType(values=(outer.tag,))
        case inspect.StructType():
            for field in outer.fields:
                if field.encode_name == key:
                    yield from _alternatives(field.type)


def _alternatives(one: inspect.Type) -> Iterator[inspect.Type]:
    """The members of a union, or the type itself, without its metadata."""
    match one:
        case inspect.UnionType():
            yield from one.types
        case inspect.Metadata():
            yield from _alternatives(one.type)
        case _:
            yield one
