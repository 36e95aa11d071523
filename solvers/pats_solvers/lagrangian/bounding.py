"""The bound at work: resolution, memory, and ascent, whatever the instance's size.

A relaxation is as fine as memory and time allow. Large ones begin with several ticks taken as one
and few backlogs told apart, where an evaluation is cheap, and are refined while the prices are
kept. Every bound on the way is valid; the best one counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pats_opt.core.prices import KEY, KindPrices, OptionPrices, Prices, as_json
from pats_opt.core.solver import Run
from pats_opt.errors import InputError
from pats_opt.model.problem import Problem
from pats_solvers.common.arrays import Floats
from pats_solvers.common.bounds import largest_batch, longest_batch, longest_switch
from pats_solvers.common.incumbent import Incumbent
from pats_solvers.common.stopping import StopError, never
from pats_solvers.common.windows import safe_horizon
from pats_solvers.lagrangian.ascent import Ascent
from pats_solvers.lagrangian.relaxation import Relaxation

#: Backlogs told apart by each subproblem: at first, and at most.
FIRST_STATES, MOST_STATES = 36, 3000

#: How many more each refinement tells apart, and one of lanes: a lane more.
MORE_STATES, MORE_LANES = 3, 2

#: Share of the jobs that may be cut for lanes to be refined; beyond it classes are merged. The
#: lesser one is that with which lanes that cannot be refined are kept.
MANY_CUT, FEW_CUT = 0.15, 0.01

#: How much later prices end where jobs were left at the end.
LONGER = 1.3

#: Steps of the dynamic programs (ticks x batches x backlogs) beyond which ticks are first taken
#: together, where one grain is then as long as the shortest batch; where it is shorter, little is
#: rounded off, and that share of these is enough. Each grain is so many times as long as the next.
SLOW, FINER = 1e9, 4

#: Relative rise of the bound without which prices are not made to end later again.
WORTHWHILE = 1e-6

#: The predicted gain, relative to the bound, below which an ascent on a coarse relaxation gives way
#: to a finer one.
COARSE_GAIN = 3e-3

#: The same below which merged classes are parted further, where an evaluation then has at most so
#: many steps of the dynamic programs: that raises the bound more than to converge does.
MERGED_GAIN, QUICK = 5e-3, 6e8

#: Bytes that the ascent's model may take in memory for each of its own: it grows by moving.
GROWTH = 2.5


class Bounding:
    """A bound that gets better.

    Args:
        problem: The problem; it has jobs and GPUs.
        end: Where prices end, in ticks: some time after the end of a good schedule.
        memory_gib: Memory for the dynamic programs' tables.
        threads: Subproblems solved at once.
        stop: Asked before each adapter's set-up whether to break off.

    Attributes:
        bound: The best bound so far.
        ascent: The ascent on the present relaxation.
        evaluations: Evaluations so far, of all relaxations.

    Raises:
        InputError: Even the coarsest relaxation takes more memory; it names the estimate.
        StopError: ``stop`` said so before there was a relaxation.
    """

    def __init__(
        self,
        problem: Problem,
        end: int,
        memory_gib: float,
        threads: int = 1,
        stop: Callable[[], bool] = never,
    ) -> None:
        self.problem, self.threads, self._stop = problem, threads, stop
        self.bound, self.evaluations = -math.inf, 0
        horizon = problem.site.horizon
        last = problem.jobs[-1].arrival + 1
        self.end = max(end, last) if horizon is None else min(max(end, last), horizon)
        self.end = max(1, self.end)
        self._memory = memory_gib * 2**30
        self._states, self._lanes = FIRST_STATES, True
        self._finest = self._grain(FIRST_STATES)
        relaxation = self._relaxation(self._finest, FIRST_STATES)
        while not self._fits(relaxation):
            self._finest = self._coarser(self._finest, relaxation.bytes())
            relaxation = self._relaxation(self._finest, FIRST_STATES)
        coarse = self._first_grain(_work(relaxation))
        if coarse > self._finest:
            relaxation = self._relaxation(coarse, FIRST_STATES)
        self.ascent = self._ascent(relaxation, np.zeros(relaxation.dimension))
        self._best: tuple[Relaxation, Floats] | None = None
        self._slow = 0  # the states that are too slow to go on with early
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

    def advance(self, incumbent: Incumbent, evaluations: int, share: float) -> int:
        """Raise an incumbent's bound, on a finer relaxation where prices have settled.

        Args:
            incumbent: Best plan and bound.
            evaluations: At most so many.
            share: Share of the time left after which no other one begins.

        Returns:
            The evaluations that there was no time for.
        """
        over = share_over(incumbent.run, share)
        stop = share_over(incumbent.run, 1.0)  # what has begun is not cut off before that
        self.refine(stop)
        for done in range(evaluations):
            if over():
                return evaluations - done
            self.climb(incumbent.loss, 1, stop)
            incumbent.raise_bound(self.bound)
        return 0

    def refine(self, stop: Callable[[], bool] = never) -> bool:
        """Go on with a finer relaxation where there is one; whether there is.

        Args:
            stop: Asked before each adapter's set-up whether to break off; then nothing changes.
        """
        self._stop = stop
        before = self._states, self._lanes, self.end
        try:
            return self._refine()
        except StopError:
            self._states, self._lanes, self.end = before
            return False

    def _refine(self) -> bool:
        relaxation, best = self.ascent.relaxation, self.ascent.best
        if best is None:
            return False
        if relaxation.grain > self._finest:
            if self.ascent.gain > COARSE_GAIN:
                return False
            finer = relaxation.grain // FINER
            whole = relaxation.grain == finer * FINER and finer > self._finest
            self._go_on(self._relaxation(finer if whole else self._finest, self._states))
            return True
        if not self.ascent.converged:
            coarse = relaxation.merged or (relaxation.lanes and best.cut > 0)
            return bool(coarse) and self.ascent.gain < MERGED_GAIN and self._more_states(QUICK)
        # Where no job is left, other plans, as good as these, may yet use the time after the end.
        return (
            (best.left > 0 and self._longer())
            or ((best.cut > 0 or bool(relaxation.merged)) and self._more_states())
            or (best.cut > FEW_CUT * len(self.problem.jobs) and self._merge())
            or (best.left == 0 and self._longer())
        )

    def _merge(self) -> bool:
        """Go on with merged classes in place of lanes, if there are any; whether there are."""
        if not self.ascent.relaxation.lanes:
            return False
        self._states, self._lanes = FIRST_STATES, False
        self._go_on(self._relaxation(self.ascent.relaxation.grain, self._states))
        return True

    def _more_states(self, most: float = math.inf) -> bool:
        """Continue with more distinct backlogs, if memory allows and they make a difference.

        Args:
            most: Steps of the dynamic programs that an evaluation may then have.
        """
        before, best = self.ascent.relaxation, self.ascent.best
        grain, factor = before.grain, MORE_LANES if before.lanes else MORE_STATES
        if before.lanes and best is not None and best.cut > MANY_CUT * len(self.problem.jobs):
            return self._merge()
        while (more := self._states * factor) <= MOST_STATES:
            if (more == self._slow and most < math.inf) or (
                self._estimate(grain, more) > self._memory
            ):
                return False
            finer = self._relaxation(grain, more)
            if not self._fits(finer):
                return False
            if _work(finer) > most:
                self._slow = more
                return False
            self._states = more
            cut = best is not None and best.cut > 0 and not before.lanes
            if cut or finer.classes() != before.classes():
                self._go_on(finer)
                return True
        return False

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
            "chains": len(relaxation.subproblems),
            "states": self._states,
            "grain_ticks": relaxation.grain,
            "memory_mib": round((relaxation.bytes() + self.ascent.bundle.bytes()) / 2**20, 1),
            "cuts": self.ascent.bundle.size,
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
                load=_rounded(prices.load[number] / grain) if relaxation.overlap else (),
            )
            for number, kind in enumerate(relaxation.kinds)
        )
        ids = [job.id for job in self.problem.jobs] if relaxation.several else []
        serve = dict(zip(ids, _rounded(prices.serve), strict=True)) if ids else {}
        options = tuple(
            OptionPrices(
                adapter=site.adapter_ids[merged.merged.kind.adapter],
                requests=tuple(job.id for job in merged.merged.jobs),
                steps=tuple(steps for _, steps in merged.merged.ways),
                taken=tuple(_changes(row) for row in slots.taken),
                done=_rounded(slots.done) if merged.merged.dated else (),
            )
            for merged, slots in zip(relaxation.merged, prices.slots, strict=True)
        )
        return Prices(tick_s=site.tick_s * grain, gpus=kinds, serve=serve, options=options)

    def hold_prices(self) -> Floats:
        """Return the present price of holding a GPU of the first kind, by tick."""
        relaxation = self.ascent.relaxation
        prices = relaxation.prices(self.ascent.prices)
        by_grain = prices.hold[0] + prices.keep[0] if relaxation.caching else prices.hold[0]
        spread: Floats = np.repeat(by_grain / relaxation.grain, relaxation.grain)
        return spread

    def _go_on(self, finer: Relaxation) -> None:
        """An ascent on a finer relaxation, from the present prices."""
        before = self.ascent
        prices = finer.carried(before.relaxation, before.prices)
        # A price of a grain is that of all its ticks, and so is a step.
        tau = before.tau * finer.grain / before.relaxation.grain
        self.ascent = self._ascent(finer, prices, tau)

    def _ascent(self, relaxation: Relaxation, prices: Floats, tau: float = 0.0) -> Ascent:
        """An ascent from prices, in the memory that a relaxation leaves."""
        return Ascent(relaxation, prices, (self._memory - relaxation.bytes()) / GROWTH, tau)

    def _relaxation(self, grain: int, states: int) -> Relaxation:
        return Relaxation(
            self.problem,
            self.end,
            states=states,
            grain=grain,
            threads=self.threads,
            stop=self._stop,
            lanes=self._lanes,
        )

    def _grain(self, states: int) -> int:
        """The finest grain that fits the memory."""
        grain = 1
        while (need := self._estimate(grain, states)) > self._memory:
            grain = self._coarser(grain, need)
        return grain

    def _first_grain(self, work: float) -> int:
        """The grain to begin with, where the finest one takes so many steps."""
        grain, shortest = self._finest, self._shortest()
        while (coarser := min(FINER * grain, shortest)) > grain:
            if work * self._finest / grain <= SLOW * coarser / shortest:
                break
            grain = coarser
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


def bounding_of(incumbent: Incumbent, memory_gib: float) -> Bounding:
    """Return a bound whose prices end some time after the incumbent's schedule.

    Raises:
        InputError: See :class:`Bounding`.
        StopError: The incumbent's run was over before there was a relaxation.
    """
    problem, plan = incumbent.problem, incumbent.plan
    if plan is None:
        end = safe_horizon(problem)
    else:
        members = max(largest_batch(problem, gpu.index) for gpu in problem.site.gpus)
        spare = longest_batch(problem, members) + longest_switch(problem)
        starts = [batch.start for gpu in plan.gpus for batch in gpu]
        end = max(starts, default=0) + 2 * spare
    run = incumbent.run
    return Bounding(problem, end, memory_gib, max(1, run.jobs), lambda: run.stop() is not None)


def share_over(run: Run, share: float) -> Callable[[], bool]:
    """Return a test of whether a run, or a share of its time that begins now, is over."""
    left = run.remaining()
    end = math.inf if left is None else time.monotonic() + share * left
    return lambda: time.monotonic() >= end or run.stop() is not None


def _work(relaxation: Relaxation) -> float:
    """Steps of the dynamic programs in one evaluation."""
    return float(sum(part.work for part in relaxation.subproblems))


def _changes(prices: Floats) -> tuple[tuple[int, float], ...]:
    """Return where prices change, and to what."""
    rounded = _rounded(prices)
    return tuple((t, price) for t, price in enumerate(rounded) if t == 0 or price != rounded[t - 1])


def _rounded(prices: Floats) -> tuple[float, ...]:
    # Of the ticks of a sparse instance nearly all have no price.
    return tuple(float(f"{price:.6g}") if price else price for price in prices.tolist())
