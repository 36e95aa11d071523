"""A policy in the form of a solver."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from pats_opt.core.policy import Policy
from pats_opt.core.solver import Capabilities, Kind, Outcome, Run
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_opt.simulate.policy_run import simulated


class PolicySolver(msgspec.Struct, frozen=True):
    """A policy as a solver: it solves an instance by being simulated on it."""

    policy: Policy

    kind: ClassVar[Kind] = Kind.ONLINE
    if TYPE_CHECKING:  # as the protocol asks; in truth they are the policy's, so the object's
        name: ClassVar[str]
        capabilities: ClassVar[Capabilities]
    else:

        @property
        def name(self) -> str:
            """The policy's name."""
            return self.policy.name

        @property
        def capabilities(self) -> Capabilities:
            """The policy's capability record."""
            return self.policy.capabilities

    def prepare(self, problem: Problem | None) -> None:
        """Let the policy do what it does once on a machine, such as compiling."""
        if (ready := getattr(self.policy, "prepare", None)) is not None:
            ready(problem)

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """The plan of one simulation; none where a limit comes first, as a part is no schedule."""
        going = simulated(problem, self.policy, run.seed)
        total = max(1, going.left)

        def stop() -> StopReason | None:
            run.phase(self.policy.name, 1 - going.left / total)
            return run.stop()

        done = going.run(stop)
        details = {
            "events": done.events,
            "decisions": done.decisions,
            "decision_s": done.decision_s,
            "decision_p50_s": done.decision_p50_s,
            "decision_p99_s": done.decision_p99_s,
            "longest_decision_s": done.longest_decision_s,
        }
        return Outcome(done.stop, done.plan, details=details)
