"""The waiting jobs by adapter, in order of arrival, as each GPU can serve them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from heapq import merge
from itertools import takewhile
from operator import attrgetter
from typing import Protocol

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import NONE, Adapters, Amounts, Job, Site

#: Jobs in order of arrival, by index. Ordered dicts, because a plain one walks over all that it has
#: lost to reach its first key.
JobQueue = OrderedDict[int, Job]

#: The GPUs that can hold a job, by index, rising.
Hosts = tuple[int, ...]

ARRIVAL = attrgetter("index")


def hosts_of(site: Site) -> Callable[[Job], Hosts]:
    """Return the function that gives the GPUs that can hold a job, with only its adapter resident.

    It remembers them by adapter and demand.
    """
    known: dict[tuple[int, Amounts], Hosts] = {}

    def hosts(job: Job) -> Hosts:
        kind = job.adapter, job.demand
        found = known.get(kind)
        if found is None:
            resident = frozenset((job.adapter,))
            found = known[kind] = tuple(
                [g.index for g in site.gpus if site.fits(g.index, resident, (job,))]
            )
        return found

    return hosts


def insert(queue: JobQueue, job: Job) -> None:
    """Put a job into its place in the order of arrival, which is mostly the last."""
    later = list(takewhile(job.index.__lt__, reversed(queue)))
    queue[job.index] = job
    for index in reversed(later):
        queue.move_to_end(index)


def merged(queues: Sequence[JobQueue]) -> Iterator[Job]:
    """The jobs of several queues in order of arrival."""
    if len(queues) == 1:
        return iter(queues[0].values())
    return merge(*[queue.values() for queue in queues], key=ARRIVAL)


class Follower(Protocol):
    """Figures of the waiting jobs that change with them."""

    def add(self, job: Job) -> None:
        """Count a job that waits from now on."""

    def remove(self, job: Job) -> None:
        """Leave out a job that waits no longer."""


class ArrivalOrder:
    """Jobs in order of arrival, apart for each set of GPUs that can hold them.

    Attributes:
        queues: The jobs by the GPUs that can hold them.
    """

    def __init__(self) -> None:
        self._newest = -1
        self.queues: dict[Hosts, JobQueue] = {}

    def add(self, job: Job, hosts: Hosts) -> bool:
        """Add a job that some GPUs can hold; return whether it is the latest so far, as mostly."""
        if hosts not in self.queues:
            self.queues[hosts] = OrderedDict()
        if job.index < self._newest:
            insert(self.queues[hosts], job)
            return False
        self._newest = job.index
        self.queues[hosts][job.index] = job
        return True

    def remove(self, job: Job, hosts: Hosts) -> None:
        """Remove a job."""
        del self.queues[hosts][job.index]

    def on(self, gpu: int) -> Iterator[Job]:
        """Every job that ``gpu`` can hold, in order of arrival."""
        if len(self.queues) == 1:  # as it mostly is
            ((hosts, queue),) = self.queues.items()
            return iter(queue.values() if gpu in hosts else ())
        return merged([queue for hosts, queue in self.queues.items() if gpu in hosts])


class WaitingJobs:
    """Queues of jobs, apart for each adapter and each set of GPUs that can hold them.

    With GPUs of different sizes, a job that only a busy GPU can hold is then never looked at again
    and again. A job that cannot start on a GPU now, because the hard horizon leaves no time or the
    GPU has switched ahead, can be hidden from that GPU for the rest of a decision; so can all jobs
    of some adapters.

    Attributes:
        least: The least that any job so far has needed of each resource; None before the first.
        followers: Figures that are kept up to date with the jobs.
        hosts: Gives the GPUs that can hold a job alone.
    """

    def __init__(self, site: Site) -> None:
        self.hosts = hosts_of(site)
        self._queues: dict[int, dict[Hosts, JobQueue]] = {}  # adapter -> hosts -> jobs
        self._order = ArrivalOrder()
        self._demands: dict[int, dict[Amounts, int]] = {}  # adapter -> demand -> jobs
        # Where all jobs so far fit the same GPUs, as they mostly do: kept, not looked up each time.
        self._heads: dict[int, Job] = {}
        self._counts: dict[int, int] = {}
        self._hidden: dict[int, set[int]] = {}  # GPU -> jobs
        self._barred: dict[int, Adapters] = {}  # GPU -> adapters that are hidden from it
        self._count = 0
        self.least: Amounts | None = None
        self.followers: list[Follower] = []

    def __len__(self) -> int:
        return self._count

    def add(self, job: Job) -> None:
        """Add a job that has arrived, mostly the latest; one from another GPU may be earlier."""
        hosts = self.hosts(job)
        queues = self._queues.get(job.adapter)
        if queues is None:
            queues = self._queues[job.adapter] = {}
            self._demands[job.adapter] = {}
            self._counts[job.adapter] = 0
            self._heads[job.adapter] = job
        if hosts not in queues:
            queues[hosts] = OrderedDict()
        if self._order.add(job, hosts):
            queues[hosts][job.index] = job
        else:
            insert(queues[hosts], job)
            self._heads[job.adapter] = min(self._heads[job.adapter], job, key=ARRIVAL)
        self._counts[job.adapter] += 1
        demands = self._demands[job.adapter]
        if job.demand in demands:
            demands[job.demand] += 1
        else:
            demands[job.demand] = 1
            self.least = tuple(map(min, self.least or job.demand, job.demand))
        self._count += 1
        for follower in self.followers:
            follower.add(job)

    def remove(self, job: Job) -> None:
        """Remove a job that is served or withdrawn."""
        hosts = self.hosts(job)
        queues = self._queues[job.adapter]
        queue = queues[hosts]
        del queue[job.index]
        self._order.remove(job, hosts)
        demands = self._demands[job.adapter]
        demands[job.demand] -= 1
        if not demands[job.demand]:
            del demands[job.demand]
        self._counts[job.adapter] -= 1
        if queue:
            if self._heads[job.adapter] is job:
                self._heads[job.adapter] = queue[next(iter(queue))]
        else:
            del queues[hosts]
            if not queues:
                del self._queues[job.adapter], self._demands[job.adapter]
                del self._counts[job.adapter], self._heads[job.adapter]
        self._count -= 1
        for hidden in self._hidden.values():
            hidden.discard(job.index)
        for follower in self.followers:
            follower.remove(job)

    def hide(self, gpu: int, job: Job) -> None:
        """Leave a job out of what ``gpu`` can serve, until :meth:`show_all`."""
        self._hidden.setdefault(gpu, set()).add(job.index)

    def hidden(self, gpu: int) -> frozenset[int]:
        """Indices of the jobs that are hidden from ``gpu``, those of hidden adapters left out."""
        return frozenset(self._hidden.get(gpu, ()))

    def hide_adapters(self, gpu: int, adapters: Adapters) -> None:
        """Hide from ``gpu`` all jobs of ``adapters``, and of no others, until :meth:`show_all`."""
        self._barred[gpu] = adapters

    def hidden_adapters(self, gpu: int) -> Adapters:
        """Adapters whose jobs are all hidden from ``gpu``."""
        return self._barred.get(gpu, NONE)

    def shown(self, gpu: int, jobs: Iterator[Job]) -> Iterator[Job]:
        """Those of ``jobs`` that are not hidden from ``gpu``."""
        hidden, barred = self._hidden.get(gpu), self._barred.get(gpu)
        if not hidden and not barred:
            return jobs
        gone, out = hidden or NONE, barred or NONE
        return (job for job in jobs if job.index not in gone and job.adapter not in out)

    def show_all(self) -> None:
        """End all hiding."""
        self._hidden.clear()
        self._barred.clear()

    def first(self, adapter: int, gpu: int) -> Job | None:
        """Return the earliest job of ``adapter`` that ``gpu`` can serve, or None."""
        queues = self._queues.get(adapter)
        if queues is None:
            return None
        if self._barred and adapter in self._barred.get(gpu, NONE):
            return None
        if len(queues) == 1 and not self._hidden:
            hosts, queue = next(iter(queues.items()))
            return queue[next(iter(queue))] if gpu in hosts else None
        return next(self.of(adapter, gpu), None)

    def of(self, adapter: int, gpu: int) -> Iterator[Job]:
        """Jobs of ``adapter`` that ``gpu`` can serve, in order of arrival."""
        return self.among((adapter,), gpu)

    def among(self, adapters: Iterable[int], gpu: int) -> Iterator[Job]:
        """Jobs of any of ``adapters`` that ``gpu`` can serve, in order of arrival."""
        barred = self._barred.get(gpu, NONE)
        found = [
            each for a in adapters if a not in barred for each in self._queues.get(a, {}).items()
        ]
        return self._visible(gpu, merged([queue for hosts, queue in found if gpu in hosts]))

    def leaders(self, gpus: Iterable[GpuState]) -> list[tuple[GpuState, Job]]:
        """Those of ``gpus`` that can serve a job, each with the earliest."""
        order = self._order.queues
        if len(order) == 1 and not self._hidden and not self._barred:  # as it mostly is
            ((hosts, queue),) = order.items()
            job = next(iter(queue.values()), None)
            return [(gpu, job) for gpu in gpus if gpu.index in hosts] if job is not None else []
        heads = [(gpu, next(self.in_order(gpu.index), None)) for gpu in gpus]
        return [(gpu, job) for gpu, job in heads if job is not None]

    def in_order(self, gpu: int) -> Iterator[Job]:
        """Every job that ``gpu`` can serve, in order of arrival."""
        if gpu in self._barred:
            return self.among(self._queues, gpu)
        return self._visible(gpu, self._order.on(gpu))

    def _visible(self, gpu: int, jobs: Iterator[Job]) -> Iterator[Job]:
        hidden = self._hidden.get(gpu)
        return (job for job in jobs if job.index not in hidden) if hidden else jobs

    def heads(self, gpu: int) -> Mapping[int, Job]:
        """The earliest job that ``gpu`` can serve of each adapter that has one; for reading."""
        if self._serves_all(gpu):
            barred = self._barred.get(gpu)
            if not barred:
                return self._heads
            return {a: job for a, job in self._heads.items() if a not in barred}
        found = ((adapter, self.first(adapter, gpu)) for adapter in self._queues)
        return {adapter: job for adapter, job in found if job is not None}

    def count(self, adapter: int, gpu: int | None = None) -> int:
        """Number of jobs of ``adapter`` that wait, or wait and fit ``gpu``; hidden ones count."""
        queues = self._queues.get(adapter)
        if queues is None:
            return 0
        count = 0
        for hosts, queue in queues.items():  # mostly one: a plain loop is the fastest
            if gpu is None or gpu in hosts:
                count += len(queue)
        return count

    def counts(self, gpu: int) -> Mapping[int, int]:
        """Number of jobs by adapter that wait and fit ``gpu``; hidden ones count. For reading."""
        if self._serves_all(gpu):
            return self._counts
        return {adapter: self.count(adapter, gpu) for adapter in self._queues}

    def _serves_all(self, gpu: int) -> bool:
        """Whether ``gpu`` can serve every job that waits, but those of hidden adapters."""
        order = self._order.queues
        return not self._hidden and len(order) == 1 and gpu in next(iter(order))

    def demands(self, adapter: int) -> int:
        """Number of different demands of the waiting jobs of ``adapter``."""
        return len(self._demands.get(adapter, ()))

    def adapters(self) -> Set[int]:
        """Adapters with waiting jobs, in no particular order."""
        return self._queues.keys()
