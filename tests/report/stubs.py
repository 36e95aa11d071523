"""Solvers that behave well or badly, installed as a third party's distribution would be."""

# ruff: noqa: ARG002 (a stub need not use what a solver is given)
from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

from msgspec import Struct

from pats_opt.core.solver import ALL_FEATURES, Capabilities, Feature, Kind, Outcome, Run
from pats_opt.errors import InfeasibleError, NoScheduleError
from pats_opt.model.plan import Plan, PlannedBatch, plan_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason


class Steady(Struct, frozen=True):
    """One request after another on the first GPU, each with its ``option``; says it is online."""

    option: int = 0
    delay: int = 0
    name: ClassVar[str] = "steady"
    kind: ClassVar[Kind] = Kind.ONLINE
    capabilities: ClassVar[Capabilities] = Capabilities()

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """The plan, and the loss it proves nothing about."""
        return Outcome(StopReason.COMPLETE, self.plan(problem))

    def plan(self, problem: Problem) -> Plan:
        """Batches of one, each as early as the one before lets it."""
        site, free = problem.site, 0
        batches: list[PlannedBatch] = []
        resident, previous = site.gpus[0].resident, None
        for job in problem.jobs:
            option = min(self.option, len(job.options) - 1)
            after = frozenset({job.adapter})
            switch = site.switch(resident, after, after, previous)
            start = max(free, job.arrival) + switch.ticks + self.delay
            batches.append(PlannedBatch(start, ((job.index, option),), after))
            free = start + site.clock.duration(((job.options[option].steps, 1),))
            resident = previous = after
        return plan_of([batches, *([] for _ in site.gpus[1:])])


class Proud(Steady, frozen=True):
    """Steady's plan under the claim that it is optimal, with a bound of ``share`` of its loss."""

    share: float = 1.0
    name: ClassVar[str] = "proud"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(bound=True)

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """The plan and the bound."""
        from pats_opt.model.checker import valid_loss

        plan = self.plan(problem)
        loss = valid_loss(problem, plan) or 0.0
        stop = StopReason.OPTIMAL if self.share == 1.0 else StopReason.TIME_LIMIT
        return Outcome(stop, plan, bound=loss * self.share)


class Boastful(Steady, frozen=True):
    """A bound that is above losses of others, without a schedule to hold it against."""

    name: ClassVar[str] = "boastful"
    kind: ClassVar[Kind] = Kind.BOUND

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Only the bound."""
        return Outcome(StopReason.TIME_LIMIT, None, bound=1e6)


class Bad(Struct, frozen=True):
    """Ends in the way that ``how`` says."""

    how: str = "raise"
    name: ClassVar[str] = "bad"
    kind: ClassVar[Kind] = Kind.HEURISTIC
    capabilities: ClassVar[Capabilities] = Capabilities()

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Never returns a plan."""
        if self.how == "raise":
            raise RuntimeError("| it <broke>\n`here` |")
        if self.how == "infeasible":
            raise InfeasibleError("proven: none exists")
        if self.how == "stop":
            raise NoScheduleError("stopped without a schedule")
        if self.how == "kill":
            os.kill(os.getpid(), 9)
        if self.how == "exit":
            sys.stderr.write("last words\n")
            sys.stderr.flush()
            os._exit(7)
        if self.how.startswith("child="):
            # It notes its own id and that of a process it starts, and then both hang.
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            Path(self.how.removeprefix("child=")).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)
        raise AssertionError("it was to be killed")


class Picky(Steady, frozen=True):
    """Handles nothing but one option per request."""

    name: ClassVar[str] = "picky"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(features=ALL_FEATURES - {Feature.OPTIONS})


class Slow(Steady, frozen=True):
    """Steady after some seconds."""

    seconds: float = 1.0
    name: ClassVar[str] = "slow"

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """The plan, late."""
        time.sleep(self.seconds)
        return super().solve(problem, run)
