"""One policy's run, on simulated time and on the time of workers: the same decisions and plan."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import cast

import pytest

from pats_opt.core.policy import Action, Policy, Start, State, SwitchTo, WakeAt
from pats_opt.core.solver import Feature
from pats_opt.execute.orders import OrderBuilder
from pats_opt.execute.policy_driver import LiveClock, LiveGpus
from pats_opt.execute.supervisor import Supervisor
from pats_opt.execute.work import LoadOrder, Order
from pats_opt.execute.worker import AdapterReady, Idle, Message
from pats_opt.model.problem import Problem
from pats_opt.simulate.policy_run import PolicyRun, Simulation, servable, simulated, start
from pats_opt.testing.instances import random_features, random_instance
from tests.execute.runs import policy_of
from tests.simulate.scripted import Scripted, alone
from tests.support import scale

#: Features under which a batch of one fits on the GPU.
SIMPLE = frozenset({Feature.OPTIONS, Feature.TABLE, Feature.OVERHEAD, Feature.REJECTION})


class PunctualWorkers:
    """Workers that are done when predicted, on a clock that only waiting moves."""

    def __init__(self, problem: Problem) -> None:
        self.second = 0.0
        self.orders: list[tuple[int, Order]] = []
        self.loads: list[tuple[int, LoadOrder]] = []
        self._site = problem.site
        self._begun: list[int] = []  # GPUs whose end is not known yet
        self._ends: list[tuple[int, int, Message]] = []  # tick, GPU
        self.gpus = LiveGpus(
            problem.site,
            [job.id for job in problem.jobs],
            OrderBuilder(problem, (), 1),
            self.send,
            residents=[gpu.resident for gpu in problem.site.gpus],
            numbers=[0 for _ in problem.site.gpus],
            loads=[0 for _ in problem.site.gpus],
        )

    def clock(self) -> float:
        """The second now."""
        return self.second

    def send(self, gpu: int, order: Order | LoadOrder) -> None:
        """Begin an order, or a load."""
        if isinstance(order, Order):
            self.orders.append((gpu, order))
            self._begun.append(gpu)
            return
        self.loads.append((gpu, order))
        assert order.adapter is not None
        ticks = self._site.load_ticks(self._site.adapter_index[order.adapter])
        self._ends.append((self._tick + ticks, gpu, AdapterReady(order.index)))

    @property
    def _tick(self) -> int:
        return round(self.second / self._site.tick_s)

    def listen(self, timeout_s: float) -> tuple[int, Message] | None:
        """Let time pass until a worker is done, or for so long."""
        states = self.gpus.states(self._tick)
        self._ends += [(states[gpu].free_at, gpu, Idle()) for gpu in self._begun]
        self._begun = []
        first = min(self._ends, key=lambda end: end[:2], default=None)
        tick_s = self._site.tick_s
        if first is None or first[0] * tick_s > self.second + timeout_s + 1e-9 * tick_s:
            self.second += timeout_s
            return None
        self._ends.remove(first)
        tick, gpu, message = first
        self.second = max(self.second, tick * tick_s)
        return gpu, message


def live(problem: Problem, policy: Policy, seed: int) -> tuple[Simulation, PunctualWorkers]:
    """The policy's run on punctual workers."""
    workers = PunctualWorkers(problem)
    clock = LiveClock(cast(Supervisor, workers), workers.gpus, problem.site.tick_s)
    decide = start(policy, problem.site, seed)
    jobs = servable(problem)
    run = PolicyRun(problem.site, jobs, policy.name, decide, clock=clock, gpus=workers.gpus)
    return run.run(), workers


def ahead(state: State) -> list[Action]:
    """Switch to the adapter of the next request first, and serve it once that is done."""
    for gpu in state.idle:
        for job in state.waiting.values():
            if job.adapter not in gpu.resident and gpu.before is None:
                return [SwitchTo(gpu.index, frozenset((job.adapter,)))]
            if job.adapter in gpu.resident:
                return [Start(gpu.index, ((job.index, 0),), gpu.resident), WakeAt(state.tick + 3)]
    return []


def patient(state: State) -> list[Action]:
    """Serve at every fifth tick only."""
    return alone(state) if state.tick % 5 == 0 else [WakeAt(state.tick - state.tick % 5 + 5)]


def scripted(decide: Callable[[State], list[Action]]) -> Policy:
    """A policy made of one function."""
    return cast(Policy, Scripted(decide))


#: Loads beside serving, and what they need.
LOADING = frozenset({Feature.RESIDENT, Feature.ACTIVATE, Feature.GPUS, Feature.OVERLAP})

POLICIES = {
    **{name: policy_of(name) for name in ("fifo", "pats", "patient", "credits", "prompt-aware")},
    "fifo, bound": policy_of("fifo:dispatch=least-work:steal=true"),
    "pats, bound": policy_of("pats:dispatch=dualmap:rebalance=true"),
    "alone": scripted(alone),
    "at every fifth tick": scripted(patient),
    "ahead": scripted(ahead),
}


@pytest.mark.parametrize("name", POLICIES)
def test_simulated_and_live_runs_make_the_same_plan(name: str) -> None:
    """Decisions, events, batches; and the orders of the workers are those of the plan."""
    for seed in scale.seeds(30):
        policy = POLICIES[name]
        among = SIMPLE if isinstance(policy, Scripted) else policy.capabilities.features
        features = random_features(random.Random(seed), among=among)
        problem = Problem(random_instance(seed, features, requests=(4, 30)))
        if name == "ahead" and 0.0 in problem.site.load_s:
            continue  # a switch in no time ends at once if simulated, else a tick later
        expected = simulated(problem, policy, seed).run()
        found, workers = live(problem, policy, seed)
        assert found.plan == expected.plan
        assert (found.events, found.decisions) == (expected.events, expected.decisions)
        assert expected.plan is not None
        for g, batches in enumerate(expected.plan.gpus):
            orders = [order for gpu, order in workers.orders if gpu == g and order.members]
            ids = [[problem.jobs[j].id for j, _ in batch.members] for batch in batches]
            assert [[m.id for m in order.members] for order in orders] == ids


@pytest.mark.parametrize("prefetch", ["none", "next", "ahead", "ahead:dispatch=hash:steal=true"])
def test_loads_beside_serving_are_those_of_the_plan(prefetch: str) -> None:
    """Decisions, events, batches and loads are the simulator's, whatever is loaded ahead."""
    for seed in scale.seeds(20):
        policy = policy_of(f"pats:prefetch={prefetch}")
        problem = Problem(random_instance(seed, LOADING, requests=(4, 30)))
        expected = simulated(problem, policy, seed).run()
        found, workers = live(problem, policy, seed)
        assert found.plan == expected.plan
        assert (found.events, found.decisions) == (expected.events, expected.decisions)
        assert expected.plan is not None
        names = problem.site.adapter_ids
        for g, loads in enumerate(expected.plan.loads):
            orders = [order for gpu, order in workers.loads if gpu == g]
            assert [order.index for order in orders] == list(range(len(loads)))
            assert [order.adapter for order in orders] == [names[x.adapter] for x in loads]
            evicted = [{names[a] for a in load.evict} for load in loads]
            assert [set(order.evict) for order in orders] == evicted
