"""Descriptions of solvers and policies: their documentation, and their parameters with ranges."""

from __future__ import annotations

import inspect
import re
from typing import Any, NamedTuple

from msgspec import inspect as types

from pats_opt.core.registry import format_value


class ParameterHelp(NamedTuple):
    """Parameter as ``pats-opt solvers NAME`` prints it."""

    name: str
    default: str
    values: str
    meaning: str


def documentation(made: type) -> tuple[str, str]:
    """Return the first line of a class's docstring, and its text up to the first section."""
    doc = _parsed(inspect.getdoc(made))
    return plain(doc.short_description or ""), plain(doc.long_description or "")


def parameters(made: type, defaults: dict[str, Any]) -> list[ParameterHelp]:
    """Return the help of each parameter of a solver or policy, in order.

    The meaning of a parameter is the text of its class's docstring, or of the base class's.
    """
    meanings = {
        param.arg_name: plain(" ".join((param.description or "").split()))
        for base in reversed(made.__mro__)
        for param in _parsed(base.__dict__.get("__doc__")).params
    }
    return [
        ParameterHelp(
            field.name,
            format_value(defaults[field.name]),
            values(field.type),
            meanings.get(field.name, ""),
        )
        for field in fields(made)
    ]


def fields(made: type) -> tuple[Any, ...]:
    """Return the msgspec fields of a struct, which are the parameters of a solver."""
    info: Any = types.type_info(made)
    found: tuple[Any, ...] = info.fields
    return found


def values(kind: types.Type) -> str:
    """Return the values that a parameter may have, such as ``number >= 0`` or ``lru | lfu``."""
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
    """Return the values of a parameter that can be enumerated."""
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
    return [format_value(value) for value in found]


def plain(text: str) -> str:
    """Return a docstring's text without its markup."""
    return re.sub(r":\w+:`~?([^`]*)`", r"\1", text).replace("``", "").replace("::\n", ":\n")


def _range(kind: types.IntType | types.FloatType) -> str:
    name = "integer" if isinstance(kind, types.IntType) else "number"
    ends = ((">=", kind.ge), (">", kind.gt), ("<=", kind.le), ("<", kind.lt))
    limits = ", ".join(
        f"{sign} {end:g}".replace("e+0", "e") for sign, end in ends if end is not None
    )
    return f"{name} {limits}".rstrip()


def _parsed(doc: str | None) -> Any:
    from docstring_parser import DocstringStyle, parse

    return parse(doc or "", style=DocstringStyle.GOOGLE)
