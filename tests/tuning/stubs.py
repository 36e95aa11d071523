"""A solver whose best setting is known, and which fails in every way, as a third party's."""

# ruff: noqa: ARG002 (a stub need not use what a solver is given)
from __future__ import annotations

import os
import time
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, structs

from pats_opt.core.solver import ALL_FEATURES, Capabilities, Feature, Outcome, Run
from pats_opt.errors import NoScheduleError
from pats_opt.model.plan import Plan, PlannedBatch
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from tests.report.stubs import Steady

#: The best ``x``: the further away, the longer its pauses.
BEST = 0.25

#: No schedule above this, and none of an instance called ``hard`` above 0.4.
FAILS_ABOVE = 0.9


class Dial(Steady, frozen=True):
    """Steady with pauses of ``100 x |x - BEST|`` ticks; see ``trouble`` for the rest."""

    x: Annotated[float, Meta(ge=0, le=1)] = 0.5
    trouble: Literal["none", "stop", "raise", "rule", "kill"] = "none"
    wait_s: float = 0.0
    name: ClassVar[str] = "dial"

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Its plan, or the trouble that was asked for."""
        time.sleep(self.wait_s)
        if self.trouble == "raise":
            raise RuntimeError("broken")
        if self.trouble == "kill":
            os.kill(os.getpid(), 9)
        hard = problem.instance.name.startswith("hard")
        if self.trouble == "stop" or self.x > (0.4 if hard else FAILS_ABOVE):
            raise NoScheduleError("it gave up")
        if self.trouble == "rule":
            batch = PlannedBatch(0, ((0, 0),), frozenset())
            return Outcome(StopReason.COMPLETE, Plan(((batch,),)))
        paused = structs.replace(self, delay=round(100 * abs(self.x - BEST)))
        return Outcome(StopReason.COMPLETE, paused.plan(problem))


class Narrow(Dial, frozen=True):
    """Dial, for one resident adapter alone."""

    name: ClassVar[str] = "narrow"
    capabilities: ClassVar[Capabilities] = Capabilities(features=ALL_FEATURES - {Feature.RESIDENT})
