"""Batching rules: when an idle GPU starts a batch of its queue, and of how many.

Each looks at the queue of one GPU, of which ``waiting`` requests could be in the batch of its head,
and says at which tick to start how many. While the tick is not there, and no other event comes, the
GPU idles. Let b_max be the best batch size at the GPU's level (:class:`.ladder.Sizes`), and
latency(b) the ticks of a batch of the b first, its switch included. All but ``switched`` are
Proteus' (its published code), with a timer where ``aimd`` has none and would strand requests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from pats_solvers.online.levels.ladder import Sizes

#: Names of the rules, for parameters.
BatchingRule = Literal["accscale", "nexus", "aimd", "switched"]


class QueueView(NamedTuple):
    """The queue of an idle GPU, as its batching rule sees it.

    Attributes:
        gpu: The GPU's index.
        now: The current tick.
        waiting: Requests that could be in the batch of the head, the head included; at least 1.
        due: Tick by which the head is to be done.
        best: Best batch size.
        latency: Ticks until a batch of so many of the first is done, if it starts now.
        busy: Whether the load is high.
    """

    gpu: int
    now: int
    waiting: int
    due: int
    best: int
    latency: Callable[[int], int]
    busy: bool

    def last_start(self, size: int) -> int:
        """Return the last tick at which the head is in time in a batch of ``size``."""
        return self.due - self.latency(size)


class Firing(NamedTuple):
    """When to start a batch, of how many requests, and whether its head would be late by now."""

    tick: int
    size: int
    late: bool = False


class Batching(Protocol):
    """A batching rule in one run."""

    def __call__(self, view: QueueView) -> Firing:
        """Return when to start the next batch of a queue, and of how many."""
        ...

    def served(self, gpu: int, best: int, late: bool) -> None:
        """Note that a batch starts, and whether one of its members will be late."""
        ...


class AccuracyScaling:
    """Early firing: as late as the head allows, or at once where more wait than fit.

    With b the largest allowed size up to the queue's length and b_max, a batch of b starts at the
    head's due tick less latency(b), or at once where more than b_max wait. It is not
    work-conserving.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes

    def __call__(self, view: QueueView) -> Firing:
        """Return when to start the next batch of a queue, and of how many."""
        size = self._sizes.allowed(min(view.waiting, view.best))
        full = view.waiting > view.best
        return Firing(view.now if full else view.last_start(size), size)

    def served(self, gpu: int, best: int, late: bool) -> None:
        """Nothing is learnt from a batch."""


class Nexus:
    """A full batch at once; else what there is, when a full batch would make the head late.

    Source: Nexus (Shen et al., SOSP 2019), as in Proteus' code.
    """

    def __call__(self, view: QueueView) -> Firing:
        """Return when to start the next batch of a queue, and of how many."""
        if view.waiting >= view.best:
            return Firing(view.now, view.best)
        return Firing(view.last_start(view.best), view.waiting)

    def served(self, gpu: int, best: int, late: bool) -> None:
        """Nothing is learnt from a batch."""


class Aimd:
    """A size that grows by one allowed size after a batch in time, and shrinks after a late one.

    It starts at 1, for each GPU. A batch starts when that many wait, or when waiting longer would
    make the head late. Source: Clipper (Crankshaw et al., NSDI 2017), as in Proteus' code.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._size: dict[int, int] = {}

    def __call__(self, view: QueueView) -> Firing:
        """Return when to start the next batch of a queue, and of how many."""
        wanted = min(self._size.get(view.gpu, 1), view.best)
        if view.waiting >= wanted:
            return Firing(view.now, wanted)
        return Firing(view.last_start(view.waiting), view.waiting)

    def served(self, gpu: int, best: int, late: bool) -> None:
        """Adapt the size of the GPU's next batch."""
        size = min(self._size.get(gpu, 1), best)
        self._size[gpu] = self._sizes.previous(size) if late else self._sizes.next(size, best)


class LoadSwitched:
    """Load-switched: at low load one request at once; at high load a full batch.

    At high load a batch that is not full starts when waiting longer would make the head late.
    Source: the route-and-batch strategy of the prompt-aware document.
    """

    def __call__(self, view: QueueView) -> Firing:
        """Return when to start the next batch of a queue, and of how many."""
        if not view.busy:
            return Firing(view.now, 1)
        if view.waiting >= view.best:
            return Firing(view.now, view.best)
        return Firing(view.last_start(view.waiting), view.waiting)

    def served(self, gpu: int, best: int, late: bool) -> None:
        """Nothing is learnt from a batch."""


def batching(rule: BatchingRule, sizes: Sizes) -> Batching:
    """Return the rule of a name, with fresh memory."""
    if rule == "accscale":
        return AccuracyScaling(sizes)
    if rule == "aimd":
        return Aimd(sizes)
    return Nexus() if rule == "nexus" else LoadSwitched()
