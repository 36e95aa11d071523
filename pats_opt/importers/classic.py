"""Files of numbers and the slotted model, for the importers of classic problems.

A classic problem becomes an instance of one GPU with one resident adapter: a tick is a slot, a slot
holds one batch, and a second of switching costs 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.model.files import StrPath, read_bytes
from pats_opt.model.instance import (
    LARGEST,
    Adapter,
    Gpu,
    Instance,
    Option,
    Request,
    SlotService,
    Switching,
    Transition,
    validate_made,
)
from pats_opt.model.parsing import convert

S = TypeVar("S", bound=Struct)

#: Key below ``extra`` with the origin of an imported instance, for its exporter.
SOURCE = "source"

#: Most requests of an import: more are a slip of the pen, or hopeless.
MOST_REQUESTS = 100_000


class Token(NamedTuple):
    """Text between two spaces, and the line it is on (from 1)."""

    text: str
    line: int


def read_lines(path: StrPath) -> list[str]:
    """Read the lines of a text file; bytes that are no UTF-8 can only be in its comments.

    Raises:
        InputError: The file cannot be read, or is empty.
    """
    text = read_bytes(path).decode("utf-8", "replace").removeprefix("\ufeff")
    if not text.strip():
        raise InputError("the file is empty", file=str(path), hint="name a file with an instance")
    return text.splitlines()


class Tokenizer:
    """Reads tokens one after another; every error names the line.

    Args:
        file: Name of the file, for errors.
        lines: Its lines, or some of them in a row.
        first: Number of the first of these lines in the file.
    """

    def __init__(self, file: StrPath, lines: list[str], first: int = 1) -> None:
        self.file = str(file)
        self._tokens = [Token(t, n) for n, line in enumerate(lines, first) for t in line.split()]
        self._at, self._last = 0, first + max(0, len(lines) - 1)

    @property
    def left(self) -> int:
        """Number of tokens not read yet."""
        return len(self._tokens) - self._at

    @property
    def line(self) -> int:
        """Line of the token read last."""
        return self._tokens[self._at - 1].line if self._at else self._last

    def peek(self) -> str | None:
        """Return the next token without reading it; None at the end."""
        return self._tokens[self._at].text if self.left else None

    def text(self, expected: str) -> Token:
        """Read a token; ``expected`` names it in the error at the end of the file."""
        if not self.left:
            raise InputError(
                f"the file ends where {expected} should be",
                file=self.file,
                place=f"line {self._last}",
                hint="add what is missing",
            )
        self._at += 1
        return self._tokens[self._at - 1]

    def number(self, expected: str, low: float = 0.0, high: float = LARGEST) -> float:
        """Read a number from ``low`` to ``high``."""
        token = self.text(expected)
        value = as_number(token.text)
        if value is None or not low <= value <= high:
            raise self._unexpected(token, expected, f"a number from {low:g} to {high:g}")
        return value

    def whole(self, expected: str, low: int = 0, high: int = 1_000_000) -> int:
        """Read a whole number from ``low`` to ``high``."""
        token = self.text(expected)
        try:
            value = int(token.text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise self._unexpected(token, expected, f"a whole number from {low} to {high}")
        return value

    def end(self, last: str) -> None:
        """Refuse tokens after ``last``, the name of what ends the file."""
        if self.left:
            token = self._tokens[self._at]
            raise InputError(
                f"{self.left} words follow {last}, the first one is {token.text[:40]!r}",
                file=self.file,
                place=f"line {token.line}",
                hint="remove them, or correct the counts before them",
            )

    def _unexpected(self, token: Token, expected: str, hint: str) -> InputError:
        return InputError(
            f"{token.text[:40]!r} is no {expected}",
            file=self.file,
            place=f"line {token.line}",
            hint=f"write {hint}",
        )


def as_number(text: str) -> float | None:
    """Read a number; None where the text is none."""
    try:
        return float(text)
    except ValueError:
        return None


def slot_instance(
    name: str,
    *,
    capacity: dict[str, float],
    adapters: Iterable[str],
    requests: Iterable[Request],
    horizon: int,
    origin: Struct,
    pairs: Iterable[Transition] = (),
    resident: tuple[str, ...] = (),
    latency_price: float = 0.0,
) -> Instance:
    """Make an instance of the slotted model.

    The first adapter and every transition that ``pairs`` leaves out cost nothing.

    Args:
        name: The instance's name.
        capacity: Capacity of a batch by resource.
        adapters: Ids of the adapters.
        requests: Requests of :func:`slot_request`.
        horizon: Number of slots.
        origin: Data for the exporter; its tag is the format.
        pairs: Transitions with a cost.
        resident: The adapter resident in slot 0, if any.
        latency_price: Loss per slot of waiting.
    """
    instance = Instance(
        name=name,
        tick_s=1.0,
        base_vram_gib=0.0,
        gpus=(Gpu(id="gpu-0", capacity={"vram_gib": 0.0, **capacity}, resident=resident),),
        adapters=tuple(Adapter(id=a, vram_gib=0.0, load_s=0.0) for a in adapters),
        switching=Switching(max_resident=1, price_per_s=1.0, pairs=tuple(pairs)),
        service=SlotService(),
        latency_price_per_s=latency_price,
        horizon_ticks=horizon,
        requests=tuple(requests),
        extra={SOURCE: msgspec.to_builtins(origin)},
    )
    validate_made(instance)
    return instance


def slot_request(
    name: str,
    adapter: str,
    demand: dict[str, float],
    *,
    slot: int = 0,
    reject_loss: float | None = None,
) -> Request:
    """Make a request that may be served from ``slot`` on."""
    return Request(
        id=name,
        arrival_s=float(slot),
        adapter=adapter,
        demand={"vram_gib": 0.0, **demand},
        options=(Option(steps=1, quality=0.0),),
        reject_loss=reject_loss,
    )


def origin_of(instance: Instance, kind: type[S]) -> S:
    """Read the origin, a ``kind`` tagged with its format, that an importer kept in an instance.

    Raises:
        InputError: The instance was imported from another format or from none, or the record is
            damaged.
    """
    extra = instance.extra if isinstance(instance.extra, dict) else {}
    wanted = kind.__struct_config__.tag
    kept = extra.get(SOURCE)
    if not isinstance(kept, dict) or kept.get("format") != wanted:
        raise InputError(
            f"the instance was not imported from {wanted!r}",
            place=f"extra.{SOURCE}.format",
            hint=f"import one with 'pats-opt import {wanted}', or choose another format",
        )
    try:
        return convert(kept, kind)
    except InputError as error:
        place = ".".join(filter(None, ("extra", SOURCE, error.place)))
        raise InputError(error.problem, place=place, hint="import the instance again") from None
