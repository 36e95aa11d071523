"""Searches that take turns: who is next, and that none starves or goes on for nothing."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

import pytest

from pats_opt.core.solver import Run
from pats_opt.model.files import parse_instance
from pats_opt.model.problem import Problem
from pats_solvers import turns
from pats_solvers.common.incumbent import Incumbent
from pats_solvers.turns import FAIR, HEAD_START, Turns
from tests.support.zoo import document, request

PROBLEM = Problem(parse_instance(json.dumps(document(request("r0")))))


@dataclass
class Clock:
    """Seconds that pass only while a search works."""

    now: float = 0.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@dataclass
class Search:
    """A search whose rounds take a second each and raise the bound by a little."""

    name: str
    incumbent: Incumbent
    clock: Clock
    order: list[str]
    gain: float = 0.0
    rounds: float = math.inf
    takes_s: float = 1.0
    done: int = field(default=0)

    @property
    def ended(self) -> bool:
        """Whether all its rounds are done."""
        return self.done >= self.rounds

    def advance(self) -> None:
        """Do a round."""
        self.done += 1
        self.order.append(self.name)
        self.clock.now += self.takes_s
        self.incumbent.raise_bound(self.incumbent.bound + self.gain)


class Race:
    """Two searches on one incumbent, ``first`` and ``second``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, limit: float | None) -> None:
        self.clock, self.order = Clock(), list[str]()
        monkeypatch.setattr(turns, "time", self.clock)
        run = Run(time_limit=limit)
        self.incumbent = Incumbent(PROBLEM, run, 0.0)
        self.first, self.second = (
            Search(name, self.incumbent, self.clock, self.order) for name in ("first", "second")
        )

    def run(self) -> Turns:
        """Take turns to the end."""
        taking = Turns(self.incumbent, {"first": self.first, "second": self.second})
        taking.run()
        return taking


def test_the_first_has_a_head_start_and_then_they_go_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a limit nothing depends on the clock."""
    race = Race(monkeypatch, None)
    race.first.rounds = race.second.rounds = HEAD_START + 3
    race.second.gain = 5.0
    race.run()
    assert race.order[:HEAD_START] == ["first"] * HEAD_START
    assert race.order[HEAD_START : 2 * HEAD_START] == ["second"] * HEAD_START
    assert race.order[2 * HEAD_START :] == ["first", "second"] * 3


def test_time_goes_to_what_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one gets its fair share."""
    race = Race(monkeypatch, 1e9)
    race.first.gain, race.second.gain = 1e-6, 1e-3
    race.first.rounds = race.second.rounds = 100
    taking = Turns(race.incumbent, {"first": race.first, "second": race.second})
    race.second.rounds = 80
    taking.run()
    upto = race.order[: race.order.index("second") + 80]
    share = upto.count("first") / len(upto)
    assert FAIR / 2 < share < 2 * FAIR


def test_first_gains_are_soon_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever begins gains the most; once that search is in vain, the time goes to the other."""
    race = Race(monkeypatch, 1e9)
    race.incumbent = race.first.incumbent = race.second.incumbent = Incumbent(
        PROBLEM, Run(time_limit=1e9), -1e4
    )
    race.first.gain, race.second.gain = 1e3, 20.0
    race.second.rounds = 40

    def begin() -> None:
        Search.advance(race.first)
        if race.first.done == HEAD_START:
            race.first.gain = 0.0

    monkeypatch.setattr(race.first, "advance", begin)
    race.first.rounds = 60
    race.run()
    upto = race.order[HEAD_START : race.order.index("second") + 40]
    assert upto.count("first") < 2 * FAIR * len(upto)


def test_where_nothing_gains_time_is_shared_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds, not rounds: one whose rounds take three times as long has a third of them."""
    race = Race(monkeypatch, 1e9)
    race.first.takes_s = 3.0
    race.first.rounds, race.second.rounds = 20, 60
    taking = race.run()
    begun = race.order[: race.order.index("second") + 20]
    assert begun.count("second") > 2 * (begun.count("first") - HEAD_START)
    assert taking.seconds == {"first": 60.0, "second": 60.0}


def test_goes_on_while_any_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that has ended has no more turns."""
    race = Race(monkeypatch, 1e9)
    race.first.rounds, race.second.rounds = 2, 5
    taking = race.run()
    assert race.order == ["first", "first", *["second"] * 5]
    assert taking.taken == {"first": 2, "second": 5}


def test_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt is looked for before each turn."""
    race = Race(monkeypatch, None)
    race.incumbent.run.interrupted.set()
    race.run()
    assert race.order == []
