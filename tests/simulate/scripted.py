"""Policies that do what a test says, and problems from the zoo's documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from pats_opt.core.policy import Action, Decide, GpuState, Start, State
from pats_opt.core.solver import Capabilities, Kind
from pats_opt.model.checker import Verdict, check
from pats_opt.model.files import parse_instance
from pats_opt.model.plan import Plan, schedule_of
from pats_opt.model.problem import Problem, Site
from pats_opt.model.schedule import Schedule, SolverRef


class Scripted:
    """A policy made of one function; it notes the states it was asked in."""

    name: ClassVar[str] = "scripted"
    kind: ClassVar[Kind] = Kind.ONLINE
    capabilities: ClassVar[Capabilities] = Capabilities()

    def __init__(self, decide: Callable[[State], Iterable[Action]]) -> None:
        self.decide = decide
        self.ticks: list[int] = []

    def start(self, site: Site, seed: int) -> Decide:  # noqa: ARG002
        """The function, listened to."""

        def noted(state: State) -> Iterable[Action]:
            self.ticks.append(state.tick)
            return self.decide(state)

        return noted


def alone(state: State, gpu: GpuState | None = None) -> list[Action]:
    """Serve the earliest request alone, with only its adapter resident, on the first idle GPU."""
    idle = [gpu] if gpu is not None else state.idle
    for job in state.waiting.values():
        if idle:
            return [Start(idle[0].index, ((job.index, 0),), frozenset((job.adapter,)))]
    return []


def problem_of(document: dict[str, Any]) -> Problem:
    """The problem of an instance document, read as strictly as from a file."""
    return Problem(parse_instance(json.dumps(document)))


def scheduled(problem: Problem, plan: Plan | None) -> tuple[Schedule, Verdict]:
    """The schedule document of a simulated plan, and what the checker says of it."""
    assert plan is not None
    schedule = schedule_of(problem, plan, SolverRef(name="scripted"))
    return schedule, check(problem, schedule)
