"""The event simulator: an online policy, one instance, the plan that comes of it.

Time jumps from event to event on the tick grid. The queue holds ticks only: all events of a tick
are applied before the policy is asked, so their order within the tick cannot matter.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import msgspec
from msgspec.structs import replace

from pats_opt.errors import InfeasibleError, NoScheduleError, PatsError, SolverError
from pats_opt.plan import Plan, PlannedBatch
from pats_opt.policy import GpuState, Policy, Start, State, SwitchTo, WakeAt
from pats_opt.problem import Job, Problem
from pats_opt.schedule import Stop
from pats_opt.simulate.rules import (
    BrokenRuleError,
    admit_start,
    admit_switch,
    admit_timer,
    describe,
)
from pats_opt.solver import Capabilities, Kind, Outcome, Run

#: Timers in a row at which a policy may leave requests beside an idle GPU; more count as a hang.
MOST_IDLE_TIMERS = 100_000

#: Decisions between two looks at the time limit.
DECISIONS_PER_LOOK = 64


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a simulation gave.

    Attributes:
        stop: ``COMPLETE``, or why it was broken off.
        plan: What every GPU did; None where it was broken off.
        events: Arrivals, batch ends, switch ends, withdrawals and timers.
        decisions: How often the policy was asked.
        decision_s: Seconds it took to answer, in all.
        longest_decision_s: Seconds of its slowest answer.
    """

    stop: Stop
    plan: Plan | None
    events: int
    decisions: int
    decision_s: float
    longest_decision_s: float


def simulate(
    problem: Problem,
    policy: Policy,
    *,
    seed: int = 0,
    stop: Callable[[], Stop | None] = lambda: None,
) -> Simulation:
    """Run ``policy`` over ``problem``.

    Jobs that no GPU can serve, or none in time, never reach the policy where they may be rejected;
    jobs that can no longer end by the hard horizon are withdrawn.

    Args:
        problem: The instance on the grid.
        policy: The policy; it gets fresh memory.
        seed: Seed of its random choices.
        stop: Asked now and then whether to break off.

    Raises:
        InfeasibleError: A job that must be served fits no GPU, or not before the horizon.
        NoScheduleError: A job that must be served was not by the hard horizon.
        SolverError: The policy broke a rule, failed, or left a job waiting for ever.
    """
    return _Engine(problem, policy, seed).run(stop)


class PolicySolver(msgspec.Struct, frozen=True):
    """A policy as a solver: it solves an instance by being simulated on it."""

    policy: Policy

    kind: ClassVar[Kind] = Kind.ONLINE
    if TYPE_CHECKING:  # as the protocol asks; in truth they are the policy's, so the object's
        name: ClassVar[str]
        capabilities: ClassVar[Capabilities]
    else:

        @property
        def name(self) -> str:
            """The policy's name."""
            return self.policy.name

        @property
        def capabilities(self) -> Capabilities:
            """The policy's capability record."""
            return self.policy.capabilities

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """The plan of one simulation; none where a limit comes first, as a part is no schedule."""
        done = simulate(problem, self.policy, seed=run.seed, stop=run.stop)
        details = {
            "events": done.events,
            "decisions": done.decisions,
            "decision_s": done.decision_s,
            "longest_decision_s": done.longest_decision_s,
        }
        return Outcome(done.stop, done.plan, details=details)


class _Engine:
    """One run of a policy: the clock, the queue, the GPUs and the waiting jobs."""

    def __init__(self, problem: Problem, policy: Policy, seed: int) -> None:
        self.site, self.policy = problem.site, policy
        self.to_come = _servable(problem)[::-1]  # the next to arrive is last
        self.left = len(self.to_come)  # neither served nor withdrawn
        # An ordered dict, because a plain one walks over all it has lost to reach its first key.
        self.waiting: OrderedDict[int, Job] = OrderedDict()
        self.seen = MappingProxyType(self.waiting)
        self.gpus = [GpuState(gpu.index, gpu.resident) for gpu in self.site.gpus]
        self.prefetched: dict[int, int] = {}  # GPU -> start of the switch no batch has used yet
        self.tick = 0
        self.ticks: list[int] = []  # the queue
        self.expiring: dict[int, list[int]] = {}  # tick -> jobs that cannot start any more then
        self.batches: list[list[PlannedBatch]] = [[] for _ in self.gpus]
        self.events = self.decisions = self.idle_timers = 0
        self.decision_s = self.longest_decision_s = 0.0
        try:
            self.decide = policy.start(problem.site, seed)
        except PatsError:
            raise
        except Exception as error:
            raise SolverError(f"policy {policy.name!r} failed to start: {error!r}") from error

    def run(self, stop: Callable[[], Stop | None]) -> Simulation:
        while self.left:
            state = self._advance()
            if state is None:
                break
            if self.decisions % DECISIONS_PER_LOOK == 0 and (why := stop()) is not None:
                return self._result(why, None)
            self._carry_out(state, self._ask(state))
        return self._result(Stop.COMPLETE, Plan(tuple(map(tuple, self.batches))))

    def _result(self, stop: Stop, plan: Plan | None) -> Simulation:
        return Simulation(
            stop, plan, self.events, self.decisions, self.decision_s, self.longest_decision_s
        )

    def _advance(self) -> State | None:
        """Go to the next tick with an event, apply all its events; None where there is none."""
        if not self.ticks and not self.to_come:
            self._finish()
            return None
        if not self.to_come or (self.ticks and self.ticks[0] <= self.to_come[-1].arrival):
            tick = self.ticks[0]
        else:
            tick = self.to_come[-1].arrival
        self.tick = tick
        while self.ticks and self.ticks[0] == tick:
            heappop(self.ticks)
            self.events += 1
        arrived = []
        while self.to_come and self.to_come[-1].arrival == tick:
            arrived.append(self._arrive(self.to_come.pop()))
        withdrawn = [
            self._withdraw(self.waiting.pop(index), tick)
            for index in self.expiring.pop(tick, ())
            if index in self.waiting
        ]
        self.events += len(arrived)
        if arrived:
            self.idle_timers = 0
        return State(tick, self.seen, arrived, withdrawn, tuple(self.gpus))

    def _arrive(self, job: Job) -> Job:
        self.waiting[job.index] = job
        if self.site.horizon is not None:
            least = min(self.site.clock.quickest(o.steps) for o in job.options)
            expiry = self.site.horizon - least + 1
            if expiry not in self.expiring:
                self.expiring[expiry] = []
                heappush(self.ticks, expiry)
            self.expiring[expiry].append(job.index)
        return job

    def _withdraw(self, job: Job, tick: int) -> Job:
        if job.reject_loss is None:
            raise NoScheduleError(
                f"policy {self.policy.name!r} did not serve {job.id!r} in time: at tick {tick} it "
                f"can no longer end by horizon_ticks {self.site.horizon}"
            )
        self.left -= 1
        return job

    def _ask(self, state: State) -> tuple[object, ...]:
        began = time.perf_counter()
        try:
            actions = tuple(self.decide(state))
        except Exception as error:
            raise self._error(state, f"failed with {error!r}") from error
        seconds = time.perf_counter() - began
        self.decisions += 1
        self.decision_s += seconds
        self.longest_decision_s = max(self.longest_decision_s, seconds)
        return actions

    def _carry_out(self, state: State, actions: tuple[object, ...]) -> None:
        acted = False
        for action in actions:
            now = replace(state, gpus=self.gpus) if acted else state
            try:
                if isinstance(action, Start):
                    self._start(now, action)
                elif isinstance(action, SwitchTo):
                    self._switch(now, action)
                elif isinstance(action, WakeAt):
                    heappush(self.ticks, admit_timer(now, action))
                    continue
                else:
                    raise BrokenRuleError(f"section 7: {action!r} is no action")
            except BrokenRuleError as broken:
                raise self._error(now, f"broke {broken}") from None
            except (TypeError, ValueError, AttributeError) as error:
                raise self._error(now, f"gave a malformed action {action!r}: {error}") from error
            acted = True
        if acted or not self.waiting or not state.idle:
            self.idle_timers = 0
            return
        self.idle_timers += 1
        if self.idle_timers > MOST_IDLE_TIMERS:
            raise self._error(state, f"sets timers but did not act at {self.idle_timers} of them")

    def _start(self, state: State, action: Start) -> None:
        admitted = admit_start(self.site, state, action)
        g = action.gpu
        self.batches[g].append(
            PlannedBatch(
                start=admitted.start,
                members=tuple(action.members),
                resident=admitted.resident,
                switch_start=self.prefetched.pop(g, None),
            )
        )
        for index, _ in action.members:
            del self.waiting[index]
        self.left -= len(action.members)
        self.gpus[g] = GpuState(g, admitted.resident, admitted.active, admitted.end)
        heappush(self.ticks, admitted.end)

    def _switch(self, state: State, action: SwitchTo) -> None:
        resident, end = admit_switch(self.site, state, action)
        gpu = self.gpus[action.gpu]
        if resident - gpu.resident:  # one that only evicts takes place when the batch starts
            self.prefetched[action.gpu] = state.tick
        self.gpus[action.gpu] = replace(gpu, resident=resident, free_at=end, before=gpu.resident)
        heappush(self.ticks, end)

    def _finish(self) -> None:
        """Nothing is pending: what waits is rejected, or the policy blocks for ever."""
        needed = [job for job in self.waiting.values() if job.reject_loss is None]
        if needed:
            state = State(self.tick, self.waiting, (), (), self.gpus)
            raise self._error(
                state,
                f"leaves {needed[0].id!r}, which must be served, waiting for ever (section 7: no "
                "event is to come and no action starts one)",
            )

    def _error(self, state: State, what: str) -> SolverError:
        now = describe(self.site, state)
        return SolverError(f"policy {self.policy.name!r} at tick {state.tick}: {what}; {now}")


def _servable(problem: Problem) -> list[Job]:
    """The jobs that can be served at all; the others must be such as may be rejected."""
    lost = set()
    for job, reason in problem.unservable():
        if job.reject_loss is None:
            raise InfeasibleError(f"requests[{job.position}] {job.id!r}: {reason}")
        lost.add(job.index)
    return [job for job in problem.jobs if job.index not in lost]
