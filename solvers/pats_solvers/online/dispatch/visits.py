"""Rules that serve adapter by adapter, as polling systems do: stay at a queue, then go on.

Polling has two axes: the *discipline*, when a GPU leaves its queue, and the *route*, where it goes
next (Takagi 1986; Boxma and Groenendijk 1987). With several GPUs each makes its own visits, and
goes to a queue that another one visits only where all others are empty.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job
from pats_solvers.online.dispatch.packing import BatchBuilder, switching_seconds
from pats_solvers.online.dispatch.rule import Desk, Rule

#: Names of the routes, for parameters.
RouteRule = Literal["longest", "cyclic", "cheapest", "oldest"]

#: Where a GPU goes next: of the heads (earliest request by adapter), never empty, where the adapter
#: visited last is the third argument (-1: none yet).
Route = Callable[[GpuState, Mapping[int, Job], int], int]


@dataclass(slots=True)
class Visit:
    """A GPU's stay at one adapter's queue.

    Attributes:
        adapter: The adapter.
        began: Tick at which its first batch started, its switch done.
        requests: Requests served so far.
        busy: Ticks of service so far.
    """

    adapter: int
    began: int
    requests: int = 0
    busy: int = 0


class Visits(Rule):
    """Stays at a queue while :meth:`stays` says so and a request waits there, then takes a route.

    The earliest request of the queue leads. A batch that is forced by the bound on waiting begins a
    visit of its own.
    """

    def __init__(self, desk: Desk, route: Route) -> None:
        super().__init__(desk)
        self._route = route
        self.visits: dict[int, Visit] = {}  # by GPU

    @abstractmethod
    def stays(self, gpu: GpuState, visit: Visit, head: Job, tick: int) -> bool:
        """Whether the visit goes on, with ``head`` the earliest request that waits there."""

    def lead(self, idle: Sequence[GpuState], tick: int) -> tuple[GpuState, Job] | None:
        """Each idle GPU in turn: its own queue's head, or that of the queue it goes to."""
        for gpu in idle:
            visit = self.visits.get(gpu.index)
            if visit is not None:
                head = self.waiting.first(visit.adapter, gpu.index)
                if head is not None and self.stays(gpu, visit, head, tick):
                    return gpu, head
            head = self.next_head(gpu, tick)
            if head is not None:
                return gpu, head
        return None

    def next_head(self, gpu: GpuState, tick: int) -> Job | None:  # noqa: ARG002 - for other rules
        """The head of the queue that the route takes ``gpu`` to, or None to leave it idle."""
        heads = self.free_heads(gpu)
        return heads[self.where(gpu, heads)] if heads else None

    def where(self, gpu: GpuState, heads: Mapping[int, Job]) -> int:
        """Of ``heads``, not empty, the one that the route takes ``gpu`` to."""
        visit = self.visits.get(gpu.index)
        return self._route(gpu, heads, -1 if visit is None else visit.adapter)

    def free_heads(self, gpu: GpuState) -> Mapping[int, Job]:
        """Heads of the queues that no other GPU visits, or of all where those are empty."""
        heads = self.waiting.heads(gpu.index)
        if len(self.site.gpus) == 1:
            return heads
        taken = {visit.adapter for g, visit in self.visits.items() if g != gpu.index}
        return {a: job for a, job in heads.items() if a not in taken} or heads

    def served(self, batch: BatchBuilder, tick: int) -> None:  # noqa: ARG002 - for other rules
        """The visit goes on, or another one begins."""
        adapter, gpu = batch.jobs[0].adapter, batch.gpu.index
        visit = self.visits.get(gpu)
        if visit is None or visit.adapter != adapter or not self.continues(visit, batch):
            visit = self.visits[gpu] = Visit(adapter, batch.start_tick)
        visit.requests += sum([job.adapter == adapter for job in batch.jobs])
        visit.busy += batch.ticks

    def continues(self, visit: Visit, batch: BatchBuilder) -> bool:  # noqa: ARG002 - for other rules
        """Whether a further batch of the visit's adapter belongs to the visit."""
        return True


class Draining(Visits):
    """Stays as long as a request waits: the exhaustive discipline."""

    def stays(self, gpu: GpuState, visit: Visit, head: Job, tick: int) -> bool:  # noqa: ARG002
        """As long as a request waits."""
        return True


def route(rule: RouteRule, desk: Desk) -> Route:
    """The route of a name. All ties go to the queue whose head came first.

    ``longest`` takes the queue with the most requests, ``cyclic`` the next adapter in the order of
    the instance after the one visited last, ``cheapest`` the one that needs the least switching
    now, ``oldest`` the one whose head came first.
    """
    site, waiting = desk.site, desk.waiting

    def longest(gpu: GpuState, heads: Mapping[int, Job], last: int) -> int:  # noqa: ARG001
        counts = waiting.counts(gpu.index)
        most = max([counts[a] for a in heads])
        return min([a for a in heads if counts[a] == most], key=lambda a: heads[a].index)

    def cheapest(gpu: GpuState, heads: Mapping[int, Job], last: int) -> int:  # noqa: ARG001
        return min(heads, key=lambda a: (switching_seconds(site, a, gpu), heads[a].index))

    def oldest(gpu: GpuState, heads: Mapping[int, Job], last: int) -> int:  # noqa: ARG001
        return min(heads, key=lambda a: heads[a].index)

    def cyclic(gpu: GpuState, heads: Mapping[int, Job], last: int) -> int:  # noqa: ARG001
        return min(heads, key=lambda a: (a - last - 1) % len(site.adapter_ids))

    return {"longest": longest, "cyclic": cyclic, "cheapest": cheapest, "oldest": oldest}[rule]
