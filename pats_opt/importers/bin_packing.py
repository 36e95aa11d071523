"""Bin packing as an instance: a batch is a bin, a slot holds one batch.

There is one adapter that costs nothing; all requests arrive at slot 0 and need memory of the item's
size. There are two questions:

- ``bins=K``, do K bins suffice? The horizon is K slots and nothing costs anything. If the items do
  not fit K bins, the instance is infeasible.
- ``bins=None``, what is the least number of bins? The horizon is the number H of bins that
  first-fit decreasing needs. H *blanks* are added: requests that fill a bin alone and may be
  rejected at a loss of 1. A packing into K <= H bins leaves H - K slots, each of which serves one
  blank. So the loss, the number of rejected blanks, is the number of bins used.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.importers.classic import (
    MOST_REQUESTS,
    Tokenizer,
    as_number,
    read_lines,
    slot_instance,
    slot_request,
)
from pats_opt.model.files import StrPath
from pats_opt.model.instance import Instance, quanta

FORMAT = "bin-packing"

#: The one adapter.
ADAPTER = "base"


class BinPacking(Struct, frozen=True):
    """One bin packing problem; ``best_known`` is its published number of bins, if any."""

    name: str
    capacity: float
    sizes: tuple[float, ...]
    best_known: int | None = None

    def first_fit_decreasing(self) -> int:
        """Return the bins of first-fit decreasing: at most 11/9 of the optimum plus 6/9."""
        left: list[int] = []
        for size in sorted(map(quanta, self.sizes), reverse=True):
            bin_ = next((i for i, free in enumerate(left) if size <= free), None)
            if bin_ is None:
                left.append(quanta(self.capacity) - size)
            else:
                left[bin_] -= size
        return len(left)


class BinPackingOrigin(Struct, frozen=True, tag=FORMAT, tag_field="format"):
    """Origin of an imported instance, for the exporter."""

    name: str
    best_known: int | None = None


def import_bin_packing(
    path: StrPath, *, problem: str | None = None, bins: int | None = None
) -> Instance:
    """Import a bin packing file.

    Args:
        path: The file, in the layout of BPPLib (n, capacity, n sizes) or of the OR-Library (number
            of problems; for each its name, then capacity, n and the best known, then n sizes).
        problem: Name of the problem in a file of several.
        bins: Number of bins that must suffice; None to minimise it.

    Raises:
        InputError: The file is wrong, or the problem is not in it.
    """
    found = read_bin_packing(path)
    for packing in found:
        if packing.name == problem or (problem is None and len(found) == 1):
            return bin_packing_instance(packing, bins=bins)
    names = ", ".join(p.name for p in found[:5]) + (", ..." if len(found) > 5 else "")
    held = f"{len(found)} problems" if problem is None else f"no problem {problem!r}"
    subject = "the file" if problem is None else "it"
    raise InputError(
        f"{subject} holds {held}", file=str(path), hint=f"choose one with --problem: {names}"
    )


def read_bin_packing(path: StrPath) -> list[BinPacking]:
    """Read all problems of a file."""
    tokens = Tokenizer(path, read_lines(path))
    first = tokens.whole("number of items, or of problems", 1)
    second = tokens.peek()
    if second is None or as_number(second) is not None:
        found = [_packing(tokens, Path(path).stem, tokens.number("capacity"), first)]
        tokens.end(f"{first} sizes")
        return found
    found = []
    for _ in range(first):
        name = tokens.text("a problem's name").text
        capacity = tokens.number("capacity")
        count = tokens.whole("number of items", 1, MOST_REQUESTS)
        best = tokens.whole("number of bins best known")
        found.append(_packing(tokens, name, capacity, count, best))
    tokens.end(f"{first} problems")
    return found


def bin_packing_instance(packing: BinPacking, *, bins: int | None = None) -> Instance:
    """Make the instance whose schedules are the packings (see the module)."""
    horizon = packing.first_fit_decreasing() if bins is None else bins
    requests = [
        slot_request(f"item-{i}", ADAPTER, {"vram_gib": size})
        for i, size in enumerate(packing.sizes, 1)
    ]
    if bins is None:
        full = {"vram_gib": packing.capacity}
        requests += [
            slot_request(f"blank-{i}", ADAPTER, full, reject_loss=1.0)
            for i in range(1, horizon + 1)
        ]
    return slot_instance(
        packing.name if bins is None else f"{packing.name}-in-{bins}",
        capacity={"vram_gib": packing.capacity},
        adapters=(ADAPTER,),
        requests=requests,
        horizon=horizon,
        origin=BinPackingOrigin(name=packing.name, best_known=packing.best_known),
    )


def _packing(
    tokens: Tokenizer, name: str, capacity: float, count: int, best: int | None = None
) -> BinPacking:
    if count > MOST_REQUESTS:
        raise InputError(
            f"{count} items are more than {MOST_REQUESTS}", file=tokens.file, hint="import fewer"
        )
    sizes = tuple(
        tokens.number(f"size that fits capacity {capacity:g}", 0, capacity) for _ in range(count)
    )
    return BinPacking(name, capacity, sizes, best)
