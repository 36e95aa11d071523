"""Routers by load: the GPU that a request is bound to when it arrives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from random import Random

from typing_extensions import override

from pats_opt.model.problem import Job
from pats_solvers.online.common.queue import Hosts
from pats_solvers.online.dispatch.workload import Floats, Workload, least

#: More than there are requests in a batch.
BATCH = 1e6


class Router(ABC):
    """A rule in one run that binds requests to GPUs.

    Args:
        workload: The work of each GPU.
        seed: Seed of random choices.
    """

    def __init__(self, workload: Workload, seed: int) -> None:
        self.workload = workload
        self.rng = Random(seed)  # noqa: S311 - reproducible, not secret

    @abstractmethod
    def __call__(self, job: Job, hosts: Hosts, tick: int) -> int:
        """Return the one of ``hosts``, never empty, that a job is bound to."""

    def targets(self, job: Job, source: int, busy: frozenset[int]) -> list[int]:
        """Return the GPUs that a waiting job may be moved to.

        Args:
            job: The job.
            source: The GPU that it is bound to.
            busy: GPUs that are overloaded; none of them is a target.
        """
        return [g for g in self.workload.hosts(job) if g != source and g not in busy]


class RoundRobin(Router):
    """The next GPU in turn, those that cannot hold the request passed over."""

    _last = -1

    @override
    def __call__(self, job: Job, hosts: Hosts, tick: int) -> int:
        self._last = next((g for g in hosts if g > self._last), hosts[0])
        return self._last


class JoinShortestQueue(Router):
    """The GPU with the fewest requests waiting.

    Ties go to the one with the fewest in its batch, then to the first.
    """

    @override
    def __call__(self, job: Job, hosts: Hosts, tick: int) -> int:
        return least(crowd(self.workload), hosts)


class PowerOfTwo(Router):
    """The better of two GPUs drawn at random, by the requests waiting there.

    Ties go to the one with the fewest in its batch, then to the one drawn first. Source:
    Mitzenmacher (2001), "The power of two choices in randomized load balancing".
    """

    @override
    def __call__(self, job: Job, hosts: Hosts, tick: int) -> int:
        if len(hosts) == 1:
            return hosts[0]
        return min(self.rng.sample(hosts, 2), key=crowd(self.workload).__getitem__)


class LeastWork(Router):
    """The GPU with the least seconds of work: waiting requests, and the rest of its batch.

    Ties go to the first.
    """

    @override
    def __call__(self, job: Job, hosts: Hosts, tick: int) -> int:
        return least(self.workload.work(tick), hosts)


class EarliestCompletion(Router):
    """The least seconds of work, with a load where the adapter is neither resident nor waited for.

    Ties go to the first. The rule by which ServerlessLLM and dLoRA choose a server.
    """

    @override
    def __call__(self, job: Job, hosts: Hosts, tick: int) -> int:
        return least(self.workload.work(tick) + self.workload.to_load(job.adapter), hosts)


def crowd(workload: Workload) -> Floats:
    """Return a number by which GPUs rank: requests waiting first, then those in the batch."""
    ranks: Floats = workload.waiting * BATCH + workload.running
    return ranks
