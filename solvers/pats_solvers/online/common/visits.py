"""The visits that GPUs pay to the queues of adapters, and the routes between these.

With several GPUs each makes its own visits, and goes to a queue that another one visits only where
all others are empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job
from pats_solvers.online.common.context import RunContext, RunSetup

#: Names of the routes, for parameters.
RouteRule = Literal["longest", "cyclic", "cheapest", "oldest"]

#: The earliest job that waits of each adapter.
Heads = Mapping[int, Job]


@dataclass(slots=True)
class Visit:
    """A GPU's stay at one adapter's queue.

    Attributes:
        began: Tick at which its first batch started, its switch done; where that is used.
        requests: Requests served so far.
        busy: Ticks of service so far; where that is used.
    """

    adapter: int
    began: int = 0
    requests: int = 0
    busy: int = 0


class PollingRun(RunContext):
    """A run in which each GPU visits one queue after another.

    Attributes:
        visits: The current visit of each GPU, by its index; none before its first batch.
    """

    def __init__(self, setup: RunSetup) -> None:
        super().__init__(setup)
        self.visits: dict[int, Visit] = {}

    def free_heads(self, gpu: GpuState) -> Heads:
        """Heads of the queues that no other GPU visits, or of all where those are empty."""
        heads = self.waiting.heads(gpu.index)
        if len(self.site.gpus) == 1:
            return heads
        taken = {visit.adapter for g, visit in self.visits.items() if g != gpu.index}
        return {a: job for a, job in heads.items() if a not in taken} or heads


def longest(run: PollingRun, gpu: GpuState, heads: Heads) -> int:
    """Return the adapter with the most requests; ties go to the earlier head."""
    counts = run.waiting.counts(gpu.index)
    most = max([counts[a] for a in heads])
    return min([a for a in heads if counts[a] == most], key=lambda a: heads[a].index)


def cyclic(run: PollingRun, gpu: GpuState, heads: Heads) -> int:
    """Return the next adapter, in the order of the instance, after the one visited last."""
    visit = run.visits.get(gpu.index)
    last = -1 if visit is None else visit.adapter
    return min(heads, key=lambda a: (a - last - 1) % len(run.site.adapter_ids))


def cheapest(run: PollingRun, gpu: GpuState, heads: Heads) -> int:
    """Return the adapter that needs the least switching now; ties go to the earlier head."""
    return min(heads, key=lambda a: (run.switching_s(a, gpu), heads[a].index))


def oldest(run: PollingRun, gpu: GpuState, heads: Heads) -> int:  # noqa: ARG001 - one of the routes
    """Return the adapter whose head came first."""
    return min(heads, key=lambda a: heads[a].index)


#: Which of some queues, never none, a GPU goes to next, by name.
ROUTES: dict[RouteRule, Callable[[PollingRun, GpuState, Heads], int]] = {
    "longest": longest,
    "cyclic": cyclic,
    "cheapest": cheapest,
    "oldest": oldest,
}
