"""The search space of a policy or solver, derived from the types of its parameters.

A ``Literal``, a ``bool`` or ``None`` is a choice, a number has a range. The range worth searching
is often narrower than the allowed one, so a field may state it::

    gamma: Annotated[float, Meta(ge=0, le=1e9, extra={"search": [0.001, 10], "log": True})] = 0.1

Without it the allowed range is searched if it is finite and at most :data:`PLAIN_SPAN` wide; else a
tenth to ten times the default, evenly in the logarithm, within the allowed range. A number with
neither (a default of 0 or None and no end) keeps its default. A field whose ``search`` is None is
searched only where it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct, inspect

from pats_opt.core import registry
from pats_opt.core.policy import Policy
from pats_opt.core.registry import format_value
from pats_opt.core.solver import Solver
from pats_opt.errors import InputError
from pats_opt.nearest import nearest

#: Widest allowed range that is searched evenly from end to end.
PLAIN_SPAN = 1000

#: Factor around the default, for wider ranges.
AROUND = 10

#: Distance from an excluded end, as a share of the width.
INSIDE = 0.001

#: Significant digits of the numbers that are tried.
DIGITS = 4


class NumberRange(Struct, frozen=True, kw_only=True):
    """A range of numbers, ends included; ``log``: evenly in the logarithm."""

    low: float
    high: float
    whole: bool = False
    log: bool = False

    def rounded(self, value: float) -> float:
        """Round to :data:`DIGITS` significant digits, within the range."""
        if self.whole:
            return int(value)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" + (" (log)" if self.log else "")


class Dimension(Struct, frozen=True, kw_only=True):
    """One searched parameter: one of ``choices``, or one of ``numbers``, or either."""

    name: str
    choices: tuple[str | int | float | bool | None, ...] = ()
    numbers: NumberRange | None = None

    def __contains__(self, value: object) -> bool:
        return self.has_choice(value) or (self.numbers is not None and value in self.numbers)

    def has_choice(self, value: object) -> bool:
        """Whether a value is one of the choices; ``True`` is not 1."""
        return any(value == c and type(value) is type(c) for c in self.choices)

    def __str__(self) -> str:
        numbers = [] if self.numbers is None else [str(self.numbers)]
        return ", ".join([*map(format_value, self.choices), *numbers])


class Target(Struct, frozen=True, kw_only=True):
    """A policy or solver to tune, and its search space.

    Attributes:
        name: Name of the policy or solver.
        fixed: Parameters held at a value, as they were given.
        default: Every parameter before tuning: the defaults, and the fixed ones.
        space: The searched parameters.
        left: Numbers that are not searched because they have no range.
    """

    name: str
    fixed: dict[str, str]
    default: dict[str, Any]
    space: tuple[Dimension, ...]
    left: tuple[str, ...]

    def make(self, params: Mapping[str, Any]) -> Solver | Policy:
        """Make the policy or solver with these parameters in place of the defaults.

        Raises:
            InputError: it does not accept them.
        """
        return registry.make(self.name, **{**self.fixed, **params})

    def spec(self, params: Mapping[str, Any]) -> str:
        """Return the shortest spec: ``name:key=value`` for each value that is not the default."""
        wanted = registry.parameters(self.make(params))
        plain = registry.parameters(registry.make(self.name))
        changed = [f"{k}={format_value(v)}" for k, v in wanted.items() if v != plain.get(k)]
        return ":".join([self.name, *changed])


def target(
    spec: str,
    fix: Mapping[str, str] | None = None,
    only: Iterable[str] = (),
    ranges: Mapping[str, str] | None = None,
) -> Target:
    """Derive the target of a search from a spec ``name:key=value`` and the user's options.

    Args:
        spec: Name of a policy or solver; parameters in it are held fixed.
        fix: Further parameters to hold fixed.
        only: Parameters to search; none for all.
        ranges: Parameter -> ``low:high`` or ``low:high:log``, the numbers to search.

    Raises:
        InputError: an unknown policy or parameter, a bad range, or nothing to search.
    """
    name, *settings = spec.split(":")
    made = registry.make(spec, **(fix or {}))
    fixed = {key: value for key, _, value in (s.partition("=") for s in settings)} | {**(fix or {})}
    given = dict(ranges or {})
    # For a struct this is its StructType, which the annotation of type_info cannot know.
    fields = {f.name: f.type for f in inspect.type_info(type(made)).fields}  # type: ignore[attr-defined]
    only = tuple(only)
    for key in (*only, *given):
        if key not in fields:
            hint = f"it has: {nearest(key, fields)}" if fields else "it has none"
            raise InputError(f"{name!r} has no parameter {key!r}", hint=hint)
        if key in fixed:
            raise InputError(
                f"parameter {key!r} of {name!r} is held at {fixed[key]!r}",
                hint="either hold it or search it",
            )
    default = registry.parameters(made)
    space, left = [], []
    for key, kind in fields.items():
        if key in fixed or (only and key not in only and key not in given):
            continue
        if key not in only and key not in given and _leaves(kind)[1].get("search", ()) is None:
            continue
        found = _dimension(key, kind, default[key], given.get(key))
        if found is not None:
            space.append(found)
        elif key in only or key in given or _is_numeric(kind):
            left.append(key)
    result = Target(name=name, fixed=fixed, default=default, space=tuple(space), left=tuple(left))
    _refuse_empty(result, only, given)
    return result


def _refuse_empty(found: Target, only: tuple[str, ...], given: Mapping[str, str]) -> None:
    """Refuse a range that the policy does not accept, a missing range, or an empty space."""
    for dimension in found.space:
        if dimension.name in given and (numbers := dimension.numbers):
            for end in (numbers.low, numbers.high):
                found.make({dimension.name: int(end) if numbers.whole else end})
    for key in (*only, *given):
        if key in found.left:
            raise InputError(
                f"parameter {key!r} of {found.name!r} has no range to search",
                hint=f"give one: --range {key}=LOW:HIGH",
            )
    if not found.space:
        hint = f" (--range gives {found.left[0]!r} one)" if found.left else ""
        raise InputError(
            f"{found.name!r} has no parameter to search{hint}",
            hint="choose another policy, or hold fewer of its parameters",
        )


def _dimension(key: str, kind: inspect.Type, default: Any, given: str | None) -> Dimension | None:
    """Return the dimension of a parameter; None where it cannot be searched."""
    leaves, hint = _leaves(kind)
    numeric = [leaf for leaf in leaves if isinstance(leaf, inspect.FloatType | inspect.IntType)]
    values = [_values(leaf) for leaf in leaves if leaf not in numeric]
    if None in values:
        return None  # text and tables cannot be searched
    choices = tuple(choice for found in values if found is not None for choice in found)
    if not numeric:
        if given is not None:
            raise InputError(
                f"parameter {key!r} is no number but one of "
                f"{', '.join(map(format_value, choices))}",
                hint="leave out its range",
            )
        return Dimension(name=key, choices=choices) if len(choices) > 1 else None
    number, whole = numeric[-1], isinstance(numeric[-1], inspect.IntType)
    if given is not None:
        numbers: NumberRange | None = _given(key, given, whole)
    elif "search" in hint:
        low, high = hint["search"]
        numbers = NumberRange(low=low, high=high, whole=whole, log=hint.get("log", False))
    else:
        numbers = _derived(number, default, whole)
    return None if numbers is None else Dimension(name=key, choices=choices, numbers=numbers)


def _values(leaf: inspect.Type) -> tuple[Any, ...] | None:
    """Return the values of a type that has few, or None."""
    if isinstance(leaf, inspect.BoolType):
        return (False, True)
    if isinstance(leaf, inspect.NoneType):
        return (None,)
    return tuple(leaf.values) if isinstance(leaf, inspect.LiteralType) else None


def _leaves(kind: inspect.Type) -> tuple[list[inspect.Type], dict[str, Any]]:
    """Return the alternatives of a type, and the hint of the type or of one of them."""
    if isinstance(kind, inspect.Metadata):
        leaves, inner = _leaves(kind.type)
        return leaves, {**inner, **(kind.extra or {})}
    if isinstance(kind, inspect.UnionType):
        parts = [_leaves(part) for part in kind.types]
        hint = {key: value for _, inner in parts for key, value in inner.items()}
        return [leaf for leaves, _ in parts for leaf in leaves], hint
    return [kind], {}


def _is_numeric(kind: inspect.Type) -> bool:
    return any(isinstance(leaf, inspect.FloatType | inspect.IntType) for leaf in _leaves(kind)[0])


def _derived(
    number: inspect.FloatType | inspect.IntType, default: Any, whole: bool
) -> NumberRange | None:
    """Derive a range that the field does not state; see the module's docstring."""
    low = _end(number.ge, number.gt, 1 if whole else 0)
    high = _end(number.le, number.lt, -1 if whole else 0)
    if math.isfinite(low) and math.isfinite(high) and 0 < high - low <= PLAIN_SPAN:
        inset = 0.0 if whole else INSIDE * (high - low)
        low += inset if number.gt is not None else 0.0
        high -= inset if number.lt is not None else 0.0
        return NumberRange(low=low, high=high, whole=whole)
    if not isinstance(default, int | float) or isinstance(default, bool) or default <= 0:
        return None
    bottom = max(default / AROUND, low if math.isfinite(low) else 0.0)
    top = min(default * AROUND, high)
    if whole:
        bottom, top = max(1, math.ceil(bottom)), math.floor(top)
    return NumberRange(low=bottom, high=top, whole=whole, log=True) if 0 < bottom < top else None


def _end(included: float | None, excluded: float | None, step: int) -> float:
    """Return an end of the allowed range; NaN where there is none."""
    outside = math.nan if excluded is None else excluded + step
    return outside if included is None else included


def _given(key: str, text: str, whole: bool) -> NumberRange:
    """Read the user's range: ``low:high`` or ``low:high:log``."""
    low_text, _, rest = text.partition(":")
    high_text, colon, scale = rest.partition(":")
    try:
        low, high = (
            msgspec.convert(part, int if whole else float, strict=False)
            for part in (low_text, high_text)
        )
    except msgspec.ValidationError:
        low = high = math.nan
    problem = None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        problem = "two numbers are needed, the lower one first"
    elif colon and scale != "log":
        problem = f"{scale!r} is no scale"
    elif scale and low <= 0:
        problem = "a logarithm needs numbers above 0"
    if problem is not None:
        kind = "whole numbers " if whole else ""
        raise InputError(
            f"range {text!r} of {key!r}: {problem}",
            hint=f"write {kind}{key}=LOW:HIGH or {key}=LOW:HIGH:log",
        )
    return NumberRange(low=low, high=high, whole=whole, log=bool(scale))
