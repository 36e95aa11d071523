"""How good solvers are at any time: primal and dual gaps over the seconds, and their integrals.

The gap of a loss to the best known one is T. Berthold's primal gap ("Measuring the impact of primal
heuristics", Operations Research Letters 41, 2013), the same formula with a bound in the place of
the loss is called the dual gap here; both are 1 as long as there is none. The primal integral is
the primal gap summed over the seconds of the time limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from pats_opt.core.solver import Kind
from pats_opt.report.collect import Case, Row, Table, shared
from pats_opt.report.steps import Steps, integral, mean_steps, value
from pats_opt.runs.record import FAILURES, SolverInfo
from pats_opt.runs.trace import Moment

#: The gap as long as nothing is known.
NOTHING = 1.0


class Line(Struct, frozen=True, kw_only=True):
    """A solver over time, mean over instances.

    Attributes:
        solver: The solver.
        curve: Its mean gap from each second on; :data:`NOTHING` before the first.
        integral_s: The gap integrated over the time limit, mean over the instances, seconds.
        final: The mean gap at the time limit.
    """

    solver: SolverInfo
    curve: Steps
    integral_s: float
    final: float


class Side(Struct, frozen=True, kw_only=True):
    """The primal or the dual side of all solvers that have one.

    Attributes:
        instances: Over how many the means are: those that all these solvers were run on.
        lines: A line a solver.
    """

    instances: int
    lines: tuple[Line, ...]

    def line(self, spec: str) -> Line | None:
        """A solver's line, by its spec."""
        return next((line for line in self.lines if line.solver.spec == spec), None)


class Anytime(Struct, frozen=True, kw_only=True):
    """What solvers that use their time knew when.

    Attributes:
        limit_s: The time limit, up to which is integrated.
        primal: Gaps of the losses.
        dual: Gaps of the bounds.
    """

    limit_s: float
    primal: Side
    dual: Side

    @property
    def solvers(self) -> list[SolverInfo]:
        """The solvers that are on either side."""
        both = [line.solver for side in (self.primal, self.dual) for line in side.lines]
        return list({solver.spec: solver for solver in both}.values())


def anytime(table: Table) -> Anytime | None:
    """The table's runs over time; None where no run's record has a trace.

    A run that failed has a gap of 1 throughout. Online policies decide as time goes by in the
    instance, not on the clock, and are not shown.
    """
    timed = [solver for solver in table.solvers if solver.kind != Kind.ONLINE]
    limits = [row.record.config.time_limit for _, row in table.rows if row.record]
    limit_s = max(limits, default=0.0)
    primal, dual = (_side(table.cases, timed, known, limit_s) for known in (_loss, _bound))
    if not primal.lines and not dual.lines:
        return None
    return Anytime(limit_s=limit_s, primal=primal, dual=dual)


def known_gap(value: float | None, best: float) -> float:
    """Berthold's gap of a loss or a bound to the best known loss, from 0 to 1."""
    if value is None or value * best < 0:
        return NOTHING
    largest = max(abs(value), abs(best))
    return abs(value - best) / largest if largest > 0 else 0.0


def _loss(moment: Moment) -> float | None:
    return moment.loss


def _bound(moment: Moment) -> float | None:
    return moment.bound


def _side(
    cases: Sequence[Case],
    solvers: Sequence[SolverInfo],
    known: Callable[[Moment], float | None],
    limit_s: float,
) -> Side:
    """The means over the instances that all solvers with such values were run on."""
    having = [s for s in solvers if any(known(m) is not None for m in _moments(cases, s))]
    rated = [case for case in cases if case.best is not None and not case.infeasible]
    both, kept = shared(rated, having, _traced)
    lines = []
    for solver in kept if both else ():
        gaps = [_gaps(case, solver, known) for case in both]
        curve = mean_steps(gaps, NOTHING)
        lines.append(
            Line(
                solver=solver,
                curve=curve,
                integral_s=integral(curve, NOTHING, limit_s),
                final=value(curve, NOTHING, limit_s),
            )
        )
    return Side(instances=len(both), lines=tuple(lines))


def _moments(cases: Sequence[Case], solver: SolverInfo) -> Iterator[Moment]:
    for case in cases:
        row = case.row(solver.spec)
        if row is not None and row.record is not None:
            yield from row.record.trace


def _traced(row: Row) -> bool:
    """Whether it is known what a run knew when: it has a trace, or it failed."""
    record = row.record
    return record is not None and (bool(record.trace) or record.end in FAILURES)


def _gaps(
    case: Case, solver: SolverInfo, known: Callable[[Moment], float | None]
) -> list[tuple[float, float]]:
    """The gap of one run over time."""
    row = case.row(solver.spec)
    trace = row.record.trace if row and row.record else ()
    best = case.best or 0.0
    return [(moment.seconds, known_gap(known(moment), best)) for moment in trace]
