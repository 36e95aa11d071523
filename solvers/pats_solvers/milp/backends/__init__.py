"""Backends: the MIP solvers, with one interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

from pats_opt.model.schedule import StopReason
from pats_solvers.milp.model import Floats, LinearModel

#: Names of the backends: MathOpt's HiGHS and SCIP, and CBC through PuLP.
BackendName = Literal["highs", "scip", "cbc"]


@dataclass(frozen=True, slots=True)
class BackendResult:
    """Result of a backend.

    Attributes:
        stop: ``OPTIMAL`` and ``INFEASIBLE`` are its proofs; otherwise why it stopped.
        x: Its best point, or None.
        bound: Its proven lower bound on the objective, or None.
    """

    stop: StopReason
    x: Floats | None = None
    bound: float | None = None


@dataclass(frozen=True, slots=True)
class BackendLimits:
    """Limits of a backend.

    Attributes:
        seed: Seed of its random choices.
        remaining: Returns the seconds left, or None.
        interrupted: Returns whether the user wants the best so far.
        progress: Called with (bound, objective), either None while unknown.
    """

    seed: int
    remaining: Callable[[], float | None]
    interrupted: Callable[[], bool]
    progress: Callable[[float | None, float | None], None]


class Backend(Protocol):
    """Solves a model with one thread, from a complete feasible point where it is given one."""

    def __call__(
        self, model: LinearModel, limits: BackendLimits, hint: Floats | None
    ) -> BackendResult:
        """Return the best point and bound when done or when a limit is reached."""
        ...


def backend(name: BackendName) -> Backend:
    """Return a backend by name, and import its packages."""
    if name == "cbc":
        from pats_solvers.milp.backends.cbc import solve

        return solve
    from pats_solvers.milp.backends import highs_scip

    return partial(highs_scip.solve, name)
