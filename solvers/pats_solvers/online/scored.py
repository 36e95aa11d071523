"""Policies that rank requests by a score: shortest first, due dates, and tardiness with set-ups."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta
from typing_extensions import override

from pats_opt.core.policy import GpuState
from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.common.batch import BatchBuilder
from pats_solvers.online.common.context import Leader, RunSetup
from pats_solvers.online.common.kinds import Column, Floats
from pats_solvers.online.common.scoring import Queue, ScoringRun

#: Weight in place of 0, which has no logarithm: after all others, and still served.
WEIGHTLESS = 1e-300


class ScoredPolicy(QueuePolicy[ScoringRun], frozen=True, kw_only=True):
    """The best score leads, then the best of those that need no load follow, one after another.

    These are of the leader's adapter; in batches that may mix adapters (``max_per_batch`` above 1)
    of any that the batch holds resident. Ties go to the earliest request. Several idle GPUs: the
    pair of request and GPU with the highest score goes first. Of equal ones, each GPU's best
    request, that which pays the least switching goes first; then the first GPU's.
    """

    #: What :meth:`score` looks at besides adapter, demand and arrival.
    columns: ClassVar[tuple[Column, ...]]

    @abstractmethod
    def score(self, q: Queue) -> Floats:
        """Return the score of each row of ``q``; it must not fall with waiting."""

    @override
    def new_run(self, setup: RunSetup) -> ScoringRun:
        return ScoringRun(setup, self.columns)

    @override
    def select_leader(self, run: ScoringRun, idle: Sequence[GpuState]) -> Leader | None:
        return run.best_leader(self.score, idle)

    @override
    def fill_batch(self, run: ScoringRun, batch: BatchBuilder) -> None:
        mixed = run.site.max_per_batch > 1
        run.add_followers(self.score, batch, batch.resident if mixed else batch.active)


class Srpt(ScoredPolicy, frozen=True, kw_only=True):
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
    columns: ClassVar[tuple[Column, ...]] = ("service_s",)

    @override
    def score(self, q: Queue) -> Floats:
        return -(q.service_s + q.switch_s)


class Edd(ScoredPolicy, frozen=True, kw_only=True):
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
    columns: ClassVar[tuple[Column, ...]] = ("due_after",)

    @override
    def score(self, q: Queue) -> Floats:
        return -q.due


class Mdd(ScoredPolicy, frozen=True, kw_only=True):
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
    columns: ClassVar[tuple[Column, ...]] = ("service_s", "due_after")

    @override
    def score(self, q: Queue) -> Floats:
        return -np.maximum(q.service_s + q.switch_s, q.due_in_s)


class Atcs(ScoredPolicy, frozen=True, kw_only=True):
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
    columns: ClassVar[tuple[Column, ...]] = ("service_s", "due_after", "weight")

    k1: Annotated[float, Meta(ge=1e-6, le=1e9, extra={"search": [0.1, 20.0], "log": True})] = 4.5
    k2: Annotated[float, Meta(ge=1e-6, le=1e9, extra={"search": [0.02, 5.0], "log": True})] = 0.9

    @override
    def score(self, q: Queue) -> Floats:
        slack_s = np.maximum(q.due_in_s - q.service_s, 0.0)
        index = np.log(np.maximum(q.weight, WEIGHTLESS) / q.service_s)
        index -= slack_s / (self.k1 * q.mean_service_s)
        if q.mean_load_s > 0:
            index = index - q.switch_s / (self.k2 * q.mean_load_s)
        return index
