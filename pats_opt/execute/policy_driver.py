"""Drives workers by a policy, live: requests arrive in real time, GPUs are done when they are done.

The policy is asked as in the simulator, by the same code, and its answers are verified by the same
rules. The tick is the one that the run's clock is in. What differs:

- A GPU is idle once its worker has said so. Until then its ``free_at`` is the predicted end, or
  the next tick where that has passed.
- The policy may be asked more than once within a tick, as GPUs do not end on ticks. A batch takes
  a tick at least, as policies can rely on: one that ends sooner counts as ended at the next tick.
- A batch that was to end by the hard horizon may in truth end later; it is not broken off.

A resumed run keeps the images that there are and goes on at the second at which it stopped. All
other requests that had arrived by then arrive again at that second, the policy begins with fresh
memory, and each GPU holds the adapters of the last batch that it had ended.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from heapq import heappop
from typing import Any

from msgspec.structs import replace

from pats_opt.core.policy import GpuState, Policy, State
from pats_opt.core.registry import parameters
from pats_opt.execute.drivers import Outset
from pats_opt.execute.orders import Translator
from pats_opt.execute.record import Execution, GpuRun
from pats_opt.execute.supervisor import Supervisor
from pats_opt.execute.work import Order, Shape
from pats_opt.execute.worker import Idle
from pats_opt.model.problem import Adapters, Job, Problem, ids
from pats_opt.model.schedule import SolverRef
from pats_opt.simulate.engine import PolicyRun, Simulation
from pats_opt.solving.solve import prepare, runnable

#: Seconds to wait where nothing but a worker can bring the next event.
LONG_S = 3600.0

#: Largest batch for which a device is made ready, as nobody knows which batches there will be.
MOST_WARM = 8


class PolicyDriver:
    """Runs a policy.

    Args:
        problem: The instance on the grid.
        policy: The policy.
        seed: Seed of its random choices.
        before: The execution so far, of a run that is resumed; None for a new one.
    """

    live = True
    sha256: str | None = None

    def __init__(
        self, problem: Problem, policy: Policy, seed: int, before: Execution | None = None
    ) -> None:
        self._problem, self._policy, self._seed = problem, policy, seed
        self._live: LiveRun | None = None
        self.maker = SolverRef(name=policy.name, params=parameters(policy), seed=seed)
        self.key = {
            "policy": policy.name,
            "parameters": _in_order(self.maker.params),
            "seed": str(seed),
        }
        # Once a run is complete, what it rejected is not asked for again.
        over = before is not None and before.complete
        self.rejected: tuple[str, ...] = before.rejected if before is not None and over else ()
        self.adapters: Set[str] = {adapter.id for adapter in problem.instance.adapters}
        self._problem_ids = {job.id for job in problem.jobs}
        self.wanted: Set[str] = self._problem_ids - set(self.rejected)
        self.notes: dict[str, Any] = {} if before is None else dict(before.notes)

    def set_up(
        self, translator: Translator, made: Set[str], past: Sequence[GpuRun]
    ) -> list[Outset]:
        """Every GPU may be given any request that has no image yet."""
        left = tuple(sorted(self.wanted - made))
        residents = [self._resident(translator, gpu, run) for gpu, run in enumerate(past)]
        if left:
            prepare(runnable(self._policy), self._problem)  # not on the run's time
            self._live = LiveRun(
                self._problem,
                self._policy,
                self._seed,
                translator,
                made=self._problem_ids - self.wanted | made,
                residents=residents,
                numbers=[1 + max((b.index for b in run.batches), default=-1) for run in past],
            )
        return [
            Outset(
                needed=bool(left),
                resident=translator.adapters(ids(self._problem.site, held)),
                slots=self._slots(translator),
                requests=left,
                prime=tuple(translator.could_skip(left)),
                warm=self._shapes(translator, left),
            )
            for held in residents
        ]

    def _resident(self, translator: Translator, gpu: int, run: GpuRun) -> Adapters:
        """Adapters that a GPU holds at the start: as at tick 0, or as it was left."""
        site = self._problem.site
        held = site.gpus[gpu].resident
        if run.batches:  # nobody noted when the bare model came and went
            names = translator.adapters(ids(site, held))
            held = frozenset(site.adapter_index[name] for name in names)
        for batch in run.batches:
            held -= {site.adapter_index[name] for name in batch.evict}
            held |= {site.adapter_index[name] for name in batch.load}
        return held

    def _slots(self, translator: Translator) -> int:
        """The most adapters that any GPU can hold."""
        site, most = self._problem.site, 1
        files = [a for a, name in enumerate(site.adapter_ids) if translator.adapters([name])]
        for gpu in site.gpus:
            free, room = site.room(gpu.index, frozenset())[0], 0
            for amount in sorted(site.adapter_vram[a] for a in files):
                if room == site.max_resident or (free is not None and amount > free):
                    break
                room += 1
                free = None if free is None else free - amount
            most = max(most, room)
        return most

    def _shapes(self, translator: Translator, names: Sequence[str]) -> tuple[Shape, ...]:
        """Shapes that are likely: every size in batches of up to ``MOST_WARM``."""
        sizes = {(m.width, m.height) for m in (translator.member(name, 0) for name in names)}
        largest = self._problem.site.clock.largest or MOST_WARM
        counts = range(1, min(largest, MOST_WARM, len(names)) + 1)
        return tuple(Shape(*size, n) for size in sorted(sizes) for n in counts)

    def drive(self, supervisor: Supervisor) -> None:
        """Ask the policy until nobody is left to serve."""
        assert self._live is not None
        done = self._live.run_on(supervisor)
        self.rejected += tuple(job.id for job in self._live.unserved())
        self.wanted -= set(self.rejected)
        self.notes["policy"] = _decisions(done)


def _in_order(params: dict[str, Any]) -> str:
    import json

    return json.dumps(params, sort_keys=True)


def _decisions(done: Simulation) -> dict[str, Any]:
    return {
        name: getattr(done, name)
        for name in (
            "events",
            "decisions",
            "decision_s",
            "decision_p50_s",
            "decision_p99_s",
            "longest_decision_s",
        )
    }


class LiveRun(PolicyRun):
    """A policy's run whose time passes by itself and whose GPUs are workers.

    Args:
        problem: The instance on the grid.
        policy: The policy.
        seed: Seed of its random choices.
        translator: Of the instance.
        made: Requests that are not to be served any more.
        residents: Adapters that each GPU holds.
        numbers: Index of each GPU's next batch.
    """

    def __init__(
        self,
        problem: Problem,
        policy: Policy,
        seed: int,
        translator: Translator,
        *,
        made: Set[str],
        residents: Sequence[Adapters],
        numbers: Sequence[int],
    ) -> None:
        super().__init__(problem, policy, seed)
        self._jobs, self._translator, self._numbers = problem.jobs, translator, list(numbers)
        self._done = {job.index for job in problem.jobs if job.id in made}
        self._busy: dict[int, int] = {}  # GPU -> the tick at which it is predicted to be done
        self._earliest: dict[int, int] = {}  # GPU -> the tick from which it may be idle
        self._ended: dict[int, int] = {}  # the same, of those that have said that they are
        self.to_come = [job for job in self.to_come if job.index not in self._done]
        self.left = len(self.to_come)
        self.gpus = [GpuState(g, resident) for g, resident in enumerate(residents)]

    def run_on(self, supervisor: Supervisor) -> Simulation:
        """Run it to its end on these workers."""
        self._supervisor = supervisor
        return self.run()

    def unserved(self) -> list[Job]:
        """Jobs that nobody serves."""
        return [job for job in self._jobs if job.index not in self._done]

    def advance(self) -> State | None:
        """Wait for the next event; None where there is none to come."""
        while True:
            while self._hear(0.0):
                pass
            self.tick = self._tick_now()
            arrived = self._arrive()
            timers, withdrawn = self._ring()
            idle = self._rest()
            # What arrives too late to be served (in a resumed run) is not shown at all.
            withdrawn = [job for job in withdrawn if job not in arrived]
            arrived = [job for job in arrived if job.index in self.waiting]
            if arrived or timers or withdrawn or idle:
                self._show()
                return State(self.tick, self.seen, tuple(arrived), tuple(withdrawn), self.shown)
            if not self.left:
                return None
            if not (self.to_come or self.ticks or self._busy):
                self.finish()
                return None
            self._hear(self._seconds_to_next())

    def _hear(self, timeout_s: float) -> bool:
        """Hear a worker out; whether one had something to say."""
        found = self._supervisor.listen(timeout_s)
        if found is not None and isinstance(found[1], Idle):
            self._ended[found[0]] = self._earliest[found[0]]
        return found is not None

    def _rest(self) -> list[int]:
        """GPUs that are idle from now on."""
        idle = [g for g, tick in self._ended.items() if tick <= self.tick]
        for g in idle:
            del self._ended[g], self._busy[g]
        self.events += len(idle)
        return idle

    def _tick_now(self) -> int:
        return max(0, math.floor(self._supervisor.clock() / self.site.tick_s + 1e-9))

    def _seconds_to_next(self) -> float:
        """Seconds to what is known to come: an arrival, a timer, a withdrawal, the next tick."""
        ticks = [job.arrival for job in self.to_come[-1:]] + self.ticks[:1]
        ticks += self._ended.values()
        if not ticks:
            return LONG_S
        left = min(ticks) * self.site.tick_s - self._supervisor.clock()
        return min(max(left, 0.0), LONG_S)

    def _arrive(self) -> list[Job]:
        """Let in what has arrived."""
        arrived: list[Job] = []
        while self.to_come and self.to_come[-1].arrival <= self.tick:
            job = self.to_come.pop()
            arrived.append(job)
            self.waiting[job.index] = job
            if self.site.horizon is not None:
                self.expect_expiry(job, self.site.horizon)
        self.events += len(arrived)
        return arrived

    def _ring(self) -> tuple[int, list[Job]]:
        """Timers that have gone off, and jobs that can no longer end in time."""
        timers, withdrawn = 0, list[Job]()
        while self.ticks and self.ticks[0] <= self.tick:
            tick = heappop(self.ticks)
            self.events += 1
            if tick in self.expiring:
                withdrawn += self.withdraw(tick)
            else:
                timers += 1
        return timers, withdrawn

    def _show(self) -> None:
        """Bring the GPUs up to the tick, as the policy sees them."""
        for g, gpu in enumerate(self.gpus):
            if g in self._busy:
                free_at = max(self._busy[g], self.tick + 1)
            else:
                free_at = min(gpu.free_at, self.tick)
            self.gpus[g] = replace(gpu, free_at=free_at)
        self.shown = tuple(self.gpus)

    def occupy(self, gpu: GpuState, members: tuple[tuple[int, int], ...]) -> None:
        """Give a GPU's worker its order; nobody knows when it will be done."""
        g, names = gpu.index, self.site.adapter_ids
        before = self.gpus[g].resident
        self._supervisor.send(
            g,
            Order(
                index=self._numbers[g],
                load=self._translator.adapters(names[a] for a in sorted(gpu.resident - before)),
                evict=self._translator.adapters(names[a] for a in sorted(before - gpu.resident)),
                members=tuple(self._translator.member(self._jobs[j].id, o) for j, o in members),
            ),
        )
        self._numbers[g] += bool(members)
        self._done.update(j for j, _ in members)
        self._busy[g] = gpu.free_at
        self._earliest[g] = self.tick + bool(members)
        self.gpus[g] = replace(gpu, free_at=max(gpu.free_at, self.tick + 1))
