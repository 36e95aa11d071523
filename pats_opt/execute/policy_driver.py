"""Live run of a policy: requests arrive in real time, GPUs are done when their workers say so.

The policy's run is the simulator's (:mod:`pats_opt.simulate.policy_run`), on another clock and
other GPUs. The tick is the one that the run's clock is in. Three things differ:

- A GPU is idle once its worker has said so. Until then its ``free_at`` is the predicted end, or
  the next tick where that has passed.
- The policy may be asked more than once within a tick, as GPUs do not end on ticks. A batch takes
  a tick at least, as policies can rely on: one that ends sooner counts as ended at the next tick.
  So does a load beside serving, if it is predicted to take any.
- A batch that was to end by the hard horizon may in truth end later; it is not broken off.

A resumed run keeps the images that there are and goes on at the second at which it stopped. All
other requests that had arrived by then arrive again at that second, the policy begins with fresh
memory, and each GPU holds the adapters of the last batch that it had ended (or load beside
serving).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from msgspec.structs import replace
from typing_extensions import override

from pats_opt.core.policy import GpuState, Policy
from pats_opt.core.registry import parameters
from pats_opt.execute.drivers import Driver, WorkerSetup
from pats_opt.execute.orders import OrderBuilder
from pats_opt.execute.record import Execution, GpuRun
from pats_opt.execute.supervisor import Supervisor
from pats_opt.execute.work import LoadOrder, Order, Shape
from pats_opt.execute.worker import AdapterReady, Idle
from pats_opt.model.plan import PlannedLoad
from pats_opt.model.problem import Adapters, Problem, Site, ids
from pats_opt.model.schedule import SolverRef
from pats_opt.simulate.gpus import Clock, GpuFleet
from pats_opt.simulate.policy_run import PolicyRun, Simulation, servable, start
from pats_opt.solving.preparing import prepare
from pats_opt.solving.solve import runnable

#: Seconds to wait where nothing but a worker can bring the next event.
LONG_S = 3600.0

#: Largest batch for which a device is made ready, as nobody knows which batches there will be.
MOST_WARM = 8


class PolicyDriver(Driver):
    """Carries out a policy's decisions.

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
        self.maker = SolverRef(name=policy.name, params=parameters(policy), seed=seed)
        self.key = {
            "policy": policy.name,
            "parameters": _in_order(self.maker.params),
            "seed": str(seed),
        }
        # Once a run is complete, what it rejected is not wanted again.
        over = before is not None and before.complete
        self.rejected: tuple[str, ...] = before.rejected if before is not None and over else ()
        self.adapters: Set[str] = {adapter.id for adapter in problem.instance.adapters}
        self._problem_ids = {job.id for job in problem.jobs}
        self.wanted: Set[str] = self._problem_ids - set(self.rejected)
        self.notes: dict[str, Any] = {} if before is None else dict(before.notes)

    @override
    def set_up(
        self, builder: OrderBuilder, made: Set[str], past: Sequence[GpuRun]
    ) -> list[WorkerSetup]:
        self._left = left = self.wanted - made
        names = tuple(sorted(left))
        residents = [self._resident(builder, gpu, run) for gpu, run in enumerate(past)]
        if left:
            prepare(runnable(self._policy), self._problem)  # not on the run's time
            self._jobs = [job for job in servable(self._problem) if job.id in left]
            self._decide = start(self._policy, self._problem.site, self._seed)
            self._builder, self._residents = builder, residents
            self._numbers = [1 + max((b.index for b in run.batches), default=-1) for run in past]
            self._loads = [1 + max((x.index for x in run.loads), default=-1) for run in past]
        return [
            WorkerSetup(
                needed=bool(left),
                resident=builder.adapters(ids(self._problem.site, held)),
                slots=slots_needed(self._problem.site, builder),
                requests=names,
                prime=tuple(builder.could_skip(names)),
                warm=self._shapes(builder, names),
            )
            for held in residents
        ]

    def _resident(self, builder: OrderBuilder, gpu: int, run: GpuRun) -> Adapters:
        """Adapters that a GPU holds at the start: as at tick 0, or as it was left."""
        site = self._problem.site
        held = site.gpus[gpu].resident
        if run.batches:  # nobody noted when the bare model came and went
            names = builder.adapters(ids(site, held))
            held = frozenset(site.adapter_index[name] for name in names)
        changes = [(batch.switch_start_s, batch.load, batch.evict) for batch in run.batches]
        changes += [(load.start_s, (load.adapter,), load.evict) for load in run.loads]
        for _, load, evict in sorted(changes):
            held -= {site.adapter_index[name] for name in evict}
            held |= {site.adapter_index[name] for name in load}
        return held

    def _shapes(self, builder: OrderBuilder, names: Sequence[str]) -> tuple[Shape, ...]:
        """Shapes that are likely: every size in batches of up to ``MOST_WARM``."""
        sizes = {(m.width, m.height) for m in (builder.member(name, 0) for name in names)}
        largest = self._problem.site.clock.largest or MOST_WARM
        counts = range(1, min(largest, MOST_WARM, len(names)) + 1)
        return tuple(Shape(*size, n) for size in sorted(sizes) for n in counts)

    @override
    def drive(self, supervisor: Supervisor) -> None:
        problem, name = self._problem, self._policy.name
        gpus = LiveGpus(
            problem.site,
            [job.id for job in problem.jobs],
            self._builder,
            supervisor.send,
            residents=self._residents,
            numbers=self._numbers,
            loads=self._loads,
        )
        clock = LiveClock(supervisor, gpus, problem.site.tick_s)
        run = PolicyRun(problem.site, self._jobs, name, self._decide, clock=clock, gpus=gpus)
        done = run.run()
        unserved = self._left - {problem.jobs[j].id for j in gpus.served}
        self.rejected += tuple(job.id for job in problem.jobs if job.id in unserved)
        self.wanted -= set(self.rejected)
        self.notes["policy"] = _decisions(done)


def slots_needed(site: Site, builder: OrderBuilder) -> int:
    """Return the most adapters with files that any GPU of a site can hold, at least 1."""
    most = 1
    files = [a for a, name in enumerate(site.adapter_ids) if builder.adapters([name])]
    for gpu in site.gpus:
        free, room = site.room(gpu.index, frozenset())[0], 0
        for amount in sorted(site.adapter_vram[a] for a in files):
            if room == site.max_resident or (free is not None and amount > free):
                break
            room += 1
            free = None if free is None else free - amount
        most = max(most, room)
    return most


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


class LiveClock(Clock):
    """The clock of a run, which passes by itself; waiting on it hears the workers.

    Args:
        supervisor: The workers.
        gpus: The GPUs that they work for.
        tick_s: Seconds per tick.
    """

    def __init__(self, supervisor: Supervisor, gpus: LiveGpus, tick_s: float) -> None:
        self._supervisor, self._gpus, self._tick_s = supervisor, gpus, tick_s

    @override
    def wait(self, due: int | None) -> int | None:
        while True:
            while self._poll_worker(0.0):
                pass
            known = [tick for tick in (due, self._gpus.next_end) if tick is not None]
            if not known and not self._gpus.busy:
                return None
            second = self._supervisor.clock()
            tick = max(0, math.floor(second / self._tick_s + 1e-9))
            if known and min(known) <= tick:
                return tick
            left = min(known) * self._tick_s - second if known else LONG_S
            self._poll_worker(min(max(left, 0.0), LONG_S))

    def _poll_worker(self, timeout_s: float) -> bool:
        """Take a message of a worker; whether there was one in time."""
        found = self._supervisor.listen(timeout_s)
        if found is not None:
            gpu, message = found
            if isinstance(message, Idle):
                self._gpus.end(gpu)
            elif isinstance(message, AdapterReady):
                self._gpus.end_load(gpu, message.index)
        return found is not None


class LiveGpus(GpuFleet):
    """GPUs that are done when their workers say so.

    Args:
        site: Where they are.
        names: Id of each job, by its index.
        builder: Of their orders.
        send: Hands an order to a GPU's worker.
        residents: Adapters that each GPU holds.
        numbers: Index of each GPU's next batch.
        loads: Index of each GPU's next load beside serving.

    Attributes:
        served: Jobs that were given to a worker.
    """

    def __init__(
        self,
        site: Site,
        names: Sequence[str] | Mapping[int, str],
        builder: OrderBuilder,
        send: Callable[[int, Order | LoadOrder], None],
        *,
        residents: Sequence[Adapters],
        numbers: Sequence[int],
        loads: Sequence[int],
    ) -> None:
        self.served: set[int] = set()
        self._site, self._names, self._builder, self._send = site, names, builder, send
        self._numbers, self._load_numbers = list(numbers), list(loads)
        self._gpus = [GpuState(g, resident) for g, resident in enumerate(residents)]
        self._earliest: dict[int, int] = {}  # busy GPU -> the tick from which it may be idle
        self._ended: dict[int, int] = {}  # the same, of those whose workers are done
        # GPU and index of a load in progress -> its adapter, and the tick from which it may end.
        self._loading: dict[tuple[int, int], tuple[int, int]] = {}
        self._loaded: dict[tuple[int, int], tuple[int, int]] = {}  # those that workers have done

    @property
    def busy(self) -> bool:
        """Whether any GPU is busy, or loads."""
        return bool(self._earliest or self._loading)

    @property
    def next_end(self) -> int | None:
        """The tick at which the next batch, switch or load ends that a worker has done."""
        ends = [*self._ended.values(), *[tick for _, tick in self._loaded.values()]]
        return min(ends, default=None)

    def end(self, gpu: int) -> None:
        """Note that a worker is done."""
        self._ended[gpu] = self._earliest[gpu]

    def end_load(self, gpu: int, index: int) -> None:
        """Note that a worker has done a load."""
        self._loaded[gpu, index] = self._loading[gpu, index]

    @override
    def ended(self, tick: int) -> int:
        idle = [g for g, idle_from in self._ended.items() if idle_from <= tick]
        for g in idle:
            del self._ended[g], self._earliest[g]
            self._gpus[g] = replace(self._gpus[g], free_at=min(self._gpus[g].free_at, tick))
        loaded = [key for key, (_, ends_from) in self._loaded.items() if ends_from <= tick]
        for key in loaded:
            adapter, _ = self._loaded.pop(key)
            del self._loading[key]
            gpu = self._gpus[key[0]]
            left = tuple([load for load in gpu.loading if load[0] != adapter])
            self._gpus[key[0]] = replace(gpu, loading=left)
        return len(idle) + len(loaded)

    @override
    def states(self, tick: int) -> Sequence[GpuState]:
        return tuple([self._state(g, gpu, tick) for g, gpu in enumerate(self._gpus)])

    def _state(self, g: int, gpu: GpuState, tick: int) -> GpuState:
        """A GPU at a tick; what its worker has not done yet ends at the next one or later."""
        if g in self._earliest:
            gpu = replace(gpu, free_at=max(gpu.free_at, tick + 1))
        if gpu.loading:
            gpu = replace(gpu, loading=tuple([(a, max(end, tick + 1)) for a, end in gpu.loading]))
        return gpu

    @override
    def load(self, gpu: GpuState, end: int, load: PlannedLoad) -> None:
        g, names = gpu.index, self._site.adapter_ids
        index = self._load_numbers[g]
        order = LoadOrder(
            index=index,
            adapter=next(iter(self._builder.adapters([names[load.adapter]])), None),
            evict=self._builder.adapters(names[a] for a in sorted(load.evict)),
        )
        self._loading[g, index] = load.adapter, load.start + (end > load.start)
        self._load_numbers[g] += 1
        self._gpus[g] = gpu
        self._send(g, order)

    @override
    def occupy(self, gpu: GpuState, tick: int, members: tuple[tuple[int, int], ...]) -> None:
        g, names = gpu.index, self._site.adapter_ids
        before = self._gpus[g].resident
        order = Order(
            index=self._numbers[g],
            load=self._builder.adapters(names[a] for a in sorted(gpu.resident - before)),
            evict=self._builder.adapters(names[a] for a in sorted(before - gpu.resident)),
            members=tuple(self._builder.member(self._names[j], o) for j, o in members),
        )
        self._send(g, order)
        self._numbers[g] += bool(members)
        self.served.update(j for j, _ in members)
        self._earliest[g] = tick + bool(members)
        self._gpus[g] = gpu
