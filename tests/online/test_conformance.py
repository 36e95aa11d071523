"""The policy conformance suite on the built-in policies, and on policies that it must catch."""

from __future__ import annotations

import re
from typing import ClassVar

import msgspec
import pytest

from pats_opt.core.policy import Action, Decide, GpuState, Policy, Start, State
from pats_opt.core.registry import make
from pats_opt.core.solver import Capabilities, Kind, Solver
from pats_opt.errors import SolverError
from pats_opt.model.problem import Site
from pats_opt.testing.policies import PolicyConformance
from tests.support import scale
from tests.support.policies import policy_names

#: Variants that go through the suite besides every policy with its defaults.
VARIANTS = (
    "fifo:option=fewest",
    "fifo:max_wait_s=3:adaptive_wait=true:eviction=lfu",
    "pats:gamma=0:use_cosine=false:prune=false:followers=false",
    "pats:max_wait_s=0",
    "exhaustive:route=cyclic:option=pruned:max_wait_s=5",
    "exhaustive:route=cheapest:option=priced:eviction=cost",
    "gated:route=longest:option=most:max_wait_s=2:adaptive_wait=true",
    "k-limited:limit=1:route=longest:eviction=polar",
    "k-limited:limit=3:route=oldest",
    "amortized:quantum=4:demand=0:balance=0:route=cyclic:max_wait_s=9:adaptive_wait=true",
    "cost-aware:newest=1:power=2:max_wait_s=4",
    "family-index:memory_s=2:eviction=cost",
    "patient:patience=8:likely=0:memory_s=1000",
    "patient:patience=3:likely=0.1:max_wait_s=4:eviction=polar",
    "polar:epoch=2:doubling=true:width=5",
    "polar:epoch=3:bonus=0:ridge=0.1:max_wait_s=3:eviction=lfu",
    "fcfs-grouped:option=fewest:eviction=cost",
    "fcfs-grouped:max_wait_s=2",
    "affinity:option=pruned:max_wait_s=4",
    "affinity:eviction=ghost:max_wait_s=3:adaptive_wait=true",
    "batch-completion:option=priced:max_wait_s=2",
    "vllm-lora:option=most:eviction=lfu",
    "vllm-lora:max_wait_s=1:adaptive_wait=true",
    "srpt:option=fewest:max_wait_s=3",
    "edd:option=pruned:eviction=lfu",
    "mdd:option=most:max_wait_s=2:adaptive_wait=true",
    "atcs:k1=0.5:k2=0.1:option=priced:eviction=cost",
    "price-index:forecast=2:memory=3:max_wait_s=6",
    "credits:call=1:keep=0",
    "credits:call=2.5:keep=1:option=fewest:max_wait_s=2",
    *(
        f"{name}:batching={rule}"
        for name in ("clipper:level=throughput", "nirvana", "proteus", "prompt-aware")
        for rule in ("accscale", "nexus", "aimd", "switched")
    ),
    "prompt-aware:predictor=tolerance:rho=0.5:window=3:period=1:window_s=0.5:slo_s=4",
    "prompt-aware:awareness=off:up=0:sizes=powers:drop=false:max_wait_s=3",
    "proteus:headroom=3:period=1:prefetch=ahead:eviction=lfu:largest_batch=2:share=1",
    "clipper:slo_s=1:prefetch=next:max_wait_s=2:adaptive_wait=true",
    *(f"{name}:prefetch=next" for name in ("fifo", "patient", "credits", "polar", "price-index")),
    *(f"{name}:prefetch=ahead" for name in ("pats", "gated", "cost-aware", "vllm-lora")),
    "batch-completion:prefetch=ahead:max_wait_s=2:eviction=cost",
    "price-index:prefetch=ahead:forecast=2:max_wait_s=6:adaptive_wait=true",
    "fifo:dispatch=round-robin",
    "pats:dispatch=join-shortest-queue:steal=true",
    "price-index:dispatch=power-of-two",
    "exhaustive:dispatch=least-work:steal=true:rebalance=true",
    "affinity:dispatch=earliest-completion:rebalance=true:prefetch=ahead",
    "patient:dispatch=hash:steal=true",
    "cost-aware:dispatch=bounded-hash:max_wait_s=3:adaptive_wait=true",
    "atcs:dispatch=dualmap:steal=true:rebalance=true:prefetch=next",
    "polar:dispatch=hash:rebalance=true",
)


def suite_of(spec: str) -> type[PolicyConformance]:
    """The suite on one policy."""

    class Suite(PolicyConformance):
        seeds = scale.seeds(40 if ":" not in spec else 15)

        def make(self) -> Policy:
            """The policy."""
            made = make(spec)
            assert not isinstance(made, Solver)
            return made

    return Suite


for _spec in (*policy_names(), *VARIANTS):
    globals()["Test_" + re.sub(r"\W", "_", _spec)] = suite_of(_spec)


class One(msgspec.Struct, frozen=True):
    """Serves the earliest request alone on the first GPU; the base of policies that go wrong."""

    name: ClassVar[str] = "one"
    kind: ClassVar[Kind] = Kind.ONLINE
    capabilities: ClassVar[Capabilities] = Capabilities(frozenset())

    def start(self, site: Site, seed: int) -> Decide:  # noqa: ARG002
        """No memory."""

        def decide(state: State) -> list[Action]:
            gpu = state.gpus[0]
            if gpu.free_at > state.tick or not state.waiting:
                return []
            return [self.serve(state, gpu)]

        return decide

    def serve(self, state: State, gpu: GpuState) -> Start:
        """The batch it starts."""
        job = next(iter(state.waiting.values()))
        return Start(gpu.index, ((job.index, 0),), frozenset((job.adapter,)))


class FileOrder(One, frozen=True):
    """Serves by place in the file, where a later request may stand before an earlier one."""

    def serve(self, state: State, gpu: GpuState) -> Start:
        """The batch it starts."""
        job = sorted(state.waiting.values(), key=lambda job: job.position % 3)[0]
        return Start(gpu.index, ((job.index, 0),), frozenset((job.adapter,)))


class Forgetful(One, frozen=True):
    """Keeps its memory between runs."""

    def start(self, site: Site, seed: int) -> Decide:
        """Every second run differs."""
        SEEN.append(seed)
        inner = One.start(self, site, seed)
        return inner if len(SEEN) % 2 else lambda state: list(inner(state))[: state.tick]


SEEN: list[int] = []


class Picky(One, frozen=True):
    """Never serves the first request of all."""

    def start(self, site: Site, seed: int) -> Decide:
        """Waits while the first request does."""
        inner = One.start(self, site, seed)
        return lambda state: [] if 0 in state.waiting else inner(state)


def suite(policy: type[One]) -> PolicyConformance:
    class Suite(PolicyConformance):
        seeds = scale.seeds(30)

        def make(self) -> Policy:
            """The policy."""
            return policy()

    return Suite()


def test_one_conforms() -> None:
    """The base of the policies below does nothing wrong, so what they do is what is caught."""
    sound = suite(One)
    sound.test_serves_all()
    sound.test_does_not_see_the_future()
    sound.test_same_seed_same_answers()


def test_a_look_at_the_file_is_caught() -> None:
    with pytest.raises(AssertionError):
        suite(FileOrder).test_does_not_see_the_future()


def test_memory_kept_between_runs_is_caught() -> None:
    SEEN.clear()
    with pytest.raises((AssertionError, SolverError)):
        suite(Forgetful).test_same_seed_same_answers()


def test_a_request_left_waiting_is_caught() -> None:
    with pytest.raises(SolverError, match="waiting for ever"):
        suite(Picky).test_serves_all()
