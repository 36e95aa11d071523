"""Configuration tables: the base of their structs, and reading them from TOML files."""

from __future__ import annotations

import tomllib
from typing import Annotated, Any, TypeVar

from msgspec import Meta, Struct

from pats_opt.errors import InputError, in_file
from pats_opt.model.files import StrPath, read_bytes
from pats_opt.model.parsing import convert

Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]
NotNegative = Annotated[float, Meta(ge=0, le=1e9)]
Count = Annotated[int, Meta(ge=1, le=10**9)]

C = TypeVar("C", bound=Struct)


class ConfigTable(
    Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """One table of a configuration: immutable, strict about keys."""


class Mix(ConfigTable, frozen=True, kw_only=True):
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
    """Read a TOML file as plain objects.

    Raises:
        InputError: naming the file and the line.
    """
    return parse_toml(read_bytes(path), str(path))


def parse_toml(data: bytes, file: str | None = None) -> dict[str, Any]:
    """Parse TOML text as plain objects; see :func:`read_toml`."""
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        problem, hint = "this is not UTF-8 text", "save it as UTF-8 TOML"
        place = f"byte {error.start}"
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problem, hint = f"this is not TOML ({error})", "correct the syntax there"
        place = None
    raise InputError(problem, file=file, place=place, hint=hint)


def as_table(document: Any, kind: type[C], file: str | None = None) -> C:
    """Convert a parsed document to a configuration table.

    Raises:
        InputError: with file, place and hint.
    """
    with in_file(file):
        return convert(document, kind)
