"""A policy's run without an end: jobs come and go from outside, and its past is forgotten."""

from __future__ import annotations

from typing_extensions import override

from pats_opt.core.policy import State
from pats_opt.model.plan import BatchLog
from pats_opt.model.problem import Job
from pats_opt.simulate.policy_run import PolicyRun

#: Decisions and batches whose record is kept at most.
MOST_KEPT = 4096


class ServedRun(PolicyRun):
    """A policy's run that ends when its clock says that nothing is to come."""

    def open(self) -> None:
        """Keep the run going while nothing waits."""
        self.left += 1

    def arrive(self, job: Job) -> None:
        """Let a job arrive; its tick is not before those of the jobs that arrived so far."""
        self.to_come.insert(0, job)
        self.left += 1

    def withdraw(self, index: int) -> bool:
        """Take out a job that waits; whether it did."""
        for place, job in enumerate(self.to_come):
            if job.index == index:  # the policy has not seen it
                del self.to_come[place]
                self.left -= 1
                return True
        found = self.waiting.pop(index, None)
        if found is None:
            return False
        self._taken_out.append(found)
        self.left -= 1
        return True

    def lose(self, gpu: int) -> None:
        """Note that a GPU has lost its residents, so that no switch ahead is under way."""
        self._prefetched.pop(gpu, None)

    @override
    def _next_state(self) -> State | None:
        if len(self._spent) > MOST_KEPT:
            del self._spent[:-1]
        for gpu, batches in enumerate(self._batches):
            if len(batches) > MOST_KEPT:
                self._batches[gpu] = BatchLog()
        for loads in self._loads:
            if len(loads) > MOST_KEPT:
                del loads[: -MOST_KEPT // 2]
        return super()._next_state()

    @override
    def _finish(self) -> None:
        """Nothing that waits is owed an answer here: the server gives it."""
