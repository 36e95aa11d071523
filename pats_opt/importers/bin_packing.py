"""Bin packing as an instance: a batch is a bin, a slot holds one batch.

One adapter that costs nothing, all requests at slot 0, memory demand = item size. Two readings:

- ``bins=K``: the horizon is K slots and nothing costs anything. All items can be served if and
  only if they fit K bins; otherwise the instance is infeasible.
- ``bins=None``: the least number of bins. The horizon is the number H of bins that first-fit
  decreasing needs, and H *blanks* come along: requests that fill a bin alone and may be rejected
  at a loss of 1. A packing into K <= H bins leaves H - K slots, each of which serves one blank; so
  the loss, the number of blanks rejected, is the number of bins used, and its minimum the
  optimum.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.importers.slots import MOST_REQUESTS, slot_instance, slot_request
from pats_opt.importers.text import Words, read_lines
from pats_opt.model.files import StrPath
from pats_opt.model.instance import Instance, quanta

FORMAT = "bin-packing"

#: The one adapter.
ADAPTER = "base"


class BinPacking(Struct, frozen=True):
    """One bin packing problem; ``best_known`` bins, where the file tells."""

    name: str
    capacity: float
    sizes: tuple[float, ...]
    best_known: int | None = None

    def first_fit_decreasing(self) -> int:
        """Bins that first-fit decreasing needs: at most 11/9 of the optimum plus 6/9."""
        left: list[int] = []
        for size in sorted(map(quanta, self.sizes), reverse=True):
            bin_ = next((i for i, free in enumerate(left) if size <= free), None)
            if bin_ is None:
                left.append(quanta(self.capacity) - size)
            else:
                left[bin_] -= size
        return len(left)


class Source(Struct, frozen=True, tag=FORMAT, tag_field="format"):
    """What an instance notes of its origin."""

    name: str
    best_known: int | None = None


def import_bin_packing(
    path: StrPath, *, problem: str | None = None, bins: int | None = None
) -> Instance:
    """A bin packing file as an instance.

    Args:
        path: The file, in the layout of BPPLib (n, capacity, n sizes) or of the OR-Library (number
            of problems; for each its name, then capacity, n and the best known, then n sizes).
        problem: Name of the problem in a file of several.
        bins: Number of bins that must do; None asks for the least number.

    Raises:
        InputError: The file is wrong, or the problem is not in it.
    """
    chosen = _chosen(read_bin_packing(path), str(path), problem)
    return bin_packing_instance(chosen, bins=bins)


def read_bin_packing(path: StrPath) -> list[BinPacking]:
    """All problems of a file."""
    words = Words(path, read_lines(path))
    first = words.whole("number of items, or of problems", 1)
    second = words.peek()
    if second is None or _is_number(second):
        found = [_sizes(words, Path(path).stem, words.number("capacity"), first)]
        words.end(f"{first} sizes")
        return found
    found = []
    for _ in range(first):
        name = words.word("a problem's name").text
        capacity = words.number("capacity")
        count = words.whole("number of items", 1, MOST_REQUESTS)
        best = words.whole("number of bins best known")
        found.append(_sizes(words, name, capacity, count, best))
    words.end(f"{first} problems")
    return found


def bin_packing_instance(packing: BinPacking, *, bins: int | None = None) -> Instance:
    """The instance whose schedules are the packings (see the module)."""
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
        source=Source(name=packing.name, best_known=packing.best_known),
    )


def _sizes(
    words: Words, name: str, capacity: float, count: int, best: int | None = None
) -> BinPacking:
    if count > MOST_REQUESTS:
        raise InputError(
            f"{count} items are more than {MOST_REQUESTS}", file=words.file, hint="import fewer"
        )
    sizes = tuple(
        words.number(f"size that fits capacity {capacity:g}", 0, capacity) for _ in range(count)
    )
    return BinPacking(name, capacity, sizes, best)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _chosen(found: list[BinPacking], file: str, name: str | None) -> BinPacking:
    """The problem of this name; of a file with one problem, that one."""
    for packing in found:
        if packing.name == name or (name is None and len(found) == 1):
            return packing
    names = ", ".join(p.name for p in found[:5]) + (", ..." if len(found) > 5 else "")
    raise InputError(
        f"the file holds {len(found)} problems"
        if name is None
        else f"it holds no problem {name!r}",
        file=file,
        hint=f"choose one with --problem: {names}",
    )
