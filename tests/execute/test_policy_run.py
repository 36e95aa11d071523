"""One policy's run, on simulated time and on the time of workers: the same decisions and plan."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import cast

import pytest

from pats_opt.core.policy import Action, Policy, Start, State, SwitchTo, WakeAt
from pats_opt.core.solver import Feature
from pats_opt.errors import CapabilityError
from pats_opt.execute.orders import OrderBuilder
from pats_opt.execute.policy_driver import LiveClock, LiveGpus, PolicyDriver
from pats_opt.execute.supervisor import Supervisor
from pats_opt.execute.work import Order
from pats_opt.execute.worker import Idle, Message
from pats_opt.model.problem import Problem
from pats_opt.simulate.policy_run import PolicyRun, Simulation, servable, simulated, start
from pats_opt.testing.instances import random_features, random_instance
from tests.execute.runs import policy_of
from tests.simulate.scripted import Scripted, alone, problem_of
from tests.support import scale
from tests.support.overlap_zoo import overlapping
from tests.support.zoo import request

#: Features under which a batch of one fits on the GPU.
SIMPLE = frozenset({Feature.OPTIONS, Feature.TABLE, Feature.OVERHEAD, Feature.REJECTION})


class PunctualWorkers:
    """Workers that are done when predicted, on a clock that only waiting moves."""

    def __init__(self, problem: Problem) -> None:
        self.second = 0.0
        self.orders: list[tuple[int, Order]] = []
        self._tick_s = problem.site.tick_s
        self._begun: list[int] = []  # GPUs whose end is not known yet
        self._ends: dict[int, float] = {}
        self.gpus = LiveGpus(
            problem,
            cast(Supervisor, self),
            OrderBuilder(problem, (), 1),
            [gpu.resident for gpu in problem.site.gpus],
            [0 for _ in problem.site.gpus],
        )

    def clock(self) -> float:
        """The second now."""
        return self.second

    def send(self, gpu: int, order: Order) -> None:
        """Begin an order."""
        self.orders.append((gpu, order))
        self._begun.append(gpu)

    def listen(self, timeout_s: float) -> tuple[int, Message] | None:
        """Let time pass until a worker is done, or for so long."""
        states = self.gpus.states(round(self.second / self._tick_s))
        self._ends.update({gpu: states[gpu].free_at * self._tick_s for gpu in self._begun})
        self._begun = []
        gpu = min(self._ends, key=self._ends.__getitem__, default=None)
        if gpu is None or self._ends[gpu] > self.second + timeout_s + 1e-9 * self._tick_s:
            self.second += timeout_s
            return None
        self.second = max(self.second, self._ends.pop(gpu))
        return gpu, Idle()


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


POLICIES = {
    **{name: policy_of(name) for name in ("fifo", "pats", "patient", "credits")},
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
        among -= {Feature.OVERLAP}  # live runs refuse it
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


def test_a_live_run_refuses_loads_beside_serving() -> None:
    problem = problem_of(overlapping(request("r0")))
    with pytest.raises(CapabilityError, match="cannot handle overlap"):
        PolicyDriver(problem, policy_of("fifo"), 0)
