"""The independent check: every rule of PROBLEM.md sections 5 and 5a from the schedule alone.

The checker trusts no solver: it takes ids, ticks and options from the document, replays each GPU
from its residents at tick 0, recomputes every completion and loss term, and lists all violations.
The rules are in :mod:`pats_opt.model.replay` and :mod:`pats_opt.model.overlap`.
"""

from __future__ import annotations

import math

from msgspec import Struct

from pats_opt.display import Plottable
from pats_opt.errors import InputError, expect, one_line
from pats_opt.memory import collector_paused
from pats_opt.model.instance import Instance
from pats_opt.model.loss import LossTerms, late_loss, latency_loss, switching_loss
from pats_opt.model.overlap import OverlapReplay
from pats_opt.model.plan import Plan, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.replay import TOLERANCE, Replay, ReplayedBatch, ReplayedLoad, Violation
from pats_opt.model.schedule import Schedule, SolverRef
from pats_opt.wording import counted, number

__all__ = [
    "TOLERANCE",
    "ReplayedBatch",
    "ReplayedLoad",
    "Verdict",
    "Violation",
    "check",
    "valid_loss",
]


class Verdict(Struct, Plottable, frozen=True, kw_only=True):
    """Result of a check: all violations, and the loss of the schedule.

    Attributes:
        violations: Every broken rule.
        terms: The recomputed loss, term by term.
        replayed: The batches by the rules, and ``problem`` their problem: for pictures.
        loads: The loads beside serving, by GPU and start.
    """

    violations: tuple[Violation, ...]
    terms: LossTerms
    replayed: tuple[ReplayedBatch, ...] = ()
    problem: Problem | None = None
    loads: tuple[ReplayedLoad, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the schedule is valid."""
        return not self.violations

    @property
    def loss(self) -> float:
        """The recomputed loss; with violations, of the part that is understood."""
        return self.terms.total

    def first(self) -> str:
        """The first violation and the number of all, in one line."""
        first = self.violations[0]
        more = counted(len(self.violations), "violation")
        return f"rule {first.rule}: {first.place}: {first.message} ({more})"

    def require_valid(self) -> None:
        """Refuse a schedule that breaks a rule.

        Raises:
            InputError: The schedule has violations; the message has the first.
        """
        if not self.ok:
            raise InputError(
                f"the schedule breaks {self.first()}", hint="'pats-opt check' lists all violations"
            )

    def __repr__(self) -> str:
        state = "valid" if self.ok else f"not valid, {self.first()}"
        return one_line(f"Verdict({state}, loss={number(self.loss, 6)})")


def check(instance: Instance | Problem, schedule: Schedule) -> Verdict:
    """Check a schedule against its instance.

    Raises:
        InputError: The schedule was made for another instance.
    """
    with collector_paused():
        problem = instance if isinstance(instance, Problem) else Problem(instance)
    expect(schedule, Schedule, "take result.schedule, or read it: pats_opt.read_schedule(path)")
    if schedule.instance.sha256 != problem.instance.sha256:
        raise InputError(
            f"the schedule was made for another instance ({schedule.instance.name!r}, digest "
            f"{schedule.instance.sha256[:12]}, not {problem.instance.sha256[:12]})",
            place="instance.sha256",
            hint="name the instance that the schedule was made for",
        )
    replay = (Replay if problem.site.channels is None else OverlapReplay)(problem, schedule)
    with collector_paused():
        batches = list(replay)
        terms = _loss_terms(replay, batches)
    if not replay.violations:
        replay.claims(terms.total)
    return Verdict(
        violations=tuple(replay.violations),
        terms=terms,
        replayed=tuple(batches),
        problem=problem,
        loads=tuple(replay.loads),
    )


def valid_loss(problem: Problem, plan: Plan) -> float | None:
    """The loss of a plan, or None where it breaks a rule."""
    verdict = check(problem, schedule_of(problem, plan, SolverRef(name="plan")))
    return verdict.loss if verdict.ok else None


def _loss_terms(replay: Replay, batches: list[ReplayedBatch]) -> LossTerms:
    site = replay.site
    seconds = [b.switch.seconds for b in batches] + [site.load_s[x.adapter] for x in replay.loads]
    served = [member for batch in batches for member in batch.members]
    return LossTerms(
        quality=math.fsum(job.options[o].quality_loss for job, o, _ in served),
        latency=math.fsum(latency_loss(site, job, c) for job, _, c in served),
        late=math.fsum(late_loss(site, job, c) for job, _, c in served),
        switching=math.fsum([switching_loss(site, s) for s in seconds]),
        rejection=math.fsum(job.reject_loss or 0.0 for job in replay.rejected),
    )
