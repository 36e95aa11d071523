"""Base of the configuration structs, and reading them from TOML files."""

from __future__ import annotations

import tomllib
from typing import Annotated, Any, TypeVar

from msgspec import Meta, Struct

from pats_opt.errors import InputError
from pats_opt.model.files import StrPath, convert, read_bytes

Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]
NotNegative = Annotated[float, Meta(ge=0, le=1e9)]

P = TypeVar("P", bound="Part")


class Part(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One component's parameters: immutable, strict about keys."""


class Mix(Part, frozen=True, kw_only=True):
    """A discrete distribution: ``values`` with weights ``shares`` (equal ones where empty)."""

    values: Annotated[tuple[float, ...], Meta(min_length=1)]
    shares: tuple[NotNegative, ...] = ()

    def __post_init__(self) -> None:
        if self.shares and (len(self.shares) != len(self.values) or sum(self.shares) <= 0):
            raise ValueError("'shares' needs one number for each of 'values', not all 0")

    @property
    def weights(self) -> tuple[float, ...]:
        """Shares that sum to 1."""
        given = self.shares or (1.0,) * len(self.values)
        return tuple(share / sum(given) for share in given)

    @property
    def mean(self) -> float:
        """The expected value."""
        return sum(v * w for v, w in zip(self.values, self.weights, strict=True))


def read_toml(path: StrPath) -> dict[str, Any]:
    """A TOML file as plain objects.

    Raises:
        InputError: naming the file and the line.
    """
    try:
        return parse_toml(read_bytes(path))
    except InputError as error:
        raise error if error.file else error.in_file(str(path)) from None


def parse_toml(data: bytes) -> dict[str, Any]:
    """TOML text as plain objects; an :class:`InputError` says where it is wrong."""
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            "this is not UTF-8 text", place=f"byte {error.start}", hint="save it as UTF-8 TOML"
        ) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"this is not TOML ({error})", hint="correct the syntax there") from None


def part_of(document: Any, kind: type[P], file: str | None = None) -> P:
    """A parsed document as a component.

    Raises:
        InputError: with file, place and hint.
    """
    try:
        return convert(document, kind)
    except InputError as error:
        raise (error.in_file(file) if file else error) from None
