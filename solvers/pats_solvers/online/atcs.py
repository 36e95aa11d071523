"""Apparent tardiness cost with set-ups."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta

from pats_opt.model.problem import Job, Site
from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.dispatch.due import due_after
from pats_solvers.online.dispatch.options import service_s
from pats_solvers.online.dispatch.rule import Desk, Rule
from pats_solvers.online.dispatch.scoring import Floats, PlainScoring, Rows

#: Weight that stands for 0, whose logarithm is none: after all others, and still served.
WEIGHTLESS = 1e-300


class Atcs(QueuePolicy, frozen=True, kw_only=True):
    """Weight per second of work, less for slack before the due date, less for a set-up.

    Rule: the leader has the largest index::

        w / p * exp(-max(d - p - t, 0) / (k1 * pbar)) * exp(-s / (k2 * sbar))

    with weight w; p seconds of service alone (overhead and steps of its option; the whole tick of a
    ``slot`` batch); due date d and now t in seconds; s seconds of switching that its adapter would
    pay on that GPU now; pbar the mean of p over all that have arrived; sbar the mean load over all
    transitions of the site (where every load takes no time, the last factor is 1). A request
    without deadline is due at its arrival, as every second of its latency is priced: its slack is
    0. The index is compared by its logarithm, so that far due dates do not make ties of 0.

    Those that follow need no load: of the leader's adapter, or where batches may mix adapters of
    any resident one, in the order of the index with s = 0, while they fit. Ties: the earliest
    request. Several idle GPUs: the pair of request and GPU with the largest index first; ties go
    to the one of least switching, then the first. Requests of weight 0 go last.

    Source: Lee, Bhaskaran and Pinedo (1997), "A heuristic to minimize the total weighted tardiness
    with sequence-dependent setups". The defaults are their regressions (k1 = 4.5 + R, k2 = tau /
    (2 sqrt(eta))) where due dates do not vary (R = 0), nearly all are missed (tau = 1) and a
    set-up takes 0.3 of a service (eta), as with the documents' figures.

    Args:
        k1: How far due dates are looked ahead, in mean services.
        k2: How dear a set-up is: one of mean length divides the index by exp(1 / k2).
    """

    name: ClassVar[str] = "atcs"

    k1: Annotated[float, Meta(ge=1e-6, le=1e9, extra={"search": [0.1, 20.0], "log": True})] = 4.5
    k2: Annotated[float, Meta(ge=1e-6, le=1e9, extra={"search": [0.02, 5.0], "log": True})] = 0.9

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return _Atcs(desk, self)


class _Atcs(PlainScoring):
    def __init__(self, desk: Desk, policy: Atcs) -> None:
        super().__init__(desk, features=3)
        self._k1 = policy.k1
        load_s = mean_load_s(desk.site)
        self._per_switch_s = 1.0 / (policy.k2 * load_s) if load_s > 0 else 0.0
        self._work_s, self._seen = 0.0, 0

    def features(self, job: Job) -> tuple[float, float, float]:
        """Seconds of service, ticks from arrival to due date, logarithm of weight per second."""
        work_s = service_s(self.site, job, self.option(job))
        return work_s, due_after(job), math.log(max(job.weight, WEIGHTLESS) / work_s)

    def arrived(self, job: Job, tick: int) -> None:
        """It counts in the mean."""
        super().arrived(job, tick)
        self._work_s += service_s(self.site, job, self.option(job))
        self._seen += 1

    def scores(self, rows: Rows, switching_s: Floats | float, tick: int) -> Floats:
        """Logarithm of the index."""
        work_s, due, urgency = rows.feature
        slack_s = np.maximum((rows.arrival + due - tick) * self.site.tick_s - work_s, 0.0)
        ahead_s = self._k1 * self._work_s / self._seen
        scores: Floats = urgency - slack_s / ahead_s - switching_s * self._per_switch_s
        return scores


def mean_load_s(site: Site) -> float:
    """Mean seconds of loading over every transition to an adapter from another or from none."""
    count = len(site.load_s)
    if not count:
        return 0.0
    pairs = math.fsum(seconds - site.load_s[to] for (_, to), seconds in site.pairs.items())
    return math.fsum(site.load_s) / count + pairs / count**2
