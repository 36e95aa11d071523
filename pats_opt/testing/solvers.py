"""The conformance suite of solvers and policies, the built-in ones and third-party ones alike.

Inherit :class:`SolverConformance` in a test module, return your solver, and pytest runs the suite::

    from pats_opt.testing.solvers import SolverConformance

    class TestMine(SolverConformance):
        def make(self):
            return MySolver()

Override :meth:`SolverConformance.optimum` where optima of tiny instances are known from elsewhere.
This module alone needs pytest, which the extra ``test`` brings.
"""

from __future__ import annotations

import contextlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator

import msgspec
import pytest

from pats_opt.core.policy import Policy
from pats_opt.core.registry import parameters
from pats_opt.core.solver import Capabilities, Feature, Kind, Run, Solver, features, require
from pats_opt.errors import CapabilityError, InfeasibleError, NoScheduleError
from pats_opt.model.checker import TOLERANCE, check
from pats_opt.model.files import encode
from pats_opt.model.instance import Instance
from pats_opt.model.plan import schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import SolutionStatus, SolverRef, StopReason
from pats_opt.solving.result import Result
from pats_opt.solving.solve import runnable, solve
from pats_opt.testing.instances import NEEDS, random_instance

#: Results by suite and instance, as several properties are tried on the same instances.
_RESULTS: dict[tuple[type, bytes], Result] = {}


def close(one: float, other: float) -> bool:
    """Return whether two losses are the same within the checker's tolerance."""
    return abs(one - other) <= TOLERANCE * max(1.0, abs(one), abs(other))


def together(wanted: Feature) -> frozenset[Feature]:
    """Return the smallest set of features with ``wanted`` in it."""
    return frozenset((wanted,)) | NEEDS.get(wanted, frozenset())


class SolverConformance(ABC):
    """Tests that every solver and policy has to pass. Override :meth:`make`.

    Attributes:
        seeds: Random instances tried per property.
        requests: Fewest and most requests of one.
        time_limit: Seconds a solver may take for one; exact ones must prove their optimum in it.
        reference: A solver that handles every feature; no bound may be above its loss.
    """

    seeds: range = range(12)
    requests: tuple[int, int] = (1, 4)
    time_limit: float = 60.0
    reference: str = "fifo"

    @abstractmethod
    def make(self) -> Solver | Policy:
        """Return the solver or policy under test."""

    def optimum(self, instance: Instance) -> float | None:  # noqa: ARG002
        """Return the optimum of a feasible tiny instance, or None where it is not known."""
        return None

    # -- helpers -------------------------------------------------------------------------------

    def instances(self, *, tight: bool = False) -> Iterator[Instance]:
        """Yield random tiny instances that use only what the solver can do."""
        able = runnable(self.make()).capabilities.features
        for seed in self.seeds:
            mixed = random_instance(seed, requests=self.requests, tight=tight)
            if features(Problem(mixed)) <= able:
                yield mixed
        for feature in sorted(able):
            if together(feature) <= able:
                yield random_instance(
                    len(feature), together(feature), requests=self.requests, tight=tight
                )

    def solved(self, instance: Instance) -> Result:
        """Return the result of the solver under test; each instance is solved once for a suite."""
        key = type(self), encode(instance)
        if key not in _RESULTS:
            _RESULTS[key] = self.solved_anew(instance)
        return _RESULTS[key]

    def solved_anew(self, instance: Instance) -> Result:
        """Solve with the solver under test."""
        return solve(instance, runnable(self.make()), time_limit=self.time_limit)

    # -- the suite -----------------------------------------------------------------------------

    def test_record(self) -> None:
        """The name, the kind and the capability record are there, the parameters fit JSON."""
        made = self.make()
        assert made.name
        assert isinstance(made.kind, Kind)
        assert isinstance(made.capabilities, Capabilities)
        assert all(isinstance(feature, Feature) for feature in made.capabilities.features)
        json.dumps(parameters(made), allow_nan=False)
        if made.kind in (Kind.EXACT, Kind.BOUND):
            assert made.capabilities.bound, "an exact solver or a bound gives a bound"

    def test_refuses_what_it_lacks(self) -> None:
        """An instance with a feature outside the record is refused by name, never answered."""
        solver = runnable(self.make())
        for feature in sorted(frozenset(Feature) - solver.capabilities.features):
            instance = random_instance(1, together(feature), requests=(2, 3))
            with pytest.raises(CapabilityError, match=re.escape(feature.value)):
                require(solver, Problem(instance))

    def test_results_hold(self) -> None:
        """Every schedule passes the checker, its loss is the checker's, its bound is not above."""
        for instance in self.instances():
            result = self.solved(instance)
            if result.loss is None:
                assert runnable(self.make()).kind is Kind.BOUND, f"no schedule for {instance}"
            else:
                verdict = check(instance, result.schedule)
                assert verdict.ok, verdict.violations
                assert close(verdict.loss, result.loss)
            if result.bound is not None:
                least = self.optimum(instance)
                if least is None:
                    least = solve(instance, self.reference).loss
                assert least is not None
                assert result.bound <= least + TOLERANCE * max(1.0, least), instance

    def test_optimum(self) -> None:
        """An exact solver proves the optimum; no other method gets below a known one."""
        for instance in self.instances():
            result, known = self.solved(instance), self.optimum(instance)
            if runnable(self.make()).kind is Kind.EXACT:
                assert result.status.stop is StopReason.OPTIMAL, instance
                assert result.status.point is SolutionStatus.OPTIMAL
                assert result.loss is not None
                assert result.bound is not None
                assert close(result.loss, result.bound), instance
                if known is not None:
                    assert close(result.loss, known), instance
            elif known is not None and result.loss is not None:
                assert result.loss >= known - TOLERANCE * max(1.0, known), instance

    def test_tight_horizon(self) -> None:
        """Under a hard horizon a schedule that comes is valid; an exact solver gives one."""
        for instance in self.instances(tight=True):
            try:
                result = self.solved(instance)
            except NoScheduleError:
                assert runnable(self.make()).kind is not Kind.EXACT, instance
            else:
                assert result.loss is None or check(instance, result.schedule).ok

    def test_same_seed_same_result(self) -> None:
        """The same instance and seed give the same loss, bound and schedule."""
        for instance in list(self.instances())[:5]:
            one, other = self.solved(instance), self.solved_anew(instance)
            assert (one.loss, one.bound) == (other.loss, other.bound)
            assert one.schedule.gpus == other.schedule.gpus
            assert one.schedule.rejected == other.schedule.rejected

    def test_time_limit(self) -> None:
        """Out of time at once, it returns, says why, and claims nothing that is not so."""
        instance = random_instance(7, (), requests=(8, 8))
        result = solve(instance, runnable(self.make()), time_limit=1e-3)
        assert result.status.stop in (
            StopReason.TIME_LIMIT,
            StopReason.OPTIMAL,
            StopReason.COMPLETE,
        )
        assert (result.loss is None) == (result.status.point is SolutionStatus.NONE)
        if result.bound is not None:
            least = solve(instance, self.reference).loss
            assert least is not None
            assert result.bound <= least + TOLERANCE * max(1.0, least)

    def test_interrupted(self) -> None:
        """Interrupted before it begins, it returns; a plan that it gives is valid."""
        problem = Problem(random_instance(7, (), requests=(3, 4)))
        run = Run()
        run.interrupted.set()
        outcome = runnable(self.make()).solve(problem, run)
        assert outcome.stop in (StopReason.INTERRUPTED, StopReason.OPTIMAL, StopReason.COMPLETE)
        if outcome.plan is not None:
            assert check(problem, schedule_of(problem, outcome.plan, SolverRef(name="x"))).ok

    def test_empty_instance(self) -> None:
        """An instance without requests has loss 0."""
        result = self.solved(msgspec.structs.replace(random_instance(1, ()), requests=()))
        assert result.loss == 0.0
        assert result.bound in (None, 0.0)

    def test_unservable_request(self) -> None:
        """A request that must be served and cannot be is reported as infeasible."""
        for seed in self.seeds:
            instance = random_instance(seed, (), requests=self.requests, feasible=False)
            with pytest.raises(InfeasibleError, match="request"):
                self.solved(instance)

    def test_too_short_a_horizon(self) -> None:
        """Requests that fit the horizon only alone: exact solvers prove it, others give none."""
        solver = runnable(self.make())
        if Feature.HORIZON not in solver.capabilities.features:
            return
        base = random_instance(1, (), requests=(1, 1))
        gpu = msgspec.structs.replace(
            base.gpus[0], capacity={"vram_gib": base.base_vram_gib + 20.0}
        )
        one = msgspec.structs.replace(base.requests[0], arrival_s=0.0, demand={"vram_gib": 12.0})
        both = msgspec.structs.replace(
            base, gpus=(gpu,), requests=(one, msgspec.structs.replace(one, id="again"))
        )
        problem = Problem(both)
        job = problem.jobs[0]
        alone = problem.site.clock.duration(((job.options[0].steps, 1),))
        switch = problem.site.switch(frozenset(), frozenset((job.adapter,)), frozenset(), None)
        short = msgspec.structs.replace(both, horizon_ticks=2 * alone + switch.ticks - 1)
        if solver.kind is Kind.EXACT:
            with pytest.raises(InfeasibleError):
                self.solved(short)
            return
        with contextlib.suppress(InfeasibleError, NoScheduleError):
            assert self.solved(short).loss is None
