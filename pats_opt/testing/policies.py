"""The conformance suite of online policies, third-party ones too.

Inherit :class:`PolicyConformance` in a test module, return your policy, and pytest runs the suite,
that of :mod:`pats_opt.testing.solvers` included::

    from pats_opt.testing.policies import PolicyConformance

    class TestMine(PolicyConformance):
        def make(self):
            return MyPolicy()

It holds a policy to what PROBLEM.md section 7 asks: it breaks no rule, does not see the future,
serves every request that must be served, and does the same again under the same seed.
"""

from __future__ import annotations

import contextlib
import random
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import msgspec

from pats_opt.core.policy import Action, Decide, Policy, State
from pats_opt.core.solver import Capabilities, Kind
from pats_opt.errors import NoScheduleError
from pats_opt.model.checker import check
from pats_opt.model.instance import Instance, Request
from pats_opt.model.plan import schedule_of
from pats_opt.model.problem import Problem, Site
from pats_opt.model.schedule import SolverRef, StopReason
from pats_opt.model.timing import to_ticks
from pats_opt.simulate import simulate
from pats_opt.testing.instances import random_features, random_instance
from pats_opt.testing.solvers import SolverConformance

#: Answers of a policy, as the ticks of its decisions with the actions of each.
Answers = list[tuple[int, tuple[Action, ...]]]


def answers(instance: Instance, policy: Policy, seed: int = 0) -> Answers:
    """Return the answers of ``policy`` in a simulation, up to a hard horizon if it misses that."""
    recorded: Answers = []

    class Recorded:
        name: ClassVar[str] = policy.name
        kind: ClassVar[Kind] = policy.kind
        capabilities: ClassVar[Capabilities] = policy.capabilities

        def start(self, site: Site, seed: int) -> Decide:
            decide = policy.start(site, seed)

            def noted(state: State) -> tuple[Action, ...]:
                actions = tuple(decide(state))
                recorded.append((state.tick, actions))
                return actions

            return noted

    with contextlib.suppress(NoScheduleError):
        simulate(Problem(instance), Recorded(), seed=seed)
    return recorded


def other_future(instance: Instance, tick: int, rng: random.Random) -> Instance:
    """The instance with everything that arrives after ``tick`` drawn anew."""
    past = [r for r in instance.requests if to_ticks(r.arrival_s, instance.tick_s) <= tick]
    # In the file the future may stand before the past, and must not show there either.
    return msgspec.structs.replace(
        instance, requests=(*_future(instance, tick, rng), *past, *_future(instance, tick, rng))
    )


def _future(instance: Instance, tick: int, rng: random.Random) -> Iterator[Request]:
    known = instance.requests
    for _ in range(rng.randint(0, 3)):
        yield msgspec.structs.replace(
            rng.choice(known),
            id=f"later-{rng.getrandbits(64):x}",
            arrival_s=(tick + rng.randint(1, 8)) * instance.tick_s,
            adapter=rng.choice(instance.adapters).id,
            # Some GPU can hold it beside any adapter, as random instances are made.
            demand=rng.choice([r.demand for r in known if r.demand["vram_gib"] < 100]),
            complexity=rng.random(),
            weight=rng.random(),
            reject_loss=rng.choice((None, 1.0)),
        )


class PolicyConformance(SolverConformance):
    """Tests that every online policy has to pass. Override :meth:`make`.

    Attributes:
        busy: Fewest and most requests of the larger instances that policies are tried on.
    """

    seeds = range(40)
    busy: tuple[int, int] = (8, 25)

    @abstractmethod
    def make(self) -> Policy:
        """The policy under test."""

    def busy_instances(self, *, tight: bool = False) -> Iterator[tuple[int, Instance]]:
        """Larger random instances that use only what the policy can do, with their seeds."""
        able = self.make().capabilities.features
        for seed in self.seeds:
            drawn = random_features(random.Random(seed), among=able)  # noqa: S311 - not secret
            yield seed, random_instance(seed, drawn, requests=self.busy, tight=tight)

    # -- the suite -----------------------------------------------------------------------------

    def test_is_online(self) -> None:
        """A policy says that it is online."""
        assert self.make().kind is Kind.ONLINE

    def test_serves_all(self) -> None:
        """With time enough, every request that must be served is, by a valid schedule."""
        for seed, instance in self.busy_instances():
            problem = Problem(instance)
            done = simulate(problem, self.make(), seed=seed)
            assert done.stop is StopReason.COMPLETE
            verdict = check(problem, schedule_of(problem, done.plan, SolverRef(name="policy")))
            assert verdict.ok, (seed, verdict.violations)

    def test_keeps_the_rules_at_a_tight_horizon(self) -> None:
        """Where time runs out a policy may fail to serve, but it breaks no rule and never hangs."""
        for seed, instance in self.busy_instances(tight=True):
            problem = Problem(instance)
            try:
                done = simulate(problem, self.make(), seed=seed)
            except NoScheduleError:
                continue
            verdict = check(problem, schedule_of(problem, done.plan, SolverRef(name="policy")))
            assert verdict.ok, (seed, verdict.violations)

    def test_does_not_see_the_future(self) -> None:
        """Two instances that differ only after a tick get the same answers up to it."""
        for seed, instance in self.busy_instances():
            rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
            ticks = sorted({job.arrival for job in Problem(instance).jobs})
            tick = rng.choice(ticks)
            end = instance.horizon_ticks
            if end is not None:
                end += 200  # leaves room for any future
            # A last request far off in both keeps both runs going past the tick.
            last = msgspec.structs.replace(
                min(instance.requests, key=lambda r: r.demand["vram_gib"]),
                id="last",
                arrival_s=(max(ticks) + 100) * instance.tick_s,
            )
            one = msgspec.structs.replace(
                instance, requests=(*instance.requests, last), horizon_ticks=end
            )
            other = other_future(one, tick, rng)
            other = msgspec.structs.replace(other, requests=(*other.requests, last))
            pair = [
                [answer for answer in answers(each, self.make(), seed) if answer[0] <= tick]
                for each in (one, other)
            ]
            assert pair[0] == pair[1], (seed, tick)

    def test_same_seed_same_answers(self) -> None:
        """A seed fixes every answer, also when one policy object runs again."""
        for seed, instance in self.busy_instances():
            again = self.make()
            runs = [answers(instance, policy, seed) for policy in (self.make(), again, again)]
            assert runs[0] == runs[1] == runs[2], seed
