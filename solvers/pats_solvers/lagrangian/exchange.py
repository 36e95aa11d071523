"""Jobs and options that chains leave to others at a price: other GPUs, and merged classes.

The chains' values are one half of the bound. The other half is looked at job by job: which option
a job of a merged class chooses, and, where there are several GPUs, what the relaxation pays in all
for its being served. Each half falls apart into *parts*, which depend on few prices each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pats_opt.model.problem import Problem
from pats_solvers.common.arrays import Floats, Ints
from pats_solvers.lagrangian.merging import JobChoices, MergedPrices, SlotPrices

#: Slots and completions used by a merged class, less those chosen: see :func:`.slot_use`.
SlotUse = tuple[Floats, Floats]

#: Unit of the prices of options, for the root of that of serving.
OPTION_UNIT = 0.25


@dataclass(frozen=True, slots=True)
class PriceVector:
    """Prices of a relaxation by what they are for.

    ``hold``, ``keep`` and ``load`` are by GPU kind and tick, ``serve`` by job, ``slots`` by merged
    class. Those that a problem does not have are zero, or of no length.
    """

    hold: Floats
    keep: Floats
    load: Floats
    serve: Floats
    slots: tuple[SlotPrices, ...] = ()


class PartEvaluation(NamedTuple):
    """A part of the relaxation's value, concave in the prices: its value and a supergradient.

    Attributes:
        value: The value.
        places: Places in a flat price vector where the supergradient is not 0, each once.
        slope: The supergradient there.
    """

    value: float
    places: Ints
    slope: Floats


class JobGroup(NamedTuple):
    """Jobs that make up one part: those of a merged class, or (-1) others of one adapter."""

    merged: int
    jobs: Ints


class Exchange:
    """Jobs and options that have a price.

    Serving has a price by job where there are several GPUs, but not for jobs of a merged class: a
    chain cannot tell which of them it serves. There the prices of slots see to it that all chains
    together serve as many as choose to be served.

    Args:
        problem: The problem.
        merged: The merged classes.
        unfit: By job, the GPUs that cannot serve it.
        serve_at: Where the prices of serving begin in a flat price vector, which end it but for
            those of merged classes.

    Attributes:
        merged_at: Where the prices of each merged class begin there; a last entry ends them.
        reject: Loss by job of its rejection, infinity where it must be served.
        constant: Loss that every schedule has: jobs that fit nowhere.
        linear: What the value rises by with each price of serving, whatever is chosen.
        groups: The jobs of each part.
        alone: By job, 0 where it is in a merged class, else 1.
    """

    def __init__(
        self, problem: Problem, merged: Sequence[MergedPrices], unfit: Floats, serve_at: int
    ) -> None:
        self.merged, self.serve_at, self._unfit = merged, serve_at, unfit
        self._gpus = len(problem.site.gpus)
        self.several = self._gpus > 1
        rejects = [math.inf if j.reject_loss is None else j.reject_loss for j in problem.jobs]
        self.reject = np.array(rejects, dtype=np.float64)
        fits = unfit < self._gpus
        self.constant = float(self.reject[~fits].sum()) if self.several else 0.0
        options_at = serve_at + (len(problem.jobs) if self.several else 0)
        self.merged_at = np.cumsum([options_at, *(each.dimension for each in merged)])
        self.groups = [JobGroup(i, each.jobs) for i, each in enumerate(merged)]
        self.alone = np.ones(len(problem.jobs))
        for each in merged:
            self.alone[each.jobs] = 0.0
        self.linear = np.zeros(options_at - serve_at)
        if self.several:
            alone = fits & (self.alone > 0.0)
            self.linear[alone] = (unfit - (self._gpus - 1))[alone]
            adapters = np.array([job.adapter for job in problem.jobs])
            choosing = alone & np.isfinite(self.reject)
            for adapter in np.unique(adapters[choosing]):
                mine = np.flatnonzero(choosing & (adapters == adapter))
                self.groups.append(JobGroup(-1, mine))
                self.linear[mine] = 0.0

    def units(self, ticks: int) -> Floats:
        """Return how far prices of serving and of options go when those of ticks go 1, about.

        There is as much to pay for all jobs as for all ticks of all GPUs. The units make an ascent
        the same whatever a tick is; those of options are measured.
        """
        ratio = ticks * self._gpus / max(1, len(self.reject))
        units = np.full(int(self.merged_at[-1]) - self.serve_at, OPTION_UNIT * math.sqrt(ratio))
        units[: int(self.merged_at[0]) - self.serve_at] = ratio
        return units

    def ranges(self) -> Iterator[tuple[MergedPrices, int, int]]:
        """Yield the merged classes and where their prices begin and end."""
        yield from zip(self.merged, self.merged_at, self.merged_at[1:], strict=False)

    def choices(self, slots: Sequence[SlotPrices]) -> list[JobChoices]:
        """Return what each job of a merged class chooses."""
        return [m.choices(p) for m, p in zip(self.merged, slots, strict=True)]

    def least(self, choices: Sequence[JobChoices]) -> Floats:
        """Return by job its least loss, a slot's left out; 0 for those in no merged class."""
        least = np.zeros(len(self.reject))
        for merged, found in zip(self.merged, choices, strict=True):
            least[merged.jobs] = found.least
        return least

    def evaluate(
        self, prices: PriceVector, choices: Sequence[JobChoices]
    ) -> Iterator[tuple[PartEvaluation, Floats]]:
        """Yield each part, with the terms that its value is the sum of.

        Args:
            prices: The prices.
            choices: What jobs of merged classes choose at these.
        """
        serve, slots = prices.serve, prices.slots
        for i, jobs in self.groups:
            if i >= 0:
                taken, done = np.zeros_like(slots[i].taken), np.zeros_like(slots[i].done)
                self.merged[i].choose(choices[i], taken, done)
                terms, slope = choices[i].least, self.merged[i].slope(taken, done)
                places = self.merged_at[i] + np.arange(len(slope))
            else:
                rejected = serve[jobs] > self.reject[jobs]
                net = self._unfit[jobs] - (self._gpus - 1)
                rejects = np.where(rejected, self.reject[jobs], 0.0)
                terms, places = rejects + (net - rejected) * serve[jobs], self.serve_at + jobs
                slope = net - rejected
            kept = slope != 0.0
            yield PartEvaluation(math.fsum(terms.tolist()), places[kept], slope[kept]), terms
