"""Passes of the label search, with wider and wider beams at better and better prices."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pats_opt.errors import InputError
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_solvers.common.incumbent import Incumbent
from pats_solvers.common.stopping import StopError

if TYPE_CHECKING:
    from pats_solvers.common.classes import Move
    from pats_solvers.dp.fleet.search import FleetSearch
    from pats_solvers.dp.model import CostToGo
    from pats_solvers.dp.search import PricedSearch, SearchPass
    from pats_solvers.lagrangian.bounding import Bounding

#: Beam of the opening pass, which finds the first schedule.
OPENING = 3

#: How much wider each pass's beam is than the last one's.
WIDER = 5

#: Batches tried for each label and adapter in a pass that is not expected to prove anything.
FEW = 3

#: Evaluations of the relaxation before the first pass, and at least before each later one.
EVALUATIONS, LEAST_EVALUATIONS = 30, 5

#: Evaluations before the first pass over GPUs and caches: its schedules are as good as the prices.
FLEET_EVALUATIONS = 400

#: The share of the time left that these take in a round, and the rounds after which a pass is done
#: even if there was no time for all of them; twice as many where batches are not listed.
SHARE, WAITING = 0.1, 2

#: Time for the tables and for listing batches, as a share of what a pass may take.
LISTING = 0.4

#: Share of the time left that a pass over several GPUs is meant to take at most.
IN_TIME = 0.85

#: How much wider such a pass is at least.
LEAST_WIDER = 1.3

#: Gap up to which the batches are listed that a schedule can have, at first and at least: where
#: they are too many, those of half the gap are tried.
FIXED, LEAST_FIXED = 0.04, 0.001

#: Share of a loss by which sums in another order may differ.
SLACK = 1e-9

#: Steps of the relaxation's dynamic programs that take as long as looking at one batch, about.
STEPS = 50


class PassLimits(NamedTuple):
    """Limits of the passes.

    Attributes:
        first: Labels a layer in the first pass after a narrow opening one.
        beam: The widest beam, or None for any.
        memory_gib: Memory, half for the tables and half for labels.
    """

    first: int
    beam: int | None
    memory_gib: float


def searched_batches(problem: Problem, stop: Callable[[], bool]) -> Sequence[Move] | None:
    """Return the batches that the search tries, or None where they are too many.

    Then it tries those that better schedules than the best known one can have, on one GPU with one
    resident adapter, or patterns of batches.

    Raises:
        InputError: There are too many of them, or too many adapters.
        StopError: ``stop`` said so.
    """
    from pats_solvers.dp.fleet.model import refuse_many_adapters
    from pats_solvers.dp.fleet.patterns import patterns_of
    from pats_solvers.dp.model import batches_of

    refuse_many_adapters(problem)
    try:
        return batches_of(problem, None, stop)
    except InputError:
        if not alone(problem):
            patterns_of(problem)
        return None


class LabelPasses:
    """Passes over the labels with wider and wider beams, each at better prices.

    Args:
        incumbent: Best plan and bound.
        bounding: The prices.
        limits: Beams and memory.
        batches: See :func:`searched_batches`.
        share: Share of the time left that a pass may take.

    Attributes:
        stop: Why no other pass would do anything; None while one would.
    """

    def __init__(
        self,
        incumbent: Incumbent,
        bounding: Bounding,
        limits: PassLimits,
        batches: Sequence[Move] | None,
        share: float = 1.0,
    ) -> None:
        problem = incumbent.problem
        self.stop: StopReason | None = None
        self._incumbent, self._bounding, self._limits = incumbent, bounding, limits
        self._batches, self._share = batches, share
        self._search: PricedSearch | FleetSearch | None = None
        self._listed = math.inf  # the loss that batches were listed for
        self._refused: float | None = None  # and for which they are too many
        self._proof = math.inf  # what schedules with other batches lose at least
        self._series = PassSeries(limits.first, several=len(problem.site.gpus) > 1)
        self._evaluations = EVALUATIONS if alone(problem) else FLEET_EVALUATIONS
        self._waited = 0  # rounds since the last pass
        self._passes: list[dict[str, int]] = []

    @property
    def ended(self) -> bool:
        """Whether another pass would do nothing, unless a better schedule is found."""
        refused = self._refused is not None and self._incumbent.loss >= self._refused
        return refused or self.stop is not None

    def advance(self) -> None:
        """Raise the prices, and do a pass at them once they are good enough."""
        from pats_solvers.lagrangian.bounding import share_over

        incumbent, bounding, limits = self._incumbent, self._bounding, self._limits
        run, series, memory_gib = incumbent.run, self._series, limits.memory_gib / 2
        by_bound = self._batches is None
        outdated = by_bound and incumbent.loss < self._listed
        if self._search is None or not bounding.ascent.converged or outdated:
            self._evaluations = bounding.advance(incumbent, self._evaluations, SHARE)
            self._waited += 1
            rounds = WAITING if self._batches else 2 * WAITING
            waits = self._evaluations > 0 and self._waited < rounds
            if incumbent.over() or waits:
                return
            self._waited, self._evaluations = 0, EVALUATIONS
            self._listed = incumbent.loss
            try:
                self._search, self._proof = _search(
                    bounding,
                    memory_gib,
                    self._batches,
                    incumbent.loss,
                    share_over(run, LISTING * self._share),
                )
            except StopError:
                return
            except InputError:  # at better prices, or beside a better schedule, they are fewer
                self._refused = incumbent.loss if bounding.ascent.converged else None
                return
        most = max(1, int(memory_gib * 2**30 / self._search.label_bytes))
        series.narrow(most if limits.beam is None else min(most, limits.beam))
        began = time.monotonic()
        done = self._search.run(
            incumbent.loss,
            self._stop_of_pass(),
            beam=series.beam,
            few=series.few,
            most=most,
            bounds=lambda least: incumbent.raise_bound(min(least, self._proof)),
        )
        self._passes.append(
            {"beam": series.beam, "few": series.few, "labels": done.labels, "batches": done.looks}
        )
        if done.plan is not None:
            incumbent.offer(done.plan)
        incumbent.raise_bound(min(done.bound, incumbent.loss, self._proof))
        if done.stop is not None:  # at better prices it may take less time
            return
        if done.complete and self._proof < incumbent.loss:
            self._refused = incumbent.loss
            return
        seconds, left = time.monotonic() - began, run.remaining()
        left = None if left is None else self._share * left
        self.stop = series.widen(done, self._search.layers, seconds, left)
        if self.stop is StopReason.MEMORY_LIMIT and limits.beam is not None:
            self.stop = StopReason.COMPLETE
        # The next prices may cost as much as the last pass did.
        evaluations = int(done.looks * STEPS / _steps(bounding))
        self._evaluations = max(LEAST_EVALUATIONS, min(EVALUATIONS, evaluations))

    def _stop_of_pass(self) -> Callable[[], StopReason | None]:
        """Return a test of why to break a pass off that begins now."""
        run = self._incumbent.run
        left = run.remaining()
        if left is None or self._share == 1.0:
            return run.stop
        end = time.monotonic() + self._share * left
        return lambda: StopReason.TIME_LIMIT if time.monotonic() >= end else run.stop()

    def details(self) -> dict[str, Any]:
        """Return the passes and the sizes, ready for JSON."""
        found: dict[str, Any] = {"passes": self._passes}
        return found if self._search is None else found | self._search.details()


@dataclass
class PassSeries:
    """The beams of a series of passes, each wider than the last one.

    Attributes:
        first: Beam of the pass after the opening one.
        several: Whether there are several GPUs: promises of what a GPU does next differ little
            then, so all is tried, and a pass finds its schedule at its end.
        beam: The next pass's beam.
        few: What it tries for each label and adapter; see :meth:`.PricedSearch.run`.
    """

    first: int
    several: bool
    beam: int = OPENING
    few: int = field(init=False)
    _widest: int = 0

    def __post_init__(self) -> None:
        self.few = 0 if self.several else FEW

    def narrow(self, widest: int) -> None:
        """Keep to the widest beam allowed."""
        self._widest = widest
        self.beam = min(self.beam, widest)

    def widen(
        self, done: SearchPass, layers: int, seconds: float, left: float | None
    ) -> StopReason | None:
        """Set up the next pass, and return why there is none, or None.

        Args:
            done: The last pass.
            layers: Layers that a pass may have, at most.
            seconds: Seconds that it took.
            left: Seconds left, or None.
        """
        # Where the beam cut most layers, a wider one will cut too: no need to try every batch.
        crowded = 2 * done.labels > self.beam * done.layers
        if self.beam == self._widest and self.few == 0 and done.plan is None:
            return StopReason.MEMORY_LIMIT
        if self.beam == self._widest or (self.few > 0 and not crowded):
            self.few = 0
            return None
        wider = max(self.first, self.beam * WIDER)
        if self.several:
            if left is not None:
                # A pass that finds nothing may have ended early; half of the layers hold labels.
                full = done.labels / self.beam
                full = max(full, layers / 2 if done.plan is None else 0.0)
                each = max(seconds, 1e-3) / max(1, done.labels)
                wider = min(wider, int(IN_TIME * left / (each * full)))
            if wider < LEAST_WIDER * self.beam:
                return StopReason.TIME_LIMIT
        self.beam, self.few = wider, FEW if crowded and not self.several else 0
        return None


def _steps(bounding: Bounding) -> int:
    """Steps of the dynamic programs in one evaluation."""
    subproblems = bounding.ascent.relaxation.subproblems
    return max(
        1,
        sum(
            subproblem.ticks * len(subproblem.moves) * subproblem.size for subproblem in subproblems
        ),
    )


def alone(problem: Problem) -> bool:
    """Return whether there is one GPU with one resident adapter."""
    return len(problem.site.gpus) == 1 and problem.site.max_resident == 1


def _search(
    bounding: Bounding,
    memory_gib: float,
    batches: Sequence[Move] | None,
    known: float,
    stop: Callable[[], bool],
) -> tuple[PricedSearch | FleetSearch, float]:
    """Return a search at the present prices, with fewer distinct backlogs if memory is short.

    Returns:
        The search, and what schedules lose at least that have batches which it does not try.

    Raises:
        InputError: Even the best schedules may have too many different batches.
        StopError: ``stop`` said so.
    """
    from pats_solvers.dp.fleet.model import fleet_tables_at, fleet_tables_bytes
    from pats_solvers.dp.fleet.patterns import patterns_of
    from pats_solvers.dp.fleet.search import FleetSearch
    from pats_solvers.dp.model import tables_at, tables_bytes
    from pats_solvers.dp.search import PricedSearch
    from pats_solvers.lagrangian.relaxation import Relaxation

    problem, single = bounding.problem, alone(bounding.problem)
    coarse, flat = bounding.ascent.relaxation, bounding.ascent.prices
    relaxation, states = coarse, 0
    size = tables_bytes if single else fleet_tables_bytes
    while size(relaxation) > memory_gib * 2**30 and states != 1:
        states = max(1, max(subproblem.size for subproblem in relaxation.subproblems) // 4)
        relaxation = Relaxation(
            problem,
            bounding.end,
            states=states,
            grain=relaxation.grain,
            lanes=coarse.lanes,
            stop=stop,
        )
    flat = relaxation.carried(coarse, flat)
    proof = math.inf
    if single:
        tables = tables_at(relaxation, flat, stop)
        try:
            if batches is None:
                bound = PricedSearch(problem, tables, ()).bound()
                batches, proof = _fixed_batches(problem, tables, bound, known, stop)
            return PricedSearch(problem, tables, batches), proof
        except InputError:
            batches = None
    patterns = patterns_of(problem) if batches is None else ()
    search = FleetSearch(problem, fleet_tables_at(relaxation, flat, stop), batches, patterns)
    return search, search.bound() if patterns else proof


def _fixed_batches(
    problem: Problem, tables: CostToGo, bound: float, known: float, stop: Callable[[], bool]
) -> tuple[Sequence[Move], float]:
    """Return the batches that schedules can have up to a loss, and that loss, at most ``known``.

    Raises:
        InputError: There are too many even at little more than the bound.
        StopError: ``stop`` said so.
    """
    from pats_solvers.dp.model import batches_of, latest_by_job

    slack = SLACK * max(1.0, abs(known))
    gap = min(known - bound, FIXED * abs(bound))
    while True:
        try:
            latest = latest_by_job(problem, tables, gap + slack)
            return batches_of(problem, latest, stop), bound + gap
        except InputError:
            gap /= 2
            if gap < LEAST_FIXED * abs(bound):
                raise
