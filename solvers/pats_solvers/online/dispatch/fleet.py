"""The fleet of a run: every GPU with the requests bound to it, and the work that they are."""

from __future__ import annotations

from collections.abc import Sequence

from pats_opt.core.policy import Action, GpuState, Start, StartLoad, SwitchTo
from pats_opt.model.problem import Job
from pats_solvers.online.dispatch.local_run import LocalRun
from pats_solvers.online.dispatch.workload import Workload


class BoundFleet:
    """GPUs with the requests bound to them.

    Args:
        runs: The run of each GPU's policy.
        workload: The work of each GPU.

    Attributes:
        runs: The run of each GPU's policy.
        workload: The work of each GPU.
        idle: GPUs that are idle, and start nothing in the answers so far.
        loading: Adapters that each GPU loads beside serving, as far as is known.
    """

    def __init__(self, runs: Sequence[LocalRun], workload: Workload) -> None:
        self.runs, self.workload = runs, workload
        self.idle = set(range(len(runs)))
        self.loading: list[set[int]] = [set() for _ in runs]
        self._gpu_of: dict[int, int] = {}  # by waiting job

    def bind(self, job: Job, gpu: int) -> None:
        """Bind a job to a GPU."""
        self._gpu_of[job.index] = gpu
        self.runs[gpu].add(job)
        self.workload.add(job, gpu)

    def release(self, job: Job) -> int:
        """Take a waiting job away from its GPU, which is returned."""
        gpu = self._gpu_of.pop(job.index)
        self.runs[gpu].remove(job)
        self.workload.remove(job, gpu)
        return gpu

    def move(self, job: Job, gpu: int) -> None:
        """Bind a waiting job to another GPU."""
        self.release(job)
        self.bind(job, gpu)

    def ask(self, gpu: GpuState, tick: int) -> list[Action]:
        """Return what a GPU's policy decides, and note what starts."""
        g = gpu.index
        run = self.runs[g]
        actions = run.ask(tick, gpu)
        for action in actions:
            if isinstance(action, StartLoad):
                self.loading[g].add(action.adapter)
            elif isinstance(action, SwitchTo):
                self.idle.discard(g)
            elif isinstance(action, Start):
                self.idle.discard(g)
                self.workload.running[g] = len(action.members)
                for index, _ in action.members:
                    del self._gpu_of[index]
                    self.workload.remove(run.waiting.pop(index), g)
        return actions
