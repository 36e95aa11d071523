"""Dispatch: requests bound to GPUs on arrival, by rules that are restated in plain words."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from pats_opt.core.policy import Action, Decide, Policy, Start, State
from pats_opt.core.registry import make
from pats_opt.core.solver import ALL_FEATURES, Capabilities, Feature, Kind, Solver
from pats_opt.errors import InputError
from pats_opt.model.problem import Job, Problem, Site
from pats_opt.simulate import simulate
from pats_opt.testing.instances import random_features, random_instance
from pats_opt.testing.policies import answers
from pats_solvers.online.dispatch.rules import ROUTERS
from tests.online.plain_dispatch import PlainGpu, allowed
from tests.simulate.scripted import problem_of
from tests.support import scale
from tests.support.policies import policy_names
from tests.support.zoo import adapter, document, gpu, request

RULES = tuple(ROUTERS)


def policy(spec: str) -> Policy:
    """A policy of a specification."""
    made = make(spec)
    assert not isinstance(made, Solver)
    return made


class Watched:
    """A policy whose states and answers are written down."""

    name: ClassVar[str] = "watched"
    kind: ClassVar[Kind] = Kind.ONLINE
    capabilities: ClassVar[Capabilities] = Capabilities(ALL_FEATURES)

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.seen: list[tuple[State, list[int], list[Action]]] = []

    def start(self, site: Site, seed: int) -> Decide:
        """The policy's decisions, with the waiting jobs of each."""
        decide = self.policy.start(site, seed)

        def noted(state: State) -> list[Action]:
            waiting, actions = list(state.waiting), list(decide(state))
            self.seen.append((state, waiting, actions))
            return actions

        return noted


def fleet(seed: int, count: int = 40) -> dict[str, Any]:
    """A random fleet, its GPUs of two sizes, with several adapters; what must be served."""
    rng = random.Random(seed)
    adapters = [
        {"id": f"lora-{a}", "vram_gib": 0.5, "load_s": rng.choice((0.0, 1.0, 2.0, 4.0))}
        for a in range(rng.randint(2, 6))
    ]
    gpus = [gpu(f"gpu-{g}", (), vram_gib=rng.choice((12.0, 12.0, 5.0))) for g in range(4)]
    gpus = [*gpus, gpu("large", (), vram_gib=12.0)][-rng.randint(2, 5) :]
    requests = [
        request(
            f"r{r}",
            arrival_s=rng.randint(0, 4 * count // len(gpus)) // 2,
            adapter=rng.choice(adapters)["id"],
            demand={"vram_gib": rng.choice((2.0, 3.0, 3.0, 8.0))},
            options=[
                {"steps": steps, "quality": 0.1 * steps} for steps in rng.sample(range(1, 6), 2)
            ],
            **({"deadline_s": rng.randint(4, 20)} if rng.random() < 0.5 else {}),
        )
        for r in range(count)
    ]
    return document(
        *requests,
        adapters=adapters,
        gpus=gpus,
        service={"kind": "steps", "step_s": {"base": 1.0, "per_sample": rng.choice((0.0, 0.5))}},
        switching={"max_resident": rng.randint(1, 3)},
    )


def bindings(
    problem: Problem, spec: str, seed: int = 0
) -> Iterator[tuple[list[PlainGpu], Job, int]]:
    """Every job with the GPUs as it found them, and the one that served it."""
    watched = Watched(policy(spec))
    simulate(problem, watched, seed=seed)
    site = problem.site
    served = {
        index: action.gpu
        for _, _, actions in watched.seen
        for action in actions
        if isinstance(action, Start)
        for index, _ in action.members
    }
    members = [0] * len(site.gpus)
    for state, waiting, actions in watched.seen:
        for job in state.arrived:
            gpus = [
                PlainGpu(
                    gpu.index,
                    site.gpus[gpu.index].id,
                    [problem.jobs[j] for j in waiting if j < job.index and served[j] == gpu.index],
                    members[gpu.index] if gpu.free_at > state.tick else 0,
                    max(0, gpu.free_at - state.tick) * site.tick_s,
                    gpu.resident,
                )
                for gpu in state.gpus
            ]
            yield gpus, job, served[job.index]
        for action in actions:
            if isinstance(action, Start):
                members[action.gpu] = len(action.members)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_the_plain_one(rule: str) -> None:
    """Each job is served where the rule, stated in plain words, binds it."""
    for seed in scale.seeds(30):
        problem, last = problem_of(fleet(seed)), -1
        name = ("fifo", "affinity", "exhaustive")[seed % 3]
        for gpus, job, chosen in bindings(problem, f"{name}:dispatch={rule}", seed):
            hosts = [gpus[g] for g in problem.hosts(job)]
            assert chosen in allowed(rule, problem.site, hosts, job, last), (seed, job.id)
            last = chosen


def test_random_rules_use_their_seed() -> None:
    """Two seeds give two bindings; the same one gives the same."""
    problem = problem_of(fleet(3))
    chosen = [
        [g for _, _, g in bindings(problem, "fifo:dispatch=power-of-two", seed)]
        for seed in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]


@pytest.mark.parametrize("name", list(policy_names()))
def test_with_one_gpu_every_rule_is_the_central_queue(name: str) -> None:
    """Every answer is the same, with all features and at tight horizons."""
    for seed in scale.seeds(24):
        rng = random.Random(seed)
        among = ALL_FEATURES - {Feature.GPUS} | {Feature.OVERLAP}
        features = random_features(rng, among=among)
        instance = random_instance(seed, features, requests=(6, 20), tight=seed % 3 == 0)
        central = f"{name}:prefetch={rng.choice(('none', 'next', 'ahead'))}:max_wait_s=4"
        bound = f"{central}:dispatch={RULES[seed % len(RULES)]}"
        bound += rng.choice(("", ":steal=true", ":steal=true:rebalance=true"))
        expected = answers(instance, policy(central), seed)
        assert answers(instance, policy(bound), seed) == expected, (seed, bound)


@pytest.mark.parametrize("rule", RULES)
def test_a_policy_sees_only_its_own(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each GPU's policy has one GPU of index 0, and jobs that no other one has."""
    from pats_solvers.online.decider import Decider

    seen: dict[int, set[int]] = {}
    ask = Decider.__call__

    def watched(self: Decider[Any], state: State) -> list[Action]:
        assert [gpu.index for gpu in state.gpus] == [0]
        assert list(state.waiting) == sorted(state.waiting)
        assert {job.index for job in state.arrived} <= set(state.waiting)
        seen.setdefault(id(self), set()).update(state.waiting)
        return ask(self, state)

    monkeypatch.setattr(Decider, "__call__", watched)
    for seed in scale.seeds(12):
        seen.clear()
        problem = problem_of(fleet(seed))
        simulate(problem, policy(f"affinity:dispatch={rule}"), seed=seed)
        assert sorted(j for jobs in seen.values() for j in jobs) == list(range(len(problem.jobs)))


def test_only_those_concerned_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arrival or a batch's end is news for its own GPU, and for no other one."""
    from pats_solvers.online.decider import Decider

    asked: list[int] = []
    ask = Decider.__call__

    def watched(self: Decider[Any], state: State) -> list[Action]:
        asked.append(id(self))
        return ask(self, state)

    monkeypatch.setattr(Decider, "__call__", watched)
    gpus = [gpu(f"gpu-{g}") for g in range(8)]
    requests = [request(f"r{r}", 5, arrival_s=3.0 * r) for r in range(40)]
    problem = problem_of(document(*requests, gpus=gpus))
    done = simulate(problem, policy("fifo:dispatch=round-robin"))
    assert len(asked) == done.events == 78  # it is over when the last two run
    assert len(set(asked)) == 8


def test_the_end_of_a_load_is_news_beside_others() -> None:
    """A load that ends at the very next event, together with an arrival elsewhere."""
    made = document(
        request("r0", adapter="b"),
        request("r1", arrival_s=2.0),
        adapters=[adapter("a"), adapter("b", 2.0)],
        gpus=[gpu("one"), gpu("two")],
        switching={"max_resident": 2, "overlap": {"channels": 1}},
    )
    plan = simulate(problem_of(made), policy("fifo:dispatch=round-robin")).plan
    assert plan is not None
    assert [[batch.start for batch in batches] for batches in plan.gpus] == [[2], [2]]


def test_a_site_with_one_gpu_is_that_gpu() -> None:
    """Room, residents and switches are those of the GPU in the fleet."""
    for seed in scale.seeds(20):
        site = problem_of(fleet(seed)).site
        for g, there in enumerate(site.gpus):
            alone = site.alone(g)
            (found,) = alone.gpus
            assert (found.index, found.id, found.resident) == (0, there.id, there.resident)
            for a in range(len(site.adapter_ids)):
                held = frozenset((a,))
                assert alone.room(0, held) == site.room(g, held)
                assert alone.load_seconds(a, held) == site.load_seconds(a, held)
        assert len(site.gpus) > 1


def test_an_unknown_rule_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"choose one of: least-work$"):
        make("fifo:dispatch=least-wrok")


def mean_latency(problem: Problem, spec: str, seed: int) -> float:
    """Mean ticks from arrival to completion, of jobs served alone."""
    plan = simulate(problem, policy(spec), seed=seed).plan
    assert plan is not None
    total = 0
    for batches in plan.gpus:
        for batch in batches:
            ((index, option),) = batch.members
            job = problem.jobs[index]
            total += batch.start + job.options[option].steps - job.arrival
    return total / len(problem.jobs)


def queueing(seed: int, load: float, count: int = 400, servers: int = 4) -> Problem:
    """Poisson arrivals of requests with exponential work to servers that are all alike."""
    rng, at, requests = random.Random(seed), 0.0, []
    for r in range(count):
        at += rng.expovariate(load * servers / 20.0)
        steps = max(1, round(rng.expovariate(1 / 20.0)))
        requests.append(request(f"r{r}", steps, arrival_s=round(at), demand={"vram_gib": 8.0}))
    return problem_of(document(*requests, gpus=[gpu(f"gpu-{g}") for g in range(servers)]))


def test_queueing_laws_hold_on_average() -> None:
    """The order of mean latencies that theory gives for servers that are alike."""
    rules = ("central", "least-work", "join-shortest-queue", "power-of-two", "round-robin", "hash")
    means = dict.fromkeys(rules, 0.0)
    for seed in scale.seeds(15):
        problem = queueing(seed, 0.8)
        for rule in rules:
            means[rule] += mean_latency(problem, f"fifo:dispatch={rule}", seed)
    # In this order: Winston (1977) for the shortest queue, Mitzenmacher (2001) for two choices.
    assert means["central"] <= means["join-shortest-queue"] < means["round-robin"]
    assert means["join-shortest-queue"] < means["power-of-two"]
    assert means["round-robin"] < means["hash"]  # one adapter, so one GPU has all
    # First come first served in one queue is the same as least work (Kiefer and Wolfowitz).
    assert means["least-work"] == means["central"]


@pytest.mark.parametrize("rule", ["hash", "bounded-hash"])
def test_hashing_keeps_adapters_at_home(rule: str) -> None:
    """With hash a GPU serves an adapter or never does; bounds let go of some."""
    homes: dict[tuple[int, tuple[int, ...]], set[int]] = {}
    for seed in scale.seeds(20):
        problem = problem_of(fleet(seed))
        homes.clear()
        for _, job, chosen in bindings(problem, f"fifo:dispatch={rule}"):
            homes.setdefault((job.adapter, tuple(problem.hosts(job))), set()).add(chosen)
        if rule == "hash":
            assert all(len(gpus) == 1 for gpus in homes.values())
        elif any(len(gpus) > 1 for gpus in homes.values()):
            return
    assert rule == "hash"
