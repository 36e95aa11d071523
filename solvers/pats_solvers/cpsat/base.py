"""Base class of the CP-SAT models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_solvers.cpsat.integers import IntegerLosses

#: A CP-SAT variable, or a linear expression of some.
Var = Any


class BuildInterruptedError(Exception):
    """Time ran out, or the user stopped, before the model was complete."""


class CpSatModel(ABC):
    """The schedules of a problem whose loss is at most a known one, as a CP-SAT model.

    Attributes:
        name: Name of the formulation.
        bytes_per_size: Memory per unit of :meth:`size`, once for the model and once per worker;
            measured as peaks of 40 s with 60 to 300 requests.
        linearization: CP-SAT's ``linearization_level`` that suits the model.
        probing: CP-SAT's ``cp_model_probing_level``; on a large flow it costs more than it gives.
        cp: The native ``CpModel``, to which you can add constraints.
        losses: The objective's coefficients.
        exact: Whether durations are the clock's in every case.
    """

    name: ClassVar[str]
    bytes_per_size: ClassVar[int]
    linearization: ClassVar[int]
    probing: ClassVar[int] = 2

    losses: IntegerLosses
    exact: bool = True

    @abstractmethod
    def __init__(
        self,
        problem: Problem,
        known_loss: float | None = None,
        stop: Callable[[], object] = lambda: None,
    ) -> None:
        """Build the model; subclasses call this first and :meth:`_minimise` last.

        Args:
            problem: The problem.
            known_loss: Loss of a schedule, or None.
            stop: Called now and then; building ends where it returns anything.

        Raises:
            BuildInterruptedError: ``stop`` returned something.
        """
        from ortools.sat.python import cp_model

        self.problem = problem
        self.cp: Any = cp_model.CpModel()
        self._stop = stop
        self._costs: list[tuple[float, Var, int]] = []

    @classmethod
    def unfit(cls, problem: Problem) -> str | None:  # noqa: ARG003
        """Return why the model cannot state a problem, or None."""
        return None

    @classmethod
    @abstractmethod
    def size(cls, problem: Problem) -> int:
        """Upper bound on the number of variables that the model's size grows with."""

    @classmethod
    def quick_plan(cls, problem: Problem, stop: Callable[[], object]) -> Plan | None:  # noqa: ARG003
        """Return a good plan at once, or None."""
        return None

    @abstractmethod
    def plan(self, value: Callable[[Var], int]) -> Plan:
        """Return the plan of a solution's values."""

    @abstractmethod
    def hint(self, plan: Plan) -> None:
        """Hint a plan for every variable."""

    def _go_on(self) -> None:
        """Raise :class:`BuildInterruptedError` where it is time to stop."""
        if self._stop():
            raise BuildInterruptedError

    def _flag(self) -> Var:
        """Return a new Boolean variable."""
        return self.cp.new_bool_var("")

    def _pay(self, price: float, variable: Var, most: int = 1) -> None:
        """Add ``price * variable`` to the loss; the variable runs from 0 to ``most``."""
        if price:
            self._costs.append((price, variable, most))

    def _minimise(self) -> None:
        """Make the loss, in integers, the objective."""
        prices = [price for price, _, _ in self._costs]
        self.losses = IntegerLosses.of(prices, [most for _, _, most in self._costs])
        variables = [variable for _, variable, _ in self._costs]
        self.cp.minimize(
            sum(c * v for c, v in zip(self.losses.coefficients, variables, strict=True) if c)
        )
