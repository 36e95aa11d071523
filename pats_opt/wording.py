"""Formatting of numbers and names, for reports, pages and the terminal alike."""

from __future__ import annotations

import math

from pats_opt.errors import cut, one_line

#: Text in place of a missing figure.
DASH = "\N{EN DASH}"

MINUS = "\N{MINUS SIGN}"

#: Differences below this are errors of rounding.
SAME = 1e-9


def label(text: str, longest: int = 28) -> str:
    """Shorten text to a printable label on one line, cut in the middle."""
    return cut(one_line(text), longest)


def percent(share: float | None) -> str:
    """Format a share as a percentage; None as a dash."""
    if share is None:
        return DASH
    if math.isinf(share):
        return "∞"
    value = 100 * share
    size = abs(value)
    digits = 0 if size >= 9.95 or size < 1e-6 else 1 if size >= 0.095 else 2
    return f"{value:.{digits}f} %"


def number(value: float | None, digits: int = 4) -> str:
    """Format a number with some significant digits; None as a dash."""
    if value is None:
        return DASH
    if math.isinf(value):
        return "∞"
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e" in text and abs(value) >= 1 else text


def milliseconds(seconds: float | None, digits: int = 4) -> str:
    """Format seconds as milliseconds; None as a dash."""
    return number(None if seconds is None else 1000 * seconds, digits)


def figure(value: float | str | None) -> str:
    """Format a count in full, a number with four digits, an id as a label, and None as a dash."""
    if isinstance(value, str):
        return label(value)
    return str(value) if isinstance(value, int) else number(value)


def signed(value: float, digits: int = 4) -> str:
    """Format a difference with its sign; 0 where there is none but rounding."""
    if abs(value) < SAME:
        return "0"
    return f"{'+' if value > 0 else MINUS}{number(abs(value), digits)}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Format a count with its noun: ``1 batch``, ``3 batches``.

    Args:
        count: The count.
        noun: The noun in the singular.
        plural: The plural; by default the noun with an ``s``.
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
