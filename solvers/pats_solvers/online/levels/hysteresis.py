"""A switch that turns on at one ratio and off at a lower one, so that it does not flutter."""

from __future__ import annotations

from msgspec import Struct


class Hysteresis(Struct):
    """A switch with two thresholds.

    Attributes:
        up: Ratio at which it turns on.
        down: Ratio below which it turns off; at most ``up``.
        on: Whether it is on.
    """

    up: float
    down: float
    on: bool = False

    def update(self, ratio: float) -> bool:
        """Return whether it is on from now on, at a new ratio."""
        self.on = ratio >= (self.down if self.on else self.up)
        return self.on
