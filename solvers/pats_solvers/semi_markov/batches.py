"""Batches apart from switches: of each composition those that can be best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, combinations_with_replacement

from msgspec import Struct

from pats_opt.model.problem import Adapters, Job, Site
from pats_solvers.semi_markov.arrivals import RequestKind

#: Gpu of the model: the only one.
GPU = 0


class BatchChoice(Struct, frozen=True):
    """A batch apart from its switch.

    Attributes:
        members: As in :class:`Decision`.
        served: Number served of each kind.
        ticks: Ticks from its start to its end.
        cost: Loss of the members from the batch's start on.
    """

    members: tuple[tuple[int, int, int], ...]
    served: tuple[int, ...]
    ticks: int
    cost: float


class BatchChoices:
    """The batches that can be best.

    Args:
        site: Everything but the requests; one GPU.
        kinds: The kinds of requests.
        limits: Largest number waiting of each kind.

    Attributes:
        jobs: A request of each kind.
        prices: Loss per tick of the latency of each.
        by_adapters: The batches of just some adapters that can be best.
    """

    def __init__(self, site: Site, kinds: Sequence[RequestKind], limits: Sequence[int]) -> None:
        self._site, self._kinds, self._limits = site, kinds, limits
        self.jobs = [kind.job() for kind in kinds]
        self.prices = [kind.price(site) for kind in kinds]
        self.by_adapters = {s: self._batches_of(s) for s in self._adapter_sets()}

    def members(self, batch: BatchChoice) -> list[Job]:
        """Return a request for each member."""
        return [self.jobs[i] for i, _, count in batch.members for _ in range(count)]

    def _adapter_sets(self) -> list[Adapters]:
        """Return the sets of adapters that a batch may use."""
        used = sorted({kind.adapter for kind in self._kinds})
        return [
            frozenset(chosen)
            for size in range(1, min(len(used), self._site.max_per_batch) + 1)
            for chosen in combinations(used, size)
        ]

    def _batches_of(self, adapters: Adapters) -> list[BatchChoice]:
        """Return the batches of just these adapters: of each composition those that can be best.

        One that takes longer than another and costs no less cannot be best: the GPU could serve
        the other one and wait.
        """
        places = [
            (i, o)
            for i, kind in enumerate(self._kinds)
            if kind.adapter in adapters
            for o in range(len(kind.options))
        ]
        found: dict[tuple[int, ...], list[BatchChoice]] = {}
        size = 0
        while True:
            size += 1
            fits = False
            for chosen in combinations_with_replacement(places, size):
                served = tuple(sum(i == k for i, _ in chosen) for k in range(len(self._kinds)))
                if any(n > most for n, most in zip(served, self._limits, strict=True)):
                    continue
                jobs = [self.jobs[i] for i, _ in chosen]
                if not self._site.fits(GPU, adapters, jobs):
                    continue
                fits = True
                if {job.adapter for job in jobs} == adapters:
                    found.setdefault(served, []).append(self._batch(chosen, served))
            if not fits:
                break
        return [batch for batches in found.values() for batch in _undominated(batches)]

    def _batch(self, chosen: Sequence[tuple[int, int]], served: tuple[int, ...]) -> BatchChoice:
        """Return the batch of these kinds and options."""
        steps = tuple(self._kinds[i].options[o].steps for i, o in chosen)
        ends, ticks = self._site.clock.ends(steps)
        cost = sum(
            self._kinds[i].options[o].quality_loss + self.prices[i] * ends[s]
            for (i, o), s in zip(chosen, steps, strict=True)
        )
        members = tuple((i, o, chosen.count((i, o))) for i, o in sorted(set(chosen)))
        return BatchChoice(members, served, ticks, cost)


def _undominated(batches: list[BatchChoice]) -> Iterator[BatchChoice]:
    """Yield the batches that neither last longer nor cost more than another one."""
    least = float("inf")
    for batch in sorted(batches, key=lambda b: (b.ticks, b.cost)):
        if batch.cost < least - 1e-12:
            least = batch.cost
            yield batch
