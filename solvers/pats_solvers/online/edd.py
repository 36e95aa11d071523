"""Earliest due date first."""

from __future__ import annotations

from typing import ClassVar

from pats_opt.model.problem import Job
from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.dispatch.due import due_after
from pats_solvers.online.dispatch.rule import Desk, Rule
from pats_solvers.online.dispatch.scoring import Floats, PlainScoring, Rows


class Edd(QueuePolicy, frozen=True, kw_only=True):
    """Earliest due date first; neither length nor switching nor weight counts.

    Rule: the leader is the request that is due first: at its arrival plus its deadline, and where
    it has none at its arrival, as every second of its latency is priced (so without deadlines
    requests lead in order of arrival). Those that follow need no load: of its adapter, or where
    batches may mix adapters of any resident one, the earliest due first while they fit. Ties: the
    earliest request. Several idle GPUs: that of least switching for its first request (ties: the
    first GPU).

    Source: Jackson (1955), "Scheduling a production line to minimize maximum tardiness".
    """

    name: ClassVar[str] = "edd"

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return _Edd(desk, features=1)


class _Edd(PlainScoring):
    def features(self, job: Job) -> tuple[float]:
        """Ticks from arrival to due date."""
        return (due_after(job),)

    def scores(self, rows: Rows, switching_s: Floats | float, tick: int) -> Floats:  # noqa: ARG002
        """Less the due date, in ticks."""
        scores: Floats = -(rows.arrival + rows.feature[0])
        return scores
