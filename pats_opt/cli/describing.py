"""Solvers and policies in words: what they do, their parameters, ranges and meaning."""

from __future__ import annotations

import inspect
import re
from typing import Any, NamedTuple

from msgspec import inspect as types

from pats_opt.core.registry import word


class Parameter(NamedTuple):
    """A parameter in words."""

    name: str
    default: str
    values: str
    meaning: str


def about(made: type) -> tuple[str, str]:
    """The first sentence of a class's documentation, and the rest up to its parameters."""
    text = plain(inspect.getdoc(made) or "")
    first, _, rest = text.partition("\n")
    return first, re.split(r"^(?:Args|Attributes|Raises):$", rest, flags=re.MULTILINE)[0].strip()


def paragraphs(text: str) -> str:
    """A documentation's text with each paragraph on one line, its indented blocks as they are."""
    parts = []
    for part in text.split("\n\n"):
        lines = part.splitlines()
        prose = not any(line.startswith(" ") for line in lines)
        parts.append(" ".join(lines) if prose else part)
    return "\n\n".join(parts)


def fields(made: type) -> tuple[Any, ...]:
    """The fields of a struct that are parameters."""
    info: Any = types.type_info(made)
    found: tuple[Any, ...] = info.fields
    return found


def parameters(made: type, defaults: dict[str, Any]) -> list[Parameter]:
    """The parameters of a solver or policy, in their order."""
    meanings: dict[str, str] = {}
    for base in reversed(made.__mro__):
        meanings |= _meanings(base.__dict__.get("__doc__") or "")
    return [
        Parameter(
            field.name, word(defaults[field.name]), values(field.type), meanings.get(field.name, "")
        )
        for field in fields(made)
    ]


def values(kind: types.Type) -> str:
    """What a parameter may be, in words."""
    match kind:
        case types.UnionType():
            return " or ".join(values(one) for one in kind.types)
        case types.Metadata():
            return values(kind.type)
        case types.IntType() | types.FloatType():
            return _range(kind)
        case types.StrType():
            return "text"
    listed = choices(kind)
    return " | ".join(listed) if listed else "any"


def choices(kind: types.Type) -> list[str]:
    """The values of a parameter, where they can be listed."""
    found: list[object] = []
    match kind:
        case types.UnionType():
            return [value for one in kind.types for value in choices(one)]
        case types.Metadata():
            return choices(kind.type)
        case types.LiteralType():
            found += kind.values
        case types.EnumType():
            found += [member.value for member in kind.cls]
        case types.BoolType():
            found += [True, False]
        case types.NoneType():
            found.append(None)
    return [word(value) for value in found]


def _range(kind: types.IntType | types.FloatType) -> str:
    """Numbers between two ends, as far as they are given."""
    name = "integer" if isinstance(kind, types.IntType) else "number"
    ends = ((">=", kind.ge), (">", kind.gt), ("<=", kind.le), ("<", kind.lt))
    limits = ", ".join(
        f"{sign} {end:g}".replace("e+0", "e") for sign, end in ends if end is not None
    )
    return f"{name} {limits}".rstrip()


def _meanings(doc: str) -> dict[str, str]:
    """What a docstring's section on arguments or attributes says of each."""
    lines = iter(inspect.cleandoc(doc).splitlines())
    found: dict[str, str] = {}
    for line in lines:
        if line in ("Args:", "Attributes:"):
            break
    name = ""
    for line in lines:
        if line and not line.startswith(" "):
            break  # the next section
        begun = re.match(r" {4}(\w+): (.*)", line)
        if begun:
            name = begun[1]
            found[name] = begun[2]
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return {name: plain(text) for name, text in found.items()}


def plain(text: str) -> str:
    """A docstring's text without its marks."""
    return re.sub(r":\w+:`~?([^`]*)`", r"\1", text).replace("``", "").replace("::\n", ":\n")
