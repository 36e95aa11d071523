"""DualMap: two homes for every adapter, of which affinity and load choose."""

from __future__ import annotations

from typing_extensions import override

from pats_opt.model.problem import Job
from pats_solvers.online.common.queue import Hosts
from pats_solvers.online.dispatch.hashing import HashRing
from pats_solvers.online.dispatch.routers import Router
from pats_solvers.online.dispatch.workload import Workload

#: Share of a request's objective from which on load decides, and affinity does no more.
LOADED = 0.5


class DualMap(Router):
    """One of two GPUs that hash rings give the adapter: the one that has more of it, if in time.

    Where both rings give the same GPU, the second candidate is the next one by index. A GPU has as
    much of the adapter as requests of it wait there, and one more where it is resident. The
    estimate on a GPU is its work, the request's own, and a load where it has none of the adapter.
    Where the estimate on the first choice is over half of the request's objective (its deadline;
    without one, three times what it takes alone with its load), or both have as much, the smaller
    estimate decides; ties go to the one with fewer in its batch, then at random. A waiting request
    moves (``rebalance``) to the other candidate; where that is overloaded, to the GPU next to
    either of them.

    Source: DualMap's published scheduler (A-zhudong/DualMap).
    """

    def __init__(self, workload: Workload, seed: int) -> None:
        super().__init__(workload, seed)
        site = workload.site
        names = [gpu.id for gpu in site.gpus]
        self._names = site.adapter_ids
        self._rings = [HashRing(names, salt) for salt in ("first:", "second:")]

    def candidates(self, job: Job, hosts: Hosts) -> tuple[int, ...]:
        """Return the two GPUs of the job's adapter; one where only one can hold the job."""
        if len(hosts) == 1:
            return hosts
        name, within = self._names[job.adapter], frozenset(hosts)
        one, two = (next(g for g in ring.order(name) if g in within) for ring in self._rings)
        if one == two:
            two = hosts[(hosts.index(one) + 1) % len(hosts)]
        return one, two

    @override
    def __call__(self, job: Job, hosts: Hosts, tick: int) -> int:
        both = self.candidates(job, hosts)
        if len(both) == 1:
            return both[0]
        workload = self.workload
        has = workload.has(job.adapter)
        ahead = workload.work(tick) + workload.to_load(job.adapter)
        estimate = {g: float(ahead[g]) + workload.own(job, g) for g in both}
        first = max(both, key=has.__getitem__)
        if has[both[0]] != has[both[1]] and estimate[first] <= LOADED * workload.objective(job):
            return first
        ranks = {g: (estimate[g], workload.running[g]) for g in both}
        best = [g for g in both if ranks[g] == min(ranks.values())]
        return best[0] if len(best) == 1 else self.rng.choice(best)

    @override
    def targets(self, job: Job, source: int, busy: frozenset[int]) -> list[int]:
        hosts = self.workload.hosts(job)
        others = [g for g in self.candidates(job, hosts) if g != source]
        free = [g for g in others if g not in busy]
        if not free:
            after = [hosts[(hosts.index(g) + 1) % len(hosts)] for g in (source, *others)]
            free = [g for g in after if g != source and g not in busy]
        return free
