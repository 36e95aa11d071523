"""Which decisions of a policy lose against the best ones, and how much.

The relative values of the online optimum give every decision a loss beyond the best one. Summed
over the decisions of a long path these losses are what the policy gives away (the lemma on the
difference in performance: S. Kakade and J. Langford, ICML 2002).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pats_opt.limits.stationary import StationaryLoad
from pats_opt.model.problem import Adapters, Job, Problem
from pats_opt.model.schedule import Batch
from pats_opt.solving.result import Result, require_schedule
from pats_solvers.semi_markov.decisions import Decision, GpuMode
from pats_solvers.semi_markov.iteration import Iterate, TruncatedModel
from pats_solvers.semi_markov.kernels import expected
from pats_solvers.semi_markov.optimum import best_policy, queue_limits

#: Ways in which a decision differs from the best one; ``UNLISTED`` are those that the process
#: leaves out since they are never best; their loss is unknown, and they are counted.
GOES, WAITS, EARLY = "does not wait", "waits", "commits before the switch"
ADAPTER, SIZE, STEPS, UNLISTED = "another adapter", "another size", "other steps", "never best"
WAYS = (GOES, WAITS, EARLY, ADAPTER, SIZE, STEPS, UNLISTED)

Members = tuple[tuple[int, int, int], ...]


class BestValues:
    """The best decisions of a load with one resident adapter, and the loss of others.

    Args:
        load: The load.
        queue: Number of waiting requests of a kind that the states tell apart.
        tolerance: Relative gap between the bounds of the optimum.

    Attributes:
        per_request: Loss per request of the online optimum.
    """

    def __init__(self, load: StationaryLoad, queue: int, tolerance: float) -> None:
        assert load.site.max_resident == 1, "its states of the GPU have one resident adapter"
        self._kinds = load.kinds
        limits = queue_limits(load.kinds, queue)
        model, found, _ = best_policy(load.site, load.kinds, limits, tolerance, lambda *_: None)
        self._model: TruncatedModel = model
        self._found: Iterate = found
        self.per_request = found.upper / (load.rate_per_s * load.site.tick_s)
        self._modes = {mode: m for m, mode in enumerate(model.listed.modes)}
        self._listed = [
            {(d.members, d.resident): d for d in decisions} for decisions in model.listed.decisions
        ]
        self._time = {ticks: t for t, ticks in enumerate(model.ticks)}
        self._after: dict[tuple[int, int], NDArray[np.float64]] = {}

    def regrets(self, problem: Problem, result: Result) -> dict[str, float]:
        """Return the loss of a schedule's decisions beyond the best ones, by how they differ."""
        require_schedule(result)
        assert result.schedule is not None
        jobs = {job.id: job for job in problem.jobs}
        arrivals = [job.arrival for job in problem.jobs]
        waiting = [0] * len(self._kinds)
        come, now, resident = 0, 0, problem.site.gpus[0].resident
        lost = defaultdict[str, float](float)
        for batch in result.schedule.gpus[0].batches:
            while now < batch.switch_start:
                come = self._arrive(problem.jobs, waiting, come, now)
                following = arrivals[come] if come < len(arrivals) else batch.switch_start
                until = min(batch.switch_start, following)
                self._add_wait(lost, resident, waiting, until - now)
                now = until
            come = self._arrive(problem.jobs, waiting, come, now)
            members = self._members(batch, jobs)
            self._add_start(lost, resident, waiting, members)
            for kind, _, count in members:
                waiting[kind] -= count
            now = max(served.completion for served in batch.requests)
            resident = self._adapter(members)
        return lost

    def _arrive(self, jobs: Sequence[Job], waiting: list[int], come: int, now: int) -> int:
        """Count the requests that have arrived; return how many have."""
        last = bisect_left(jobs, now + 1, key=lambda job: job.arrival)
        for job in jobs[come:last]:
            waiting[self._kind_of(job)] += 1
        return last

    def _kind_of(self, job: Job) -> int:
        return next(i for i, kind in enumerate(self._kinds) if kind.holds(job))

    def _members(self, batch: Batch, jobs: dict[str, Job]) -> Members:
        chosen = Counter((self._kind_of(jobs[r.id]), r.option) for r in batch.requests)
        return tuple((kind, option, n) for (kind, option), n in sorted(chosen.items()))

    def _adapter(self, members: Members) -> Adapters:
        return frozenset([self._kinds[members[0][0]].adapter])

    def _add_wait(
        self, lost: defaultdict[str, float], resident: Adapters, waiting: Sequence[int], ticks: int
    ) -> None:
        """Count the loss of a wait of so many ticks in which nobody arrives."""
        mode, state = self._place(resident, waiting)
        lost[WAITS] += ticks * (
            self._ahead(1, mode, state) - self._found.upper - self._found.values[mode, state]
        )

    def _add_start(
        self,
        lost: defaultdict[str, float],
        resident: Adapters,
        waiting: Sequence[int],
        members: Members,
    ) -> None:
        """Count the loss of a batch, its switch included."""
        mode, state = self._place(resident, waiting)
        taken = self._listed[mode].get((members, self._adapter(members)))
        if taken is None:
            lost[UNLISTED] += 1.0
            return
        left = state - sum(n * int(self._model.space.strides[kind]) for kind, _, n in members)
        later = taken.cost + self._ahead(taken.ticks, taken.after, left)
        more = later - self._found.upper * taken.ticks - self._found.values[mode, state]
        best = int(self._found.best[mode, state])
        lost[_way(taken, None if best < 0 else self._model.flat[best])] += more

    def _place(self, resident: Adapters, waiting: Sequence[int]) -> tuple[int, int]:
        """Return the numbers of the GPU's mode and of the queues, cut at their limits."""
        space = self._model.space
        counts = np.minimum(waiting, space.limits)
        return self._modes[GpuMode(resident, resident)], int(counts @ space.strides)

    def _ahead(self, ticks: int, after: int, left: int) -> float:
        """Return the loss of waiting meanwhile, and the expected value afterwards."""
        space, counts, time = self._model.space, self._model.counts, self._time[ticks]
        if (time, after) not in self._after:
            values = np.empty(len(space.counts))
            expected(space, counts, time, self._found.values[after], values)
            self._after[time, after] = values + ticks * space.waiting + counts.arriving[time]
            for i, limit in enumerate(space.limits):
                room = limit - space.counts[:, i]
                self._after[time, after] += counts.over[space.ahead[after], time, i, room]
        return float(self._after[time, after][left])


def _way(taken: Decision, best: Decision | None) -> str:
    """Return how a batch differs from the best decision."""
    if best is None:
        return GOES
    if best.resident != taken.resident:
        return ADAPTER
    if not best.members:
        return EARLY
    sizes = [sum(n for *_, n in decision.members) for decision in (taken, best)]
    return SIZE if sizes[0] != sizes[1] else STEPS
