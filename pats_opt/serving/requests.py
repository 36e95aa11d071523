"""Requests that were submitted and are not over: those that wait, and those at a GPU."""

from __future__ import annotations

from msgspec import Struct

from pats_opt.model.instance import Request
from pats_opt.model.problem import Job, Problem, job_of
from pats_opt.serving.deadlines import DeadlineQueue


class RunningRequest(Struct, frozen=True):
    """A request at a GPU."""

    request: Request
    gpu: int


class RequestStore:
    """Requests by their ids.

    Args:
        requests: Where they are kept for the workers' orders.

    Attributes:
        names: Request of each job that waits, by its index.
        jobs: Job of each request that waits.
        held: Those of them that the policy does not see yet.
        running: Requests at a GPU.
        deadlines: Of those that wait.
    """

    def __init__(self, requests: dict[str, Request]) -> None:
        self._requests = requests
        self.names: dict[int, str] = {}
        self.jobs: dict[str, Job] = {}
        self.held: set[str] = set()
        self.running: dict[str, RunningRequest] = {}
        self.deadlines = DeadlineQueue()
        self._again: set[str] = set()  # those that a dead worker had
        self._next = 0

    @property
    def is_empty(self) -> bool:
        """Whether there are none."""
        return not self.jobs and not self.running

    @property
    def adapters(self) -> frozenset[str]:
        """Their adapters."""
        return frozenset(request.adapter for request in self._requests.values())

    def adapter(self, name: str) -> str:
        """Return a request's adapter."""
        return self._requests[name].adapter

    def waiting_for(self, adapter: str) -> list[str]:
        """Return those that wait and have an adapter."""
        return [name for name in self.jobs if self.adapter(name) == adapter]

    def add(self, problem: Problem, request: Request, tick: int) -> None:
        """Let a request wait; it is held.

        Args:
            problem: The instance on the grid, without requests.
            request: The request.
            tick: Now.
        """
        site, name = problem.site, request.id
        index, self._next = self._next, self._next + 1
        demand = dict(request.demand)
        if name in self._again:  # a batch for itself, so that it kills no other with its worker
            demand["batch"] = min(gpu.capacity["batch"] for gpu in problem.instance.gpus)
        self.jobs[name] = job_of(
            site,
            request,
            index=index,
            position=index,
            arrival=min(tick, int(request.arrival_s / site.tick_s + 1e-9)),
            demand=site.amounts(demand),
        )
        self._requests[name] = request
        self.names[index] = name
        self.held.add(name)
        self.deadlines.add(request, site)

    def start(self, index: int, gpu: int) -> str:
        """Note that a job is at a GPU; its request."""
        name = self.names.pop(index)
        del self.jobs[name]
        self.running[name] = RunningRequest(self._requests[name], gpu)
        return name

    def forget(self, name: str) -> None:
        """Forget a request that is over."""
        job = self.jobs.pop(name, None)
        if job is not None:
            self.names.pop(job.index, None)
        self.held.discard(name)
        self.running.pop(name, None)
        self._again.discard(name)
        self._requests.pop(name, None)

    def take_waiting(self) -> list[Request]:
        """Take out those that wait, in their order, to be added again."""
        waiting = [self._requests[name] for name in self.jobs]
        self.names.clear()
        self.jobs.clear()
        self.held.clear()
        self.deadlines.clear()
        return waiting

    def take_lost(self, gpu: int) -> tuple[list[Request], list[str]]:
        """Take out those at a GPU whose worker is dead.

        Returns:
            Those to be added again, and those that a dead worker had had before.
        """
        lost = [one.request for one in self.running.values() if one.gpu == gpu]
        twice = [request.id for request in lost if request.id in self._again]
        again = [request for request in lost if request.id not in self._again]
        for request in again:
            del self.running[request.id]
            self._again.add(request.id)
        return again, twice
