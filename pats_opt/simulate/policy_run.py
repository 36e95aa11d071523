"""One run of an online policy: events, decisions, and the plan that they make.

The clock and the GPUs are handed in (:mod:`pats_opt.simulate.gpus`): simulated ones jump from event
to event, real ones take their time. The queue holds ticks only: all events of a tick are applied
before the policy is asked, so their order within the tick cannot matter.
"""

from __future__ import annotations

import math
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice, takewhile
from time import perf_counter
from types import MappingProxyType

from msgspec.structs import replace

from pats_opt.core.policy import (
    Decide,
    GpuState,
    Policy,
    Start,
    StartLoad,
    State,
    SwitchTo,
    WakeAt,
)
from pats_opt.errors import InfeasibleError, NoScheduleError, PatsError, SolverError, one_line
from pats_opt.model.plan import BatchLog, Plan, PlannedBatch, PlannedLoad
from pats_opt.model.problem import Adapters, Job, Problem, Site
from pats_opt.model.schedule import StopReason
from pats_opt.simulate.gpus import Clock, GpuFleet, SimulatedClock, SimulatedGpus
from pats_opt.simulate.rules import (
    AdmittedBatch,
    BrokenRuleError,
    admit_load,
    admit_start,
    admit_switch,
    admit_timer,
    describe,
    short_repr,
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

#: Seconds between two checks of the time limit (more where one decision takes more).
SECONDS_PER_CHECK = 0.02

#: Exceptions of a policy's code that are its failure, ``sys.exit`` included; Ctrl-C is the user's.
FAILURES = (Exception, SystemExit, GeneratorExit)


@dataclass(frozen=True, slots=True)
class Simulation:
    """Outcome of a policy's run.

    Attributes:
        stop: ``COMPLETE``, or why it was broken off.
        plan: Batches and loads of every GPU; None where it was broken off.
        events: Arrivals, ends of batches, switches and loads, withdrawals and timers.
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
    """Simulate ``policy`` on ``problem``.

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
    return simulated(problem, policy, seed).run(stop)


def simulated(problem: Problem, policy: Policy, seed: int) -> PolicyRun:
    """A run on simulated GPUs, ready to begin; see :func:`simulate`."""
    jobs, site = servable(problem), problem.site
    decide, gpus = start(policy, site, seed), SimulatedGpus(site)
    return PolicyRun(site, jobs, policy.name, decide, clock=SimulatedClock(gpus), gpus=gpus)


def servable(problem: Problem) -> list[Job]:
    """The jobs that some GPU can serve in time, by arrival.

    Raises:
        InfeasibleError: One of the others must be served.
    """
    lost = set()
    for job, reason in problem.unservable():
        if job.reject_loss is None:
            raise InfeasibleError(f"requests[{job.position}] {job.id!r}: {reason}")
        lost.add(job.index)
    return [job for job in problem.jobs if job.index not in lost]


def start(policy: Policy, site: Site, seed: int) -> Decide:
    """A policy's decisions for one run.

    Raises:
        SolverError: It failed to start.
    """
    try:
        return policy.start(site, seed)
    except PatsError:
        raise
    except FAILURES as error:
        raise SolverError(f"policy {policy.name!r} failed to start: {short_repr(error)}") from error


class PolicyRun:
    """One run of a policy over the requests of an instance.

    Args:
        site: Everything but the requests.
        jobs: The jobs that will arrive, by arrival.
        policy: The policy's name, for messages.
        decide: Its decisions.
        clock: Says how time passes.
        gpus: Carry out what it decides.
    """

    def __init__(
        self,
        site: Site,
        jobs: Sequence[Job],
        policy: str,
        decide: Decide,
        *,
        clock: Clock,
        gpus: GpuFleet,
    ) -> None:
        self.site, self.policy, self.decide = site, policy, decide
        self.clock, self.gpus = clock, gpus
        self.to_come = list(jobs[::-1])  # the next to arrive is last
        self.left = len(self.to_come)  # neither served nor withdrawn
        # An ordered dict, because a plain one walks over all it has lost to reach its first key.
        self.waiting: OrderedDict[int, Job] = OrderedDict()
        self._waiting_view = MappingProxyType(self.waiting)
        self._prefetched: dict[int, int] = {}  # GPU -> start of the switch no batch has used yet
        self._tick = 0
        self._ticks: list[int] = []  # the queue: timers, and ticks in ``_expiring``
        self._expiring: dict[int, list[int]] = {}  # tick -> jobs that cannot start any more then
        self._taken_out: list[Job] = []  # jobs that left from outside since the last decision
        self._batches = [BatchLog() for _ in site.gpus]
        self._loads: list[list[PlannedLoad]] = [[] for _ in site.gpus if site.channels is not None]
        self._events = 0
        self._spent = array("d")  # seconds of each decision
        self._now = perf_counter()
        # In a row up to now: decisions at which nothing arrived, left or was done but loads; the
        # seconds they took; and how many of the last ones could have done something.
        self._timers, self._timer_s, self._idle_timers = 0, 0.0, 0

    def run(self, stop: Callable[[], StopReason | None] = lambda: None) -> Simulation:
        """Run it to its end, or until ``stop`` says why not; see :func:`simulate`."""
        check_at = self._now
        while self.left and (state := self._next_state()) is not None:
            if self._now >= check_at:
                if (why := stop()) is not None:
                    return self._result(why, None)
                check_at = self._now + SECONDS_PER_CHECK
            actions = self._ask(state)
            acted = self._carry_out(state, actions) if actions else False
            if acted or state.arrived or state.withdrawn:
                self._timers, self._timer_s, self._idle_timers = 0, 0.0, 0
            else:
                self._skip(state)
        plan = Plan(tuple(self._batches), tuple(map(tuple, self._loads)))
        return self._result(StopReason.COMPLETE, plan)

    def _result(self, stop: StopReason, plan: Plan | None) -> Simulation:
        rising = sorted(self._spent) or [0.0]
        return Simulation(
            stop=stop,
            plan=plan,
            events=self._events,
            decisions=len(self._spent),
            decision_s=math.fsum(rising),
            decision_p50_s=rising[rank(len(rising), 0.5)],
            decision_p99_s=rising[rank(len(rising), 0.99)],
            longest_decision_s=rising[-1],
        )

    def _next_state(self) -> State | None:
        """Wait for the next event and apply all of its tick; None where there is none to come."""
        ticks, to_come = self._ticks, self.to_come
        due = ticks[0] if ticks else None
        if to_come and (due is None or to_come[-1].arrival < due):
            due = to_come[-1].arrival
        tick = self.clock.wait(due)
        if tick is None:
            self._finish()
            return None
        self._tick = tick
        self._events += self.gpus.ended(tick)
        arrived: list[Job] = []
        while to_come and to_come[-1].arrival <= tick:
            job = to_come.pop()
            arrived.append(job)
            self.waiting[job.index] = job
            if self.site.horizon is not None:
                self._expect_expiry(job, self.site.horizon)
        self._events += len(arrived)
        withdrawn, self._taken_out = self._taken_out, []
        while ticks and ticks[0] <= tick:
            event = heappop(ticks)
            self._events += 1
            if event in self._expiring:
                withdrawn += self._withdraw(event)
        if withdrawn:  # one that came too late to be served (in a resumed run) is not shown at all
            late = [job for job in withdrawn if job not in arrived]
            arrived = [job for job in arrived if job.index in self.waiting]
            withdrawn = late
        gpus = self.gpus.states(tick)
        return State(tick, self._waiting_view, tuple(arrived), tuple(withdrawn), gpus)

    def _expect_expiry(self, job: Job, horizon: int) -> None:
        """Put the tick at which a job can no longer end in time into the queue."""
        expiry = horizon - min(self.site.clock.quickest(o.steps) for o in job.options) + 1
        if expiry not in self._expiring:
            self._expiring[expiry] = []
            heappush(self._ticks, expiry)
        self._expiring[expiry].append(job.index)

    def _withdraw(self, tick: int) -> list[Job]:
        """Take out of ``waiting`` what can no longer end by the horizon."""
        expired = self._expiring.pop(tick)
        withdrawn = [self.waiting.pop(index) for index in expired if index in self.waiting]
        for job in withdrawn:
            if job.reject_loss is None:
                raise NoScheduleError(
                    f"policy {self.policy!r} did not serve {job.id!r} in time: at tick {tick} "
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
            raise self._error(state, f"failed with {short_repr(error)}") from error
        self._now = perf_counter()
        self._spent.append(self._now - began)
        return answer

    def _carry_out(self, state: State, actions: Sequence[object]) -> bool:
        """Carry out an answer, action by action; whether there was one besides timers and loads."""
        if len(actions) > MOST_ACTIONS:
            raise self._error(state, f"broke section 7: over {MOST_ACTIONS} actions in an answer")
        now, changed, acted = state, False, False
        for action in actions:
            if changed:
                now = self._state_now(state.tick)
            try:
                if type(action) is Start:
                    self._start(now, action)
                elif type(action) is StartLoad:
                    self._load(now, action)
                    changed = True
                    continue
                elif type(action) is SwitchTo:
                    self._switch(now, action)
                elif type(action) is WakeAt:
                    heappush(self._ticks, admit_timer(now, action))
                    continue
                else:
                    raise BrokenRuleError(f"section 7: {short_repr(action)} is no action")
            except BrokenRuleError as broken:
                raise self._error(now, f"broke {broken}") from None
            changed = acted = True
        return acted

    def _state_now(self, tick: int) -> State:
        """The state in the middle of an answer, or at the end: nothing arrives."""
        return State(tick, self._waiting_view, (), (), self.gpus.states(tick))

    def _start(self, state: State, action: Start) -> None:
        admitted, g = admit_start(self.site, state, action), action.gpu
        resident = admitted.resident
        if self._loads:
            occupied, stays = self._beside_loads(state, action, admitted)
        else:
            occupied, stays = GpuState(g, resident, admitted.active, admitted.end), resident
        self._batches[g].append(
            PlannedBatch(
                start=admitted.start,
                members=action.members,
                resident=stays,
                switch_start=self._prefetched.pop(g, None),
            )
        )
        for index, _ in action.members:
            del self.waiting[index]
        self.left -= len(action.members)
        self.gpus.occupy(occupied, state.tick, action.members)

    def _beside_loads(
        self, state: State, action: Start, admitted: AdmittedBatch
    ) -> tuple[GpuState, Adapters]:
        """The GPU while its loads go on beside the batch, and what the batch itself leaves there.

        Within a tick evictions come before loads, so what a load of this tick has evicted is still
        there when the batch's own evictions take place.
        """
        gpu = state.gpus[action.gpu]
        past = reversed(self._loads[gpu.index])
        loads = list(takewhile(lambda load: load.start == state.tick, past))
        if loads and admitted.resident is not gpu.resident:
            raise BrokenRuleError("section 5a: within a tick a batch evicts before loads start")
        stays = admitted.resident.union(*[load.evict for load in loads])
        taken = sum([self.waiting[j].demand[0] for j, _ in action.members])
        busy = GpuState(
            gpu.index,
            admitted.resident,
            admitted.active,
            admitted.end,
            loading=gpu.loading,
            taken=taken,
        )
        return busy, stays

    def _load(self, state: State, action: StartLoad) -> None:
        (resident, end), tick = admit_load(self.site, state, action), state.tick
        load = PlannedLoad(action.adapter, tick, action.evict)
        self._loads[action.gpu].append(load)
        gpu = replace(state.gpus[action.gpu], resident=resident)
        if end > tick:
            gpu = replace(gpu, loading=(*gpu.loading, (action.adapter, end)))
        self.gpus.load(gpu, end, load)

    def _switch(self, state: State, action: SwitchTo) -> None:
        resident, end = admit_switch(self.site, state, action)
        gpu = state.gpus[action.gpu]
        if resident - gpu.resident:  # one that only evicts takes place when the batch starts
            self._prefetched[action.gpu] = state.tick
        occupied = GpuState(action.gpu, resident, gpu.active, end, gpu.resident)
        self.gpus.occupy(occupied, state.tick, ())

    def _skip(self, state: State) -> None:
        """Note a decision without progress; a policy may not go on so for ever."""
        self._timers += 1
        self._timer_s += self._spent[-1]
        self._idle_timers = self._idle_timers + 1 if self.waiting and state.idle else 0
        if self._idle_timers > MOST_IDLE_TIMERS or self._timers > MOST_TIMERS:
            count = self._idle_timers or self._timers
            raise self._error(state, f"{self._idling()} at {count} of them in a row")
        if self._timer_s > MOST_TIMER_S:
            raise self._error(
                state,
                f"{self._idling()} at {self._timers} of them in a row, in which it "
                f"thought for over {MOST_TIMER_S:g} s",
            )

    def _idling(self) -> str:
        if self._loads:
            return "sets timers or starts loads but served nobody"
        return "sets timers but did not act"

    def _finish(self) -> None:
        """Nothing is pending: what waits is rejected, or the policy blocks for ever."""
        needed = next((job for job in self.waiting.values() if job.reject_loss is None), None)
        if needed is not None:
            raise self._error(
                self._state_now(self._tick),
                f"leaves {needed.id!r}, which must be served, waiting for ever (section 7: no "
                "event is to come and no action starts one)",
            )

    def _error(self, state: State, what: str) -> SolverError:
        now = describe(self.site, state)
        return SolverError(one_line(f"policy {self.policy!r} at tick {state.tick}: {what}; {now}"))


def _listed(answer: object) -> Sequence[object]:
    """The actions of an answer that is no list: of an endless one, just too many."""
    if not isinstance(answer, Iterable):
        raise BrokenRuleError(f"section 7: {short_repr(answer)} is no list of actions")
    return tuple(islice(answer, MOST_ACTIONS + 1))
