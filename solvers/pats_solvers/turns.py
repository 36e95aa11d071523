"""Searches that take turns on one incumbent, each with the more time the more it lately gained."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from pats_solvers.common.incumbent import Incumbent

#: Turns of the first search before the others have any, and the share of the time limit that they
#: may take: it may be about to end it all.
HEAD_START, HEAD_SHARE = 4, 0.1

#: Share of the time that each search gets even where it gains nothing.
FAIR = 0.1

#: Weight of what a search gained and took in earlier turns. The first ones gain the most, whoever
#: has them, so they are soon forgotten, and the very first at once.
MEMORY = 0.2

#: Share of the gap that is too little to count as gained.
NEGLIGIBLE = 1e-3


class Rounds(Protocol):
    """A search that goes on round by round, each a little longer than the last one."""

    @property
    def ended(self) -> bool:
        """Whether another round would do nothing."""
        ...

    def advance(self) -> None:
        """Do a round, or a part of it: offer plans to the incumbent, raise its bound."""


class Turns:
    """Searches on one incumbent that take turns.

    With a time limit the next turn goes to the search that lately lowered the gap most per second,
    or to the one that has had the least time where that is less than its fair share, or where none
    gains anything. Without a limit they go round, so that the result depends on no clock.

    Args:
        incumbent: Best plan and bound of all.
        searches: The searches by name; the first has a head start.

    Attributes:
        taken: Turns of each.
        seconds: Time of each.
    """

    def __init__(self, incumbent: Incumbent, searches: Mapping[str, Rounds]) -> None:
        self._incumbent, self._searches = incumbent, searches
        self.taken = dict.fromkeys(searches, 0)
        self.seconds = dict.fromkeys(searches, 0.0)
        self._gained = dict.fromkeys(searches, 0.0)
        self._lately = dict.fromkeys(searches, 0.0)

    def run(self) -> None:
        """Take turns until the optimum is proven, no search can go on, or a limit is reached."""
        while not self._incumbent.over():
            active = [name for name, search in self._searches.items() if not search.ended]
            if not active:
                return
            self._turn(self._next(active))

    def _next(self, active: list[str]) -> str:
        """Return whose turn it is."""
        first, limit = active[0], self._incumbent.run.time_limit
        begun = sum(self.taken.values()) > self.taken[first]
        early = limit is None or self.seconds[first] < HEAD_SHARE * limit
        if not begun and early and self.taken[first] < HEAD_START:
            return first
        if limit is None:
            return min(active, key=lambda name: self.taken[name])
        behind = min(active, key=lambda name: self.seconds[name])
        least = NEGLIGIBLE * self._value()
        gaining = any(self._gained[name] > least for name in active)
        if not gaining or self.seconds[behind] < FAIR * sum(self.seconds.values()):
            return behind
        return max(active, key=lambda name: self._gained[name] / max(1e-9, self._lately[name]))

    def _turn(self, name: str) -> None:
        before, began = self._value(), time.monotonic()
        self._searches[name].advance()
        seconds = time.monotonic() - began
        self.taken[name] += 1
        self.seconds[name] += seconds
        memory = MEMORY if self.taken[name] > 2 else 0.0
        self._gained[name] = memory * self._gained[name] + max(0.0, before - self._value())
        self._lately[name] = memory * self._lately[name] + seconds

    def _value(self) -> float:
        """Return the gap; without a plan, how far the bound is below 0."""
        incumbent = self._incumbent
        return -incumbent.bound if incumbent.plan is None else incumbent.loss - incumbent.bound
