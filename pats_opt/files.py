"""Reading and writing files: strict, one-line errors, and never half a file.

``read_*`` refuse what PROBLEM.md does not allow and say where and how to mend it; ``write_*``
replace the target only when the new file is complete.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pats_opt.errors import InputError
from pats_opt.instance import Instance, digest, validate
from pats_opt.schedule import Schedule

StrPath = str | os.PathLike[str]
T = TypeVar("T")


def read_instance(path: StrPath) -> Instance:
    """Read an instance file.

    Raises:
        InputError: naming the file, the place in it and the mend.
    """
    data = read_bytes(path)
    try:
        return parse_instance(data)
    except InputError as error:
        raise error.in_file(str(path)) from None


def parse_instance(data: bytes | str) -> Instance:
    """The instance in a JSON text, checked as strictly as :func:`read_instance` does."""
    document = parse_json(data)
    instance = convert(document, Instance)
    validate(instance)
    # The digest is that of the text as given (a default may be spelled out in it or not), so the
    # text is kept for writing the instance again.
    instance.__dict__["sha256"] = digest(document)
    instance.__dict__["text"] = data.encode() if isinstance(data, str) else data
    return instance


def read_schedule(path: StrPath) -> Schedule:
    """Read a schedule file.

    Raises:
        InputError: naming the file, the place in it and the mend.
    """
    data = read_bytes(path)
    try:
        return convert(parse_json(data), Schedule)
    except InputError as error:
        raise error.in_file(str(path)) from None


def write_instance(instance: Instance, path: StrPath) -> None:
    """Write an instance: as it was read where it was read, else with every key spelled out."""
    text: bytes | None = instance.__dict__.get("text")
    write_bytes(path, text if text is not None else encode(instance))


def write_schedule(schedule: Schedule, path: StrPath) -> None:
    """Write a schedule."""
    write_bytes(path, encode(schedule))


def encode(document: object) -> bytes:
    """A document as indented JSON in UTF-8, ending in a line break."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def read_bytes(path: StrPath) -> bytes:
    """A file's bytes, or an :class:`InputError` that says why they cannot be read."""
    try:
        return Path(path).read_bytes()
    except IsADirectoryError:
        raise InputError("this is a folder", file=str(path), mend="name a file in it") from None
    except FileNotFoundError:
        raise InputError("no such file", file=str(path), mend="check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be read ({reason})", file=str(path)) from None


def write_bytes(path: StrPath, data: bytes) -> None:
    """Write a file whole or not at all."""
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".part")
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            part.chmod(0o666 & ~_umask())
            part.replace(target)
        except BaseException:
            part.unlink()
            raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be written ({reason})", file=str(path)) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class _Repeated(dict[str, Any]):
    """A JSON object that has a key twice; ``key`` says which."""

    key: str


def parse_json(data: bytes | str) -> Any:
    """A JSON text as Python objects, refusing duplicate keys, NaN and infinity."""
    if isinstance(data, bytes):
        try:
            data = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                "this is not UTF-8 text", place=f"byte {error.start}", mend="save it as UTF-8 JSON"
            ) from None
    repeated = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        found = dict(items)
        if len(found) != len(items):
            repeated = True
            marked = _Repeated(found)
            keys = [key for key, _ in items]
            marked.key = next(key for i, key in enumerate(keys) if key in keys[:i])
            return marked
        return found

    def constant(token: str) -> Any:
        found = re.search(rf"(?<![\w\"]){re.escape(token)}", data)
        line = data.count("\n", 0, found.start()) + 1 if found else "?"
        raise InputError(f"{token} is no number", place=f"line {line}", mend="write a finite one")

    try:
        document = json.loads(data, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise InputError(
            f"this is not JSON ({error.msg})",
            place=f"line {error.lineno} column {error.colno}",
            mend="correct the syntax there",
        ) from None
    except RecursionError:
        raise InputError("this is nested too deeply", mend="flatten it") from None
    except ValueError as error:  # an integer of thousands of digits
        raise InputError(f"this holds a number out of range ({error})", mend="correct it") from None
    if repeated:
        place, key = next(_repeated(document, ""))
        raise InputError(f"key {key!r} is there twice", place=place or None, mend="keep one")
    return document


def _repeated(node: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, _Repeated):
        yield place, node.key
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _repeated(value, f"{place}.{key}" if place else key)
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _repeated(value, f"{place}[{i}]")


_KINDS = {
    "object": "an object",
    "array": "a list",
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
}


def convert(document: Any, kind: type[T]) -> T:
    """A parsed JSON document as typed data.

    Raises:
        InputError: with the place and the mend.
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        place = path.rstrip("`").lstrip(".") or None
        raise InputError(_plain(problem), place=place, mend=_mend(problem)) from None
    except RecursionError:
        raise InputError("this is nested too deeply", mend="flatten it") from None


def _plain(problem: str) -> str:
    """The message of msgspec in the words of JSON."""

    def kinds(match: re.Match[str]) -> str:
        return " or ".join(_KINDS.get(name, name) for name in match[1].split(" | "))

    problem = re.sub(r"`([a-z]+(?: \| [a-z]+)*)`", kinds, problem)
    problem = problem.replace("Object contains unknown field", "unknown key")
    problem = problem.replace("Object missing required field", "missing key")
    return problem[:1].lower() + problem[1:]


def _mend(problem: str) -> str:
    if "unknown field" in problem:
        return "remove it, correct its spelling, or put it below 'extra'"
    if "missing required" in problem:
        return "add it"
    return "correct the value"
