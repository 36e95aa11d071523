"""The event simulator: an online policy, one instance, the plan that comes of it.

Time jumps from event to event on the tick grid. The queue holds ticks only: all events of a tick
are applied before the policy is asked, so their order within the tick cannot matter.
"""

from __future__ import annotations

import math
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from time import perf_counter
from types import MappingProxyType

from pats_opt.core.policy import GpuState, Policy, Start, State, SwitchTo, WakeAt
from pats_opt.errors import InfeasibleError, NoScheduleError, PatsError, SolverError, one_line
from pats_opt.model.plan import Plan, PlannedBatch
from pats_opt.model.problem import Adapters, Job, Problem
from pats_opt.model.schedule import StopReason
from pats_opt.simulate.rules import (
    BrokenRuleError,
    admit_start,
    admit_switch,
    admit_timer,
    describe,
    told,
)
from pats_opt.tables.statistics import rank

#: Timers in a row at which a policy may leave requests beside an idle GPU; more count as a hang.
MOST_IDLE_TIMERS = 100_000

#: The same where there is nothing it could do, as all GPUs are busy or nobody waits.
MOST_TIMERS = 10_000_000

#: Seconds that a policy may think in all, at timers in a row, without doing anything.
MOST_TIMER_S = 60.0

#: Actions in one answer; more count as an answer without end.
MOST_ACTIONS = 1_000_000

#: Seconds between two looks at the time limit (more where one decision takes more).
SECONDS_PER_LOOK = 0.02

#: What a policy's code may raise that is its failure, ``sys.exit`` included; Ctrl-C is the user's.
FAILURES = (Exception, SystemExit, GeneratorExit)


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a simulation gave.

    Attributes:
        stop: ``COMPLETE``, or why it was broken off.
        plan: What every GPU did; None where it was broken off.
        events: Arrivals, batch ends, switch ends, withdrawals and timers.
        decisions: How often the policy was asked.
        decision_s: Seconds it took to answer, in all.
        decision_p50_s: The median answer's seconds; 0 where it was never asked.
        decision_p99_s: Seconds that 99 % of its answers did not exceed.
        longest_decision_s: Seconds of its slowest answer.
    """

    stop: StopReason
    plan: Plan | None
    events: int
    decisions: int
    decision_s: float
    decision_p50_s: float
    decision_p99_s: float
    longest_decision_s: float


def simulate(
    problem: Problem,
    policy: Policy,
    *,
    seed: int = 0,
    stop: Callable[[], StopReason | None] = lambda: None,
) -> Simulation:
    """Run ``policy`` over ``problem``.

    Jobs that no GPU can serve, or none in time, never reach the policy where they may be rejected;
    jobs that can no longer end by the hard horizon are withdrawn.

    Args:
        problem: The instance on the grid.
        policy: The policy; it gets fresh memory.
        seed: Seed of its random choices.
        stop: Asked now and then, between decisions, whether to break off. A decision that never
            returns cannot be broken off from here; only another process, or Ctrl-C, ends it.

    Raises:
        InfeasibleError: A job that must be served fits no GPU, or not before the horizon.
        NoScheduleError: A job that must be served was not by the hard horizon.
        SolverError: The policy broke a rule, failed, or left a job waiting for ever.
    """
    return PolicyRun(problem, policy, seed).run(stop)


class PolicyRun:
    """One run of a policy: the clock, the queue, the GPUs and the waiting jobs.

    The live executor is the same but for :meth:`advance` and :meth:`occupy`: its time passes by
    itself, and its GPUs are done when they are done.
    """

    def __init__(self, problem: Problem, policy: Policy, seed: int) -> None:
        self.site, self.policy = problem.site, policy
        self.to_come = _servable(problem)[::-1]  # the next to arrive is last
        self.left = len(self.to_come)  # neither served nor withdrawn
        # An ordered dict, because a plain one walks over all it has lost to reach its first key.
        self.waiting: OrderedDict[int, Job] = OrderedDict()
        self.seen = MappingProxyType(self.waiting)
        self.gpus = [GpuState(gpu.index, gpu.resident) for gpu in self.site.gpus]
        self.shown = tuple(self.gpus)  # the same, as the policy sees them
        self.prefetched: dict[int, int] = {}  # GPU -> start of the switch no batch has used yet
        self.tick = 0
        self.ticks: list[int] = []  # the queue
        self.expiring: dict[int, list[int]] = {}  # tick -> jobs that cannot start any more then
        self.batches: list[list[PlannedBatch]] = [[] for _ in self.gpus]
        self.sets: dict[Adapters, Adapters] = {}  # each resident set once, however many batches
        self.events = 0
        self.spent = array("d")  # seconds of each decision
        self.now = perf_counter()
        # In a row up to now: decisions at which nothing arrived, left or was done; the seconds they
        # took; and how many of the last ones could have done something.
        self.timers, self.timer_s, self.idle_timers = 0, 0.0, 0
        try:
            self.decide = policy.start(problem.site, seed)
        except PatsError:
            raise
        except FAILURES as error:
            raise SolverError(f"policy {policy.name!r} failed to start: {told(error)}") from error

    def run(self, stop: Callable[[], StopReason | None] = lambda: None) -> Simulation:
        """Run it to its end, or until ``stop`` says why not; see :func:`simulate`."""
        look_at = self.now
        while self.left and (state := self.advance()) is not None:
            if self.now >= look_at:
                if (why := stop()) is not None:
                    return self._result(why, None)
                look_at = self.now + SECONDS_PER_LOOK
            actions = self._ask(state)
            acted = self._carry_out(state, actions) if actions else False
            if acted or state.arrived or state.withdrawn:
                self.timers, self.timer_s, self.idle_timers = 0, 0.0, 0
            else:
                self._let_pass(state)
        return self._result(StopReason.COMPLETE, Plan(tuple(map(tuple, self.batches))))

    def _result(self, stop: StopReason, plan: Plan | None) -> Simulation:
        rising = sorted(self.spent) or [0.0]
        return Simulation(
            stop=stop,
            plan=plan,
            events=self.events,
            decisions=len(self.spent),
            decision_s=math.fsum(rising),
            decision_p50_s=rising[rank(len(rising), 0.5)],
            decision_p99_s=rising[rank(len(rising), 0.99)],
            longest_decision_s=rising[-1],
        )

    def advance(self) -> State | None:
        """Go to the next tick with an event, apply all its events; None where there is none."""
        ticks, to_come = self.ticks, self.to_come
        if not ticks and not to_come:
            self.finish()
            return None
        tick = to_come[-1].arrival if to_come else ticks[0]
        if ticks and ticks[0] < tick:
            tick = ticks[0]
        self.tick = tick
        while ticks and ticks[0] == tick:
            heappop(ticks)
            self.events += 1
        arrived: list[Job] = []
        while to_come and to_come[-1].arrival == tick:
            arrived.append(to_come.pop())
        for job in arrived:
            self.waiting[job.index] = job
            if self.site.horizon is not None:
                self.expect_expiry(job, self.site.horizon)
        self.events += len(arrived)
        withdrawn = self.withdraw(tick) if tick in self.expiring else ()
        return State(tick, self.seen, tuple(arrived), withdrawn, self.shown)

    def expect_expiry(self, job: Job, horizon: int) -> None:
        """Put the tick at which a job can no longer end in time into the queue."""
        expiry = horizon - min(self.site.clock.quickest(o.steps) for o in job.options) + 1
        if expiry not in self.expiring:
            self.expiring[expiry] = []
            heappush(self.ticks, expiry)
        self.expiring[expiry].append(job.index)

    def withdraw(self, tick: int) -> tuple[Job, ...]:
        """Take out of ``waiting`` what can no longer end by the horizon."""
        late = self.expiring.pop(tick)
        withdrawn = tuple([self.waiting.pop(index) for index in late if index in self.waiting])
        for job in withdrawn:
            if job.reject_loss is None:
                raise NoScheduleError(
                    f"policy {self.policy.name!r} did not serve {job.id!r} in time: at tick {tick} "
                    f"it can no longer end by horizon_ticks {self.site.horizon}"
                )
        self.left -= len(withdrawn)
        return withdrawn

    def _ask(self, state: State) -> Sequence[object]:
        began = perf_counter()
        try:
            answer: object = self.decide(state)
            if type(answer) is not list and type(answer) is not tuple:
                answer = _listed(answer)  # a generator does its work only now
        except BrokenRuleError as broken:
            raise self._error(state, f"broke {broken}") from None
        except FAILURES as error:
            raise self._error(state, f"failed with {told(error)}") from error
        self.now = perf_counter()
        self.spent.append(self.now - began)
        return answer

    def _carry_out(self, state: State, actions: Sequence[object]) -> bool:
        """Carry out an answer, action by action; whether there was one besides timers."""
        if len(actions) > MOST_ACTIONS:
            raise self._error(state, f"broke section 7: over {MOST_ACTIONS} actions in an answer")
        now, acted = state, False
        for action in actions:
            if acted:
                now = State(state.tick, self.seen, (), (), self.gpus)
            try:
                if type(action) is Start:
                    self._start(now, action)
                elif type(action) is SwitchTo:
                    self._switch(now, action)
                elif type(action) is WakeAt:
                    heappush(self.ticks, admit_timer(now, action))
                    continue
                else:
                    raise BrokenRuleError(f"section 7: {told(action)} is no action")
            except BrokenRuleError as broken:
                raise self._error(now, f"broke {broken}") from None
            acted = True
        self.shown = tuple(self.gpus)
        return acted

    def _start(self, state: State, action: Start) -> None:
        admitted, g = admit_start(self.site, state, action), action.gpu
        resident = self.sets.setdefault(admitted.resident, admitted.resident)
        self.batches[g].append(
            PlannedBatch(
                start=admitted.start,
                members=action.members,
                resident=resident,
                switch_start=self.prefetched.pop(g, None),
            )
        )
        for index, _ in action.members:
            del self.waiting[index]
        self.left -= len(action.members)
        self.occupy(GpuState(g, resident, admitted.active, admitted.end), action.members)

    def _switch(self, state: State, action: SwitchTo) -> None:
        resident, end = admit_switch(self.site, state, action)
        gpu = self.gpus[action.gpu]
        if resident - gpu.resident:  # one that only evicts takes place when the batch starts
            self.prefetched[action.gpu] = state.tick
        self.occupy(GpuState(action.gpu, resident, gpu.active, end, gpu.resident), ())

    def occupy(self, gpu: GpuState, members: tuple[tuple[int, int], ...]) -> None:  # noqa: ARG002
        """A GPU is busy from now to ``free_at``; without members it only switches."""
        self.gpus[gpu.index] = gpu
        heappush(self.ticks, gpu.free_at)

    def _let_pass(self, state: State) -> None:
        """Note that a timer went by unused; a policy may not go on so for ever."""
        self.timers += 1
        self.timer_s += self.spent[-1]
        self.idle_timers = self.idle_timers + 1 if self.waiting and state.idle else 0
        if self.idle_timers > MOST_IDLE_TIMERS or self.timers > MOST_TIMERS:
            count = self.idle_timers or self.timers
            raise self._error(state, f"sets timers but did not act at {count} of them in a row")
        if self.timer_s > MOST_TIMER_S:
            raise self._error(
                state,
                f"sets timers but did not act at {self.timers} of them in a row, in which it "
                f"thought for over {MOST_TIMER_S:g} s",
            )

    def finish(self) -> None:
        """Nothing is pending: what waits is rejected, or the policy blocks for ever.

        Raises:
            SolverError: It blocks for ever.
        """
        needed = next((job for job in self.waiting.values() if job.reject_loss is None), None)
        if needed is not None:
            raise self._error(
                State(self.tick, self.seen, (), (), self.gpus),
                f"leaves {needed.id!r}, which must be served, waiting for ever (section 7: no "
                "event is to come and no action starts one)",
            )

    def _error(self, state: State, what: str) -> SolverError:
        now = describe(self.site, state)
        return SolverError(
            one_line(f"policy {self.policy.name!r} at tick {state.tick}: {what}; {now}")
        )


def _servable(problem: Problem) -> list[Job]:
    """The jobs that can be served at all; the others must be such as may be rejected."""
    lost = set()
    for job, reason in problem.unservable():
        if job.reject_loss is None:
            raise InfeasibleError(f"requests[{job.position}] {job.id!r}: {reason}")
        lost.add(job.index)
    return [job for job in problem.jobs if job.index not in lost]


def _listed(answer: object) -> Sequence[object]:
    """The actions of an answer that is no list: of an endless one, just too many."""
    if not isinstance(answer, Iterable):
        raise BrokenRuleError(f"section 7: {told(answer)} is no list of actions")
    return tuple(islice(answer, MOST_ACTIONS + 1))
