"""Modified due date."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pats_opt.model.problem import Job
from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.dispatch.due import due_after
from pats_solvers.online.dispatch.options import service_s
from pats_solvers.online.dispatch.rule import Desk, Rule
from pats_solvers.online.dispatch.scoring import Floats, PlainScoring, Rows


class Mdd(QueuePolicy, frozen=True, kw_only=True):
    """Earliest modified due date first: the due date, or the earliest finish where that is later.

    Rule: the leader has the least max(t + p, d): now t, due date d, and p the seconds of service
    alone (overhead and steps of its option; the whole tick of a ``slot`` batch) plus those of
    switching that its adapter would pay on that GPU now. So requests that can still be in time go
    by due date, and those that cannot go shortest first. One without deadline is due at its
    arrival, as every second of its latency is priced. Those that follow need no load: of its
    adapter, or where batches may mix adapters of any resident one, in the order of the same value
    with p the service alone, while they fit. Ties: the earliest request. Several idle GPUs: the
    pair of request and GPU with the least value first; ties go to the one of least switching, then
    the first. Weights do not count. Long late requests can starve: see ``max_wait_s``.

    Source: Baker and Bertrand (1982), "A dynamic priority rule for scheduling against due-dates".
    """

    name: ClassVar[str] = "mdd"

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return _Mdd(desk, features=2)


class _Mdd(PlainScoring):
    def features(self, job: Job) -> tuple[float, float]:
        """Seconds of service, and ticks from arrival to due date."""
        return service_s(self.site, job, self.option(job)), due_after(job)

    def scores(self, rows: Rows, switching_s: Floats | float, tick: int) -> Floats:
        """Less the seconds from now to the modified due date."""
        work_s, due = rows.feature
        left_s = (rows.arrival + due - tick) * self.site.tick_s
        scores: Floats = -np.maximum(work_s + switching_s, left_s)
        return scores
