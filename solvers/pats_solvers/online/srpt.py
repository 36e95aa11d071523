"""Shortest first."""

from __future__ import annotations

from typing import ClassVar

from pats_opt.model.problem import Job
from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.dispatch.options import service_s
from pats_solvers.online.dispatch.rule import Desk, Rule
from pats_solvers.online.dispatch.scoring import Floats, PlainScoring, Rows


class Srpt(QueuePolicy, frozen=True, kw_only=True):
    """Shortest effective time first; weights do not count.

    Rule: the leader is the request with the least seconds of service alone (overhead and steps of
    its option; the whole tick of a ``slot`` batch), plus the seconds of switching that its adapter
    would pay on that GPU now. Those that follow need no load: of its adapter, or where batches may
    mix adapters of any resident one, the shortest first while they fit. Several idle GPUs: the pair
    of request and GPU with the least sum first. Ties: the earliest request; between GPUs the one
    of least switching, then the first. A running batch is not preempted, so what remains of a
    request is always all of it. Long requests can starve: see ``max_wait_s``.

    Source: Schrage (1968), "A proof of the optimality of the shortest remaining processing time
    discipline"; switching counts as work, as in the effective time of PATS.
    """

    name: ClassVar[str] = "srpt"

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return _Srpt(desk, features=1)


class _Srpt(PlainScoring):
    def features(self, job: Job) -> tuple[float]:
        """Seconds of service."""
        return (service_s(self.site, job, self.option(job)),)

    def scores(self, rows: Rows, switching_s: Floats | float, tick: int) -> Floats:  # noqa: ARG002
        """Less the effective time."""
        scores: Floats = -(rows.feature[0] + switching_s)
        return scores
