"""The bound at work: resolution, memory, and ascent, whatever the instance's size.

A relaxation is as fine as memory and time allow. Large ones begin with several ticks taken as one
and few backlogs told apart, where an evaluation is cheap, and are refined while the prices are
kept. Every bound on the way is valid; the best one counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pats_opt.core.prices import KEY, KindPrices, Prices, as_json
from pats_opt.errors import InputError
from pats_opt.model.problem import Problem
from pats_solvers.lagrangian.ascent import Ascent
from pats_solvers.lagrangian.chain import Floats
from pats_solvers.lagrangian.relaxation import Relaxation

#: Backlogs told apart by each chain: at first, and at most.
FIRST_STATES, MOST_STATES = 36, 3000

#: How many more each refinement tells apart.
MORE_STATES = 3

#: How much later prices end where jobs were left at the end.
LONGER = 1.3

#: Steps of the dynamic programs (ticks x batches x backlogs) beyond which ticks are first taken
#: together.
SLOW = 1e9

#: Relative rise of the bound without which prices are not made to end later again.
WORTHWHILE = 1e-6

#: The step below which an ascent on a coarse relaxation gives way to a finer one.
COARSE_STEP = 0.4


class Bounding:
    """A bound that gets better.

    Args:
        problem: The problem; it has jobs and GPUs.
        end: Where prices end, in ticks: some time after the end of a good schedule.
        memory_gib: Memory for the dynamic programs' tables.
        threads: Chains solved at once.

    Attributes:
        bound: The best bound so far.
        ascent: The ascent on the present relaxation.
        evaluations: Evaluations so far, of all relaxations.

    Raises:
        InputError: Even the coarsest relaxation takes more memory; it names the estimate.
    """

    def __init__(self, problem: Problem, end: int, memory_gib: float, threads: int = 1) -> None:
        self.problem, self.threads = problem, threads
        self.bound, self.evaluations = -math.inf, 0
        horizon = problem.site.horizon
        last = problem.jobs[-1].arrival + 1
        self.end = max(end, last) if horizon is None else min(max(end, last), horizon)
        self.end = max(1, self.end)
        self._memory = memory_gib * 2**30
        self._states = FIRST_STATES
        self._finest = self._grain(1, FIRST_STATES)
        relaxation = self._relaxation(self._finest, FIRST_STATES)
        while not self._fits(relaxation):
            self._finest = self._coarser(self._finest, relaxation.bytes())
            relaxation = self._relaxation(self._finest, FIRST_STATES)
        if _work(relaxation) > SLOW:
            coarse = min(4 * self._finest, self._shortest())
            if coarse > self._finest:
                relaxation = self._relaxation(coarse, FIRST_STATES)
        self.ascent = Ascent(relaxation, np.zeros(relaxation.dimension))
        self._best: tuple[Relaxation, Floats] | None = None
        self._lengthened = -math.inf  # the bound when prices were last made to end later

    @property
    def exact(self) -> bool:
        """Whether the present relaxation is the full one: nothing is coarse, merged or cut."""
        relaxation, best = self.ascent.relaxation, self.ascent.best
        whole = relaxation.grain == 1 and not relaxation.merged
        return whole and best is not None and best.cut + best.left == 0

    def climb(self, known: float, evaluations: int, stop: Callable[[], bool]) -> None:
        """Raise the bound towards the best known loss."""
        before = self.ascent.evaluations
        self.ascent.climb(known, evaluations, stop)
        self.evaluations += self.ascent.evaluations - before
        if self.ascent.bound > self.bound:
            self.bound = self.ascent.bound
            self._best = self.ascent.relaxation, self.ascent.prices

    def refine(self) -> bool:
        """Go on with a finer relaxation where there is one; whether there is."""
        relaxation, best = self.ascent.relaxation, self.ascent.best
        if best is None:
            return False
        if relaxation.grain > self._finest:
            if self.ascent.step > COARSE_STEP:
                return False
            self._go_on(self._relaxation(self._finest, self._states))
            return True
        if not self.ascent.converged:
            return False
        return (best.left > 0 and self._longer()) or (
            (best.cut > 0 or relaxation.merged) and self._more_states()
        )

    def _more_states(self) -> bool:
        """Go on with more backlogs told apart, where memory allows."""
        grain, more = self.ascent.relaxation.grain, self._states * MORE_STATES
        if more > MOST_STATES or self._estimate(grain, more) > self._memory:
            return False
        finer = self._relaxation(grain, more)
        if not self._fits(finer):
            return False
        self._states = more
        self._go_on(finer)
        return True

    def _longer(self) -> bool:
        """Go on with prices that end later, where that is possible and did some good so far.

        Jobs whose waiting costs nothing are as well left at the end, wherever it is.
        """
        if self.bound <= self._lengthened + WORTHWHILE * abs(self._lengthened):
            return False
        before, horizon = self.end, self.problem.site.horizon
        longer = 1 + int(LONGER * before)
        self.end = longer if horizon is None else min(longer, horizon)
        grain = self.ascent.relaxation.grain
        if self.end > before and self._estimate(grain, self._states) <= self._memory:
            finer = self._relaxation(grain, self._states)
            if self._fits(finer):
                self._lengthened = self.bound
                self._go_on(finer)
                return True
        self.end = before
        return False

    def details(self) -> dict[str, Any]:
        """The relaxation and its prices, ready for JSON."""
        relaxation, best = self._best[0] if self._best else self.ascent.relaxation, self.ascent.best
        return {
            "evaluations": self.evaluations,
            "chains": len(relaxation.chains),
            "states": self._states,
            "grain_ticks": relaxation.grain,
            "memory_mib": round(relaxation.bytes() / 2**20, 1),
            "cut": 0 if best is None else best.cut + best.left,
            KEY: as_json(self.prices()),
        }

    def prices(self) -> Prices:
        """The prices of the best bound; those of a grain are spread over its ticks."""
        relaxation, flat = self._best or (self.ascent.relaxation, self.ascent.prices)
        site, grain = self.problem.site, relaxation.grain
        prices = relaxation.prices(flat)
        kinds = tuple(
            KindPrices(
                gpus=tuple(site.gpus[g].id for g in kind.gpus),
                hold=_rounded(prices.hold[number] / grain),
                keep=_rounded(prices.keep[number] / grain) if relaxation.caching else (),
            )
            for number, kind in enumerate(relaxation.kinds)
        )
        ids = [job.id for job in self.problem.jobs] if relaxation.several else []
        serve = dict(zip(ids, _rounded(prices.serve), strict=True)) if ids else {}
        return Prices(tick_s=site.tick_s * grain, gpus=kinds, serve=serve)

    def _go_on(self, finer: Relaxation) -> None:
        """An ascent on a finer relaxation, from the present prices."""
        coarse, flat = self.ascent.relaxation, self.ascent.prices
        prices = coarse.prices(flat)
        ratio = coarse.grain // finer.grain

        def spread(by_kind: Floats) -> Floats:
            fine = np.repeat(by_kind / ratio, ratio, axis=1)[:, : finer.ticks]
            return np.pad(fine, ((0, 0), (0, finer.ticks - fine.shape[1]))).ravel()

        parts = [spread(prices.hold)]
        if finer.caching:
            parts.append(spread(prices.keep))
        parts.append(prices.serve)
        self.ascent = Ascent(finer, np.concatenate(parts))

    def _relaxation(self, grain: int, states: int) -> Relaxation:
        return Relaxation(self.problem, self.end, states=states, grain=grain, threads=self.threads)

    def _grain(self, grain: int, states: int) -> int:
        """The finest grain, from ``grain`` on, that fits the memory."""
        while (need := self._estimate(grain, states)) > self._memory:
            grain = self._coarser(grain, need)
        return grain

    def _coarser(self, grain: int, need: float) -> int:
        """Twice the grain, where ``need`` bytes are too many."""
        shortest = self._shortest()
        if grain >= shortest:
            raise InputError(
                f"the dynamic programs would take {need / 2**30:.3g} GiB even with {grain} "
                f"ticks taken as one, more than the {self._memory / 2**30:.3g} allowed",
                hint="set memory_gib higher, or make tick_s coarser",
            )
        return min(2 * grain, shortest)

    def _fits(self, relaxation: Relaxation) -> bool:
        """Whether an evaluation keeps to the memory allowed."""
        return relaxation.bytes() <= self._memory

    def _estimate(self, grain: int, states: int) -> float:
        """Bytes that an evaluation takes, before a relaxation is there to tell (:meth:`_fits`)."""
        adapters = len({job.adapter for job in self.problem.jobs})
        kinds = len({gpu.capacity for gpu in self.problem.site.gpus})
        ticks = self.end / grain + 1
        return ticks * (24.0 * 2 * states * min(self.threads, adapters) + 16.0 * adapters * kinds)

    def _shortest(self) -> int:
        """Ticks of the shortest batch: what may be taken as one at most."""
        clock = self.problem.site.clock
        steps = min(option.steps for job in self.problem.jobs for option in job.options)
        return max(1, clock.quickest(steps))


def _work(relaxation: Relaxation) -> float:
    """Steps of the dynamic programs in one evaluation."""
    return float(sum(c.ticks * len(c.moves) * c.size for c in relaxation.chains))


def _rounded(prices: Floats) -> tuple[float, ...]:
    return tuple(float(f"{price:.6g}") for price in prices)
