"""Properties of the simulator over random instances and random, rule-abiding policies."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.core.policy import Action, Policy, Start, State, SwitchTo, WakeAt
from pats_opt.core.registry import make
from pats_opt.core.solver import ALL_FEATURES, Feature, Solver
from pats_opt.errors import NoScheduleError, SolverError
from pats_opt.model.checker import check
from pats_opt.model.instance import Instance
from pats_opt.model.plan import schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import SolverRef
from pats_opt.model.timing import to_ticks
from pats_opt.simulate import policy_run, simulate
from pats_opt.simulate.rules import BrokenRuleError, admit_start, admit_switch
from pats_opt.testing.instances import random_features, random_instance
from pats_opt.testing.policies import answers, other_future
from tests.simulate.scripted import Scripted

seeds = st.integers(0, 10**9)


def rambling(problem: Problem, seed: int) -> Callable[[State], Iterable[Action]]:
    """A policy that does anything the rules allow: prefetches, timers, odd batches and waits.

    It tries random actions and keeps those that the rules admit, one a GPU, and serves the earliest
    request it can where it has prefetched or dawdled for long.
    """
    rng, site = random.Random(seed), problem.site
    adapters = range(len(site.adapter_ids))

    def residents() -> frozenset[int]:
        return frozenset(rng.sample(adapters, rng.randint(0, min(len(adapters), 3))))

    def decide(state: State) -> list[Action]:
        actions: list[Action] = [WakeAt(state.tick + rng.randint(1, 3))] if state.waiting else []
        waiting = dict(state.waiting)
        for gpu in state.idle:
            for patience in range(30):
                serve = patience > 5 or rng.random() < 0.7
                some = rng.sample(sorted(waiting), min(len(waiting), rng.randint(1, 3)))
                members = tuple((j, rng.randrange(len(waiting[j].options))) for j in some)
                action = Start(gpu.index, members, residents())
                ahead = SwitchTo(gpu.index, residents())
                # A prefetch could strand the GPU, so one only for what waits and fits alone.
                wanted = any(
                    site.fits(gpu.index, ahead.resident, (job,)) for job in waiting.values()
                )
                try:
                    if serve:
                        admit_start(site, state, action)
                    elif wanted:
                        admit_switch(site, state, ahead)
                    else:
                        continue
                except BrokenRuleError:
                    continue
                actions.append(action if serve else ahead)
                for j in some if serve else ():
                    del waiting[j]
                break
        return actions

    return decide


@given(seed=seeds, tight=st.booleans())
def test_whatever_the_rules_admit_is_a_valid_schedule(seed: int, tight: bool) -> None:
    """The independent checker accepts whatever the simulator accepts, prefetches too."""
    problem = Problem(random_instance(seed, requests=(1, 8), tight=tight))
    try:
        with mock.patch.object(policy_run, "MOST_IDLE_TIMERS", 100):
            done = simulate(problem, Scripted(rambling(problem, seed)))
    except NoScheduleError:
        return
    except SolverError as error:
        # Its own prefetch may strand a GPU; nothing else that it does may be wrong.
        if "sets timers but did not act" not in str(error):
            raise
        return
    verdict = check(problem, schedule_of(problem, done.plan, SolverRef(name="rambling")))
    assert verdict.ok, verdict.violations


def ticks_of(instance: Instance) -> list[int]:
    return sorted({to_ticks(r.arrival_s, instance.tick_s) for r in instance.requests})


@pytest.mark.parametrize("spec", ["pats", "fifo", "pats:gamma=3:threshold=0.9"])
@given(seed=seeds)
def test_the_past_does_not_depend_on_the_future(spec: str, seed: int) -> None:
    """Cutting off everything after a tick changes no answer up to it, horizon and all."""
    instance = random_instance(seed, requests=(2, 12), tight=bool(seed % 2))
    tick = random.Random(seed).choice(ticks_of(instance))
    policy = make(spec)
    assert not isinstance(policy, Solver)
    past = tuple(r for r in instance.requests if to_ticks(r.arrival_s, instance.tick_s) <= tick)
    cut = msgspec.structs.replace(instance, requests=past)
    told = _up_to(tick, cut, policy), _up_to(tick, instance, policy)
    # Once all that is left is served the shorter run ends, so it may have fewer answers.
    assert told[0] == told[1][: len(told[0])]
    assert all(not actions for _, actions in told[1][len(told[0]) :])


@given(seed=seeds)
def test_another_future_keeps_the_past(seed: int) -> None:
    """Instances that the conformance suite compares have the same past, and can be served."""
    among = ALL_FEATURES - {Feature.HORIZON}
    drawn = random_features(random.Random(seed), among=among)
    instance = random_instance(seed, drawn, requests=(3, 10))
    tick = ticks_of(instance)[0]
    other = other_future(instance, tick, random.Random(seed))
    past = [
        [r for r in each.requests if to_ticks(r.arrival_s, each.tick_s) <= tick]
        for each in (instance, other)
    ]
    assert past[0] == past[1]
    assert all(job.reject_loss is not None for job, _ in Problem(other).unservable())


def _up_to(tick: int, instance: Instance, policy: Policy) -> list[tuple[int, tuple[Action, ...]]]:
    return [answer for answer in answers(instance, policy) if answer[0] <= tick]
