"""What every backend keeps to: a model and limits in, an answer out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from pats_opt.model.schedule import StopReason
from pats_solvers.milp.model import Floats, Model

#: Names of the backends: MathOpt's HiGHS and SCIP, and CBC through PuLP.
Name = Literal["highs", "scip", "cbc"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a backend found.

    Attributes:
        stop: ``OPTIMAL`` and ``INFEASIBLE`` are its proofs; otherwise why it stopped.
        x: Its best point, or None.
        bound: Its proven lower bound on the objective, or None.
    """

    stop: StopReason
    x: Floats | None = None
    bound: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a backend must keep to.

    Attributes:
        seed: Seed of its random choices.
        remaining: Seconds left now, or None.
        interrupted: Whether the user wants the best so far.
        progress: Called with (bound, objective), either None while unknown.
    """

    seed: int
    remaining: Callable[[], float | None]
    interrupted: Callable[[], bool]
    progress: Callable[[float | None, float | None], None]


class Backend(Protocol):
    """Solves a model with one thread, from a complete feasible point where it is given one."""

    def __call__(self, model: Model, limits: Limits, hint: Floats | None) -> Answer:
        """The best point and bound when it is done or a limit is reached."""
        ...
