"""One solver or policy on one instance document: everything that can be wrong with its answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from pats_opt.core.solver import Feature, Kind, features
from pats_opt.errors import CapabilityError, InfeasibleError, InputError, NoScheduleError
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import SolutionStatus, StopReason
from pats_opt.solving.result import Result
from pats_opt.solving.solve import runnable, solve
from tests.campaign.answers.reading import Reading

Json = dict[str, Any]

#: Features that a parameter may take away from a solver's record.
LACKS = {
    "milp:formulation=flow": frozenset(
        (Feature.RESIDENT, Feature.MIXED_BATCH, Feature.ACTIVATE, Feature.OVERLAP)
    ),
    "milp:formulation=indicator": frozenset((Feature.PAIRS,)),
}

#: Losses this close, relative to the loss, are the same; and relative to all that is at stake.
CLOSE, CLOSE_AT_STAKE = 1e-6, 1e-9


class Fault(NamedTuple):
    """What is wrong, as a short text that equal faults share, and its figures."""

    kind: str
    problem: str


def at_stake(document: Json) -> float:
    """About the loss of a bad schedule: the size that rounding errors have to be compared with."""
    switching = document["switching"]
    price_per_tick = document["latency_price_per_s"] * document["tick_s"]
    dearest = max((a["load_s"] for a in document["adapters"]), default=0.0)
    total = switching["price_per_s"] * (dearest + switching.get("activate_s", 0.0))
    for request in document["requests"]:
        best = max(option["quality"] for option in request["options"])
        lost = best + 10 * price_per_tick + document.get("late_price", 0.0)
        total += request.get("weight", 1) * (lost + (request.get("reject_loss") or 0.0))
    return float(total)


class Judge:
    """Judges answers to one instance whose optimum is known.

    Args:
        document: The instance.
        optimum: Its least loss; None where there is no schedule.
        proof: Whether an exact solver has to prove its answer within the limit.
        time_limit: Seconds for each solver.
    """

    def __init__(
        self,
        document: Json,
        optimum: float | None,
        *,
        proof: bool = True,
        time_limit: float = 200.0,
    ) -> None:
        self.document, self.optimum, self.proof = document, optimum, proof
        self.time_limit = time_limit
        self.problem = Problem(parse_instance(json.dumps(document)))
        self.result: Result | None = None
        self.refused = False
        self.slack = CLOSE * (optimum or 0.0) + CLOSE_AT_STAKE * at_stake(document)

    def faults(self, spec: str, seed: int = 0) -> Iterator[Fault]:
        """Everything wrong with one answer; ``result`` is it, None without, ``refused`` why."""
        self.result, self.refused = None, False
        solver = runnable(spec)
        lacking = features(self.problem) - solver.capabilities.features
        exactly = solver.kind is Kind.EXACT
        try:
            self.result = solve(self.problem, spec, time_limit=self.time_limit, seed=seed)
        except Exception as error:
            self.refused = isinstance(error, InputError)
            large = spec.startswith("milp") and not self.proof  # a column per tick is too many
            limited = lacking | features(self.problem) & LACKS.get(spec, frozenset())
            excused = bool(limited) if isinstance(error, CapabilityError) else large
            if kind := self._error(error, excused=excused, exactly=exactly):
                yield Fault(kind, str(error))
            return
        if lacking:
            yield Fault("does not refuse what it cannot do", ", ".join(sorted(lacking)))
        figures = f"loss {self.result.loss}, bound {self.result.bound}, optimum {self.optimum}"
        # A model with a column per tick may take long, beside other work above all.
        late = spec.startswith("milp") and self.result.runtime_s >= self.time_limit
        # Where durations fit no integers, as its details say, a batch may seem to end earlier.
        inexact = not self.result.details.get("exact_durations", True)
        prove = exactly and self.proof and not (late or inexact)
        if self.optimum is None:
            kinds = _without(self.result, prove)
        else:
            kinds = _against(self.result, self.optimum, self.slack, prove)
        for kind in kinds:
            yield Fault(kind, figures)
        if self.result.loss is not None:
            yield from self.schedule_faults(self.result)

    def _error(self, error: Exception, *, excused: bool, exactly: bool) -> str | None:
        """Kind of fault that an error of the solver is, None where it is right."""
        if isinstance(error, InputError):
            return None if excused else "refuses what it can do"
        if isinstance(error, InfeasibleError):
            return "calls a feasible instance infeasible" if self.optimum is not None else None
        if isinstance(error, NoScheduleError):
            pressed = self.document.get("horizon_ticks") is not None or self.optimum is None
            return None if pressed and not exactly else "gives no schedule"
        return type(error).__name__

    def schedule_faults(self, result: Result) -> Iterator[Fault]:
        """The schedule against the campaign's own reading of the rules."""
        reading = Reading(self.document, json.loads(encode(result.schedule)))
        loss, rounding = float(reading.loss), CLOSE_AT_STAKE * at_stake(self.document)
        if reading.broken:
            yield Fault(f"breaks rule {min(map(str, reading.broken))}", f"rules {reading.broken}")
        elif result.loss is None or abs(result.loss - loss) > 1e-9 * max(loss, rounding):
            yield Fault("loss is another", f"{result.loss!r}, not {loss!r}")


def _without(result: Result, prove: bool) -> Iterator[str]:
    """Kinds of faults of an answer to an instance that has no schedule."""
    if result.loss is not None:
        yield "has a schedule where there is none"
    elif prove:
        yield "does not prove that there is no schedule"


def _against(result: Result, optimum: float, slack: float, prove: bool) -> Iterator[str]:
    """Kinds of faults of an answer, against the optimum."""
    loss, bound = result.loss, result.bound
    proven = result.status.stop is StopReason.OPTIMAL
    if bound is not None and bound > optimum + slack:
        yield "bound above the optimum"
    if loss is not None and loss < optimum - slack:
        yield "loss below the optimum"
    if proven != (result.status.point is SolutionStatus.OPTIMAL):
        yield "status contradicts itself"
    if proven and (loss is None or loss > optimum + slack):
        yield "optimum claimed that is none"
    if proven and (bound is None or bound < optimum - slack):
        yield "optimum claimed without its bound"
    gap = None if loss is None or bound is None else loss - bound
    if prove and not proven and (gap is None or gap > slack):
        yield "does not prove its optimum"
