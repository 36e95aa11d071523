"""The waiting jobs by adapter, in order of arrival, as each GPU can serve them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from itertools import chain
from operator import attrgetter

from pats_opt.model.problem import Amounts, Job, Site
from pats_solvers.online.dispatch.packing import Hosts

#: Jobs in order of arrival, by index. Ordered dicts, because a plain one walks over all that it has
#: lost to reach its first key.
Line = OrderedDict[int, Job]

ARRIVAL = attrgetter("index")


class Waiting:
    """Queues of jobs, apart for each adapter and each set of GPUs that can hold them.

    With GPUs of different sizes a job that only a busy GPU can hold is then never looked at again
    and again. A job that cannot start on a GPU now, because the hard horizon leaves no time or the
    GPU has switched ahead, can be hidden from that GPU for the rest of a decision.

    Attributes:
        least: The least that any job so far has needed of each resource; None before the first.
    """

    def __init__(self, site: Site) -> None:
        self.hosts = Hosts(site)
        self._queues: dict[int, dict[tuple[int, ...], Line]] = {}  # adapter -> hosts -> jobs
        self._order: dict[tuple[int, ...], Line] = {}
        self._demands: dict[int, dict[Amounts, int]] = {}  # adapter -> demand -> jobs
        # Where all jobs so far fit the same GPUs, as they mostly do: kept, not looked up each time.
        self._heads: dict[int, Job] = {}
        self._counts: dict[int, int] = {}
        self._hidden: dict[int, set[int]] = {}  # GPU -> jobs
        self._count = 0
        self.least: Amounts | None = None

    def __len__(self) -> int:
        return self._count

    def add(self, job: Job) -> None:
        """A job arrives."""
        hosts = self.hosts(job)
        queues = self._queues.get(job.adapter)
        if queues is None:
            queues = self._queues[job.adapter] = {}
            self._demands[job.adapter] = {}
            self._counts[job.adapter] = 0
            self._heads[job.adapter] = job
        if hosts not in queues:
            queues[hosts] = OrderedDict()
        queues[hosts][job.index] = job
        self._counts[job.adapter] += 1
        demands = self._demands[job.adapter]
        if job.demand in demands:
            demands[job.demand] += 1
        else:
            demands[job.demand] = 1
            self.least = tuple(map(min, self.least or job.demand, job.demand))
        if hosts not in self._order:
            self._order[hosts] = OrderedDict()
        self._order[hosts][job.index] = job
        self._count += 1

    def remove(self, job: Job) -> None:
        """A job is served or withdrawn."""
        hosts = self.hosts(job)
        queues = self._queues[job.adapter]
        line = queues[hosts]
        del line[job.index], self._order[hosts][job.index]
        demands = self._demands[job.adapter]
        demands[job.demand] -= 1
        if not demands[job.demand]:
            del demands[job.demand]
        self._counts[job.adapter] -= 1
        if line:
            if self._heads[job.adapter] is job:
                self._heads[job.adapter] = line[next(iter(line))]
        else:
            del queues[hosts]
            if not queues:
                del self._queues[job.adapter], self._demands[job.adapter]
                del self._counts[job.adapter], self._heads[job.adapter]
        self._count -= 1

    def hide(self, gpu: int, job: Job) -> None:
        """Leave a job out of what ``gpu`` can serve, until :meth:`show_all`."""
        self._hidden.setdefault(gpu, set()).add(job.index)

    def hidden(self, gpu: int) -> frozenset[int]:
        """The jobs that are hidden from ``gpu``."""
        return frozenset(self._hidden.get(gpu, ()))

    def show_all(self) -> None:
        """Nothing is hidden any more."""
        self._hidden.clear()

    def first(self, adapter: int, gpu: int) -> Job | None:
        """The earliest job of ``adapter`` that ``gpu`` can serve, or None."""
        queues = self._queues.get(adapter)
        if queues is None:
            return None
        if len(queues) == 1 and not self._hidden:
            hosts, line = next(iter(queues.items()))
            return line[next(iter(line))] if gpu in hosts else None
        return next(self.of(adapter, gpu), None)

    def of(self, adapter: int, gpu: int) -> Iterator[Job]:
        """Jobs of ``adapter`` that ``gpu`` can serve, in order of arrival."""
        return self.among((adapter,), gpu)

    def among(self, adapters: Iterable[int], gpu: int) -> Iterator[Job]:
        """Jobs of any of ``adapters`` that ``gpu`` can serve, in order of arrival."""
        queues = [queue for a in adapters for queue in self._queues.get(a, {}).items()]
        return self._visible(gpu, [line for hosts, line in queues if gpu in hosts])

    def _alike(self, gpu: int) -> bool:
        """Whether ``gpu`` can serve whoever waits."""
        return not self._hidden and len(self._order) == 1 and gpu in next(iter(self._order))

    def heads(self, gpu: int) -> Mapping[int, Job]:
        """The earliest job that ``gpu`` can serve of each adapter that has one; for reading."""
        if self._alike(gpu):
            return self._heads
        found = ((adapter, self.first(adapter, gpu)) for adapter in self._queues)
        return {adapter: job for adapter, job in found if job is not None}

    def count(self, adapter: int, gpu: int | None = None) -> int:
        """How many jobs of ``adapter`` wait, or wait and fit ``gpu``; hidden ones count."""
        queues = self._queues.get(adapter)
        if queues is None:
            return 0
        count = 0
        for hosts, line in queues.items():  # mostly one: a plain loop is the fastest
            if gpu is None or gpu in hosts:
                count += len(line)
        return count

    def counts(self, gpu: int) -> Mapping[int, int]:
        """How many wait of each adapter and fit ``gpu``; hidden ones count. For reading."""
        if self._alike(gpu):
            return self._counts
        return {adapter: self.count(adapter, gpu) for adapter in self._queues}

    def demands(self, adapter: int) -> int:
        """How many different demands the waiting jobs of ``adapter`` have."""
        return len(self._demands.get(adapter, ()))

    def adapters(self) -> Iterable[int]:
        """Adapters with waiting jobs, in no order that means anything."""
        return self._queues.keys()

    def in_order(self, gpu: int) -> Iterator[Job]:
        """Every job that ``gpu`` can serve, in order of arrival."""
        return self._visible(gpu, [line for hosts, line in self._order.items() if gpu in hosts])

    def _visible(self, gpu: int, lines: list[Line]) -> Iterator[Job]:
        values = [line.values() for line in lines]
        jobs: Iterator[Job]
        jobs = merge(*values, key=ARRIVAL) if len(values) > 1 else chain(*values)
        hidden = self._hidden.get(gpu)
        return (job for job in jobs if job.index not in hidden) if hidden else jobs
