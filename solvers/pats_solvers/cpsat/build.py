"""Pieces of a CP-SAT model that know nothing of batches: flags, order, the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pats_solvers.cpsat.scaling import Losses

Var = Any  #: a CP-SAT variable, or a linear expression of some


class BuildingStopped(Exception):  # noqa: N818
    """Time ran out, or the user stopped, before the model was complete."""


class Builder:
    """A CP-SAT model being built.

    Args:
        stop: Asked now and then; building ends where it answers anything.

    Attributes:
        cp: The ``CpModel``.
        flags: Variables that are true exactly if one of some others is, with those others.
        losses: The integer objective's coefficients, once :meth:`minimise` has set it.
    """

    losses: Losses

    def __init__(self, stop: Callable[[], object] = lambda: None) -> None:
        from ortools.sat.python import cp_model

        self.cp: Any = cp_model.CpModel()
        self.flags: list[tuple[Var, list[Var]]] = []
        self._cost: list[tuple[float, Var, int]] = []
        self._stop = stop

    def go_on(self) -> None:
        """Raise :class:`BuildingStopped` where it is time to stop."""
        if self._stop():
            raise BuildingStopped

    def flag(self) -> Var:
        """A new Boolean variable."""
        return self.cp.new_bool_var("")

    def pay(self, price: float, variable: Var, most: int = 1) -> None:
        """Add ``price * variable`` to the loss; the variable runs from 0 to ``most``."""
        if price:
            self._cost.append((price, variable, most))

    def minimise(self) -> None:
        """Make the loss, in integers, the objective."""
        prices = [price for price, _, _ in self._cost]
        self.losses = Losses.of(prices, [most for _, _, most in self._cost])
        variables = [variable for _, variable, _ in self._cost]
        self.cp.minimize(
            sum(c * v for c, v in zip(self.losses.coefficients, variables, strict=True) if c)
        )

    def any_of(self, members: Sequence[Var], exclusive: bool = False) -> Var:
        """A flag that is true exactly if one of the members is (at most one, if exclusive)."""
        flag = self.flag()
        self.flags.append((flag, list(members)))
        if exclusive:
            self.cp.add(sum(members) == flag)
            return flag
        self.cp.add_bool_or([flag.negated(), *members])
        for member in members:
            self.cp.add_implication(member, flag)
        return flag

    def from_on(self, places: Sequence[Var | None]) -> list[Var]:
        """Per place in order (None: not possible there), whether it is there or later."""
        flags: list[Var] = []
        after: list[Var] = []
        for place in reversed(places):
            if place is not None:
                after = [self.any_of([*after, place], exclusive=True)]
            flags.append(after[0] if after else 0)
        return flags[::-1]

    def in_order(self, first: Sequence[Var], second: Sequence[Var], must: bool) -> None:
        """Of two jobs that are both at one of the same places, one is not later than the other.

        Args:
            first: :meth:`from_on` of the job that is not later.
            second: That of the other one.
            must: Whether the other one has to be at one of these places.
        """
        here = 1 if must else second[0]
        for k, flag in enumerate(first):
            if k == len(first) - 1 or flag is not first[k + 1]:
                self.cp.add(flag + here <= second[k] + 1)


def grouped(pairs: Iterable[tuple[int, Var]]) -> dict[int, list[Var]]:
    """Values by key."""
    groups: dict[int, list[Var]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups
