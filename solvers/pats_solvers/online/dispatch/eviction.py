"""Which residents go when room is needed: paging rules, usable by every policy.

They matter where ``max_resident`` is above 1. Belady's rule needs the future, so it is no choice
here: the solver ``belady`` applies it to what a policy did, as the yardstick.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from pats_opt.model.problem import Adapters, Job, Site
from pats_solvers.online.dispatch.learnt import LearntValue

#: Names of the rules, for parameters.
EvictionRule = Literal["lru", "lfu", "cost", "polar"]


class Eviction(Protocol):
    """A paging rule at work in one run."""

    def arrived(self, job: Job) -> None:
        """A job arrives."""

    def served(self, gpu: int, before: Adapters, after: Adapters, active: Adapters) -> None:
        """A batch starts on ``gpu``: its residents before and with it, and those it uses."""

    def __call__(self, gpu: int, residents: Adapters) -> Sequence[int]:
        """``residents`` of ``gpu`` in the order in which they are to go."""
        ...


def eviction(rule: EvictionRule, site: Site) -> Eviction:
    """The rule of a name, with fresh memory."""
    return RULES[rule](site)


class LeastRecentlyUsed:
    """Evicts the resident that a batch on that GPU used longest ago.

    Residents that were never used go first; ties go by adapter index.
    """

    def __init__(self, site: Site) -> None:  # noqa: ARG002 - all rules are made alike
        self._count = 0
        self._last: dict[tuple[int, int], int] = {}

    def arrived(self, job: Job) -> None:
        """Not looked at."""

    def served(self, gpu: int, before: Adapters, after: Adapters, active: Adapters) -> None:  # noqa: ARG002
        """Note the use."""
        self._count += 1
        for adapter in active:
            self._last[gpu, adapter] = self._count

    def __call__(self, gpu: int, residents: Adapters) -> list[int]:
        """``residents`` in the order in which they are to go."""
        if len(residents) < 2:
            return list(residents)
        return sorted(residents, key=lambda a: (self._last.get((gpu, a), 0), a))


class LeastFrequentlyUsed:
    """Evicts the resident with the fewest requests so far, on all GPUs together; ties: the index.

    Requests count when they arrive, so an adapter with a queue is not taken for a rare one.
    """

    def __init__(self, site: Site) -> None:
        self._requests = [0] * len(site.adapter_ids)

    def arrived(self, job: Job) -> None:
        """Count the request."""
        self._requests[job.adapter] += 1

    def served(self, gpu: int, before: Adapters, after: Adapters, active: Adapters) -> None:
        """Not looked at."""

    def __call__(self, gpu: int, residents: Adapters) -> list[int]:  # noqa: ARG002
        """``residents`` in the order in which they are to go."""
        return sorted(residents, key=lambda a: (self._requests[a], a))


class GreedyDual:
    """Cost-aware: GreedyDual-Size (Cao, Irani 1997; Young 1994 for equal sizes).

    A resident's credit becomes L + load seconds / memory whenever a batch uses it; the one with the
    least credit goes, and L rises to its credit. So what is dear to load, small and recently used
    stays. Memory is relative to the largest adapter's, and alike where adapters take none.
    """

    def __init__(self, site: Site) -> None:
        largest = max(site.adapter_vram, default=0)
        self._worth = [
            seconds * (largest / vram if vram else 1.0)
            for seconds, vram in zip(site.load_s, site.adapter_vram, strict=True)
        ]
        self._inflation = [0.0] * len(site.gpus)
        self._credit: dict[tuple[int, int], float] = {}

    def arrived(self, job: Job) -> None:
        """Not looked at."""

    def served(self, gpu: int, before: Adapters, after: Adapters, active: Adapters) -> None:
        """Renew the credit of what is used, and raise L to that of what is evicted."""
        for adapter in before - after:
            credit = self._credit.pop((gpu, adapter), 0.0)
            self._inflation[gpu] = max(self._inflation[gpu], credit)
        for adapter in active:
            self._credit[gpu, adapter] = self._inflation[gpu] + self._worth[adapter]

    def __call__(self, gpu: int, residents: Adapters) -> list[int]:
        """``residents`` in the order in which they are to go."""
        return sorted(residents, key=lambda a: (self._credit.get((gpu, a), 0.0), a))


#: The rules by name.
RULES: dict[EvictionRule, Callable[[Site], Eviction]] = {
    "lru": LeastRecentlyUsed,
    "lfu": LeastFrequentlyUsed,
    "cost": GreedyDual,
    "polar": LearntValue,
}
