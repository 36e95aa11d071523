"""``belady`` and its paging: against every sequence of residents, and against the policy."""

from __future__ import annotations

import random
from itertools import combinations
from math import inf
from typing import Any

import pytest

from pats_opt.core.registry import make
from pats_opt.core.solver import Feature, Run, Solver
from pats_opt.errors import InputError
from pats_opt.model.checker import check, valid_loss
from pats_opt.model.instance import Instance
from pats_opt.model.plan import schedule_of
from pats_opt.model.problem import Adapters, Problem, Site
from pats_opt.model.schedule import SolverRef
from pats_opt.simulate import simulate
from pats_opt.solving.solve import runnable, solve
from pats_opt.testing.instances import random_features, random_instance
from pats_solvers.belady import Belady
from pats_solvers.paging import AdapterUse, cheapest, furthest, seconds_and_loads
from tests.simulate.scripted import problem_of
from tests.support import scale
from tests.support.zoo import adapter, document, gpu, request


def sequence(letters: str, **others: Any) -> Problem:
    """One request a letter, one second apart; a GPU serves one at a time and holds 10 GiB."""
    requests = [
        request(f"r{i}", adapter=a, arrival_s=float(i), demand={"vram_gib": 1.0, "batch": 1.0})
        for i, a in enumerate(letters)
    ]
    settings = {
        "adapters": [adapter(a, load_s=1.0) for a in "abcdef"],
        "gpus": [gpu(resident=(), batch=1.0)],
        **others,
    }
    return problem_of(document(*requests, **settings))


def uses_of(problem: Problem) -> list[AdapterUse]:
    return [AdapterUse((job,), frozenset((job.adapter,))) for job in problem.jobs]


def least(site: Site, uses: list[AdapterUse]) -> tuple[float, int]:
    """The fewest seconds of switching, then loads, over all sequences of residents there are."""
    everyone = range(len(site.adapter_ids))
    sets = [
        frozenset(chosen)
        for size in range(site.max_resident + 1)
        for chosen in combinations(everyone, size)
    ]
    known: dict[Adapters, tuple[float, int]] = {site.gpus[0].resident: (0.0, 0)}
    previous: Adapters | None = None
    for use in uses:
        new: dict[Adapters, tuple[float, int]] = {}
        for after in sets:
            if use.active <= after and site.fits(0, after, use.jobs):
                switches = (
                    (site.switch(before, after, use.active, previous), cost)
                    for before, cost in known.items()
                )
                costs = ((c + s.seconds, n + len(s.load)) for s, (c, n) in switches)
                new[after] = min(costs, default=(inf, 0))
        known, previous = new, use.active
    return min(known.values())


def drawn(rng: random.Random, *, equal_load: bool, equal_size: bool, count: int = 9) -> Problem:
    """A random sequence over five adapters, with residents, activation and requests of any size."""
    resident = tuple(rng.sample("abcde", rng.randint(0, 2)))
    load, size = rng.choice((1.0, 2.5)), rng.choice((0.0, 2.0))
    adapters = [
        adapter(
            a,
            load_s=load if equal_load else rng.choice((0.0, 0.3, 1.0, 2.5, 4.0)),
            vram_gib=size if equal_size else rng.choice((0.0, 1.0, 2.0, 3.0)),
        )
        for a in "abcde"
    ]
    requests = [
        request(
            f"r{i}",
            adapter=rng.choice("abcde"),
            arrival_s=float(i),
            demand={"vram_gib": rng.choice((1.0, 4.0, 6.0)), "batch": 1.0},
        )
        for i in range(count)
    ]
    switching = {"max_resident": rng.randint(2, 4), "activate_s": rng.choice((0.0, 0.0, 0.5))}
    gpus = [gpu(resident=resident, batch=1.0)]
    return problem_of(document(*requests, adapters=adapters, switching=switching, gpus=gpus))


def test_the_furthest_next_use_goes() -> None:
    """Two slots: at c, a is next used at 3 and b at 4, so b goes; lru would let a go."""
    problem = sequence("abcab", switching={"max_resident": 2})
    found = furthest(problem.site, 0, uses_of(problem))
    assert [set(r) for r in found] == [{0}, {0, 1}, {0, 2}, {0, 2}, {0, 1}]
    assert seconds_and_loads(problem.site, 0, uses_of(problem), found) == (4.0, 4)


def test_what_is_dear_to_load_stays() -> None:
    """Keeping b (5 s) through c and d beats keeping a, whose next use is nearer but costs 1 s."""
    adapters = [adapter(a, load_s=s) for a, s in zip("abcd", (1.0, 5.0, 1.0, 1.0), strict=True)]
    problem = sequence("abcadb", adapters=adapters, switching={"max_resident": 2})
    uses = uses_of(problem)
    exact = cheapest(problem.site, 0, uses)
    assert exact is not None
    assert seconds_and_loads(problem.site, 0, uses, exact) == (9.0, 5)
    assert seconds_and_loads(problem.site, 0, uses, furthest(problem.site, 0, uses))[0] == 13.0


@pytest.mark.parametrize("seed", scale.seeds(150))
def test_the_flow_is_the_optimum(seed: int) -> None:
    """Of all sequences of residents none costs less, whatever loads, sizes and room there are."""
    rng = random.Random(seed)
    problem = drawn(rng, equal_load=seed % 3 == 0, equal_size=seed % 5 != 0)
    site, uses = problem.site, uses_of(problem)
    exact = cheapest(site, 0, uses)
    if exact is None:
        assert len(set(site.adapter_vram)) > 1, "equal sizes are always exact"
        return
    assert all(site.fits(0, r, u.jobs) for r, u in zip(exact, uses, strict=True))
    seconds, loads = seconds_and_loads(site, 0, uses, exact)
    best = least(site, uses)
    assert seconds == pytest.approx(best[0], abs=1e-9)
    assert loads == best[1]


def test_most_draws_are_exact() -> None:
    """The test above compares, it does not only skip."""
    problems = [
        drawn(random.Random(seed), equal_load=seed % 3 == 0, equal_size=seed % 5 != 0)
        for seed in scale.seeds(150)
    ]
    exact = [cheapest(p.site, 0, uses_of(p)) is not None for p in problems]
    assert 0.8 * len(problems) <= sum(exact) < len(problems)


@pytest.mark.parametrize("seed", scale.seeds(60))
def test_furthest_next_use_is_optimal_where_all_are_alike(seed: int) -> None:
    """Belady's theorem: equal loads, equal sizes, no activation, and room that does not vary."""
    rng = random.Random(seed)
    letters = "".join(rng.choice("abcde") for _ in range(10))
    problem = sequence(letters, switching={"max_resident": rng.randint(2, 4)})
    site, uses = problem.site, uses_of(problem)
    found = seconds_and_loads(site, 0, uses, furthest(site, 0, uses))
    assert found[1] == least(site, uses)[1]


def played(problem: Problem, policy: str, seed: int = 0) -> tuple[float, Any]:
    """The policy's loss, and what ``belady`` makes of it."""
    own = runnable(policy).solve(problem, Run(seed=seed))
    assert own.plan is not None
    loss = valid_loss(problem, own.plan)
    assert loss is not None
    outcome = Belady(policy=policy).solve(problem, Run(seed=seed))
    assert outcome.plan is not None
    verdict = check(problem, schedule_of(problem, outcome.plan, SolverRef(name="belady")))
    assert verdict.ok, verdict.violations
    return loss, (outcome, verdict)


def able(seed: int) -> Instance:
    """A random instance with several residents and any other features."""
    rng = random.Random(seed)
    features = random_features(rng) - {Feature.PAIRS, Feature.HORIZON} | {Feature.RESIDENT}
    return random_instance(seed, features, requests=(8, 25))


@pytest.mark.parametrize("policy", ["fifo", "exhaustive:eviction=cost", "k-limited:limit=1"])
@pytest.mark.parametrize("seed", scale.seeds(25))
def test_never_worse_than_the_policy(seed: int, policy: str) -> None:
    """Neither the loss nor the seconds of switching are above the policy's; the members stay."""
    problem = Problem(able(seed))
    loss, (outcome, verdict) = played(problem, policy)
    assert verdict.loss <= loss + 1e-9
    assert outcome.details["switching_s"]["hindsight"] <= outcome.details["switching_s"]["policy"]
    own = simulate(problem, make(policy)).plan  # type: ignore[arg-type]
    assert own is not None
    for mine, theirs in zip(outcome.plan.gpus, own.gpus, strict=True):
        assert [b.members for b in mine] == [b.members for b in theirs]
        assert all(b.start <= c.start for b, c in zip(mine, theirs, strict=True)) or (
            outcome.details["kept"] == "hindsight"
        )


@pytest.mark.parametrize("policy", ["fifo", "fifo:eviction=lfu", "polar", "exhaustive"])
@pytest.mark.parametrize("slots", [2, 3])
def test_never_more_loads_where_all_are_alike(policy: str, slots: int) -> None:
    """Equal sizes and loads, 300 requests: hindsight loads less, and the plan says what is told."""
    rng = random.Random(slots)
    letters = "".join(rng.choices("abcdef", (6, 5, 4, 3, 2, 1), k=300))
    problem = sequence(letters, switching={"max_resident": slots})
    _, (outcome, verdict) = played(problem, policy)
    loads = outcome.details["loads"]
    assert loads["hindsight"] < loads["policy"]
    assert outcome.details["optimal"]
    assert verdict.terms is not None
    kept = outcome.details["switching_s"][outcome.details["kept"]]
    assert verdict.terms.switching == pytest.approx(kept)


def test_batches_start_as_early_as_they_can() -> None:
    """One resident, so nothing to decide; but the load for b is over when b arrives at 9."""
    first, second = (request(f"r{i}", adapter="ab"[i], arrival_s=9.0 * i) for i in range(2))
    problem = problem_of(document(first, second, adapters=[adapter(a, load_s=2.0) for a in "ab"]))
    own = runnable("fifo").solve(problem, Run()).plan
    found = Belady(policy="fifo").solve(problem, Run()).plan
    assert own is not None
    assert found is not None
    assert [b.start for b in own.gpus[0]] == [0, 11]
    assert [b.start for b in found.gpus[0]] == [0, 9]


def test_several_gpus_page_apart() -> None:
    """Each GPU keeps to its own sequence."""
    problem = sequence(
        "abcabcabcabc",
        gpus=[gpu("g0", (), batch=1.0), gpu("g1", (), batch=1.0)],
        switching={"max_resident": 2},
    )
    loss, (_, verdict) = played(problem, "fifo")
    assert verdict.loss <= loss


def test_parameters_of_the_policy_come_after_commas() -> None:
    problem = sequence("abcab", switching={"max_resident": 2})
    spec = "belady:policy=exhaustive,route=cyclic,eviction=lfu"
    plain = Belady(policy="exhaustive:route=cyclic:eviction=lfu")
    assert solve(problem, spec).loss == solve(problem, plain).loss


@pytest.mark.parametrize("policy", ["auto", "belady", "fifi", "fifo:speed=1"])
def test_what_is_no_policy_is_refused(policy: str) -> None:
    problem = sequence("ab")
    with pytest.raises(InputError):
        Belady(policy=policy).solve(problem, Run())


def test_it_is_a_solver() -> None:
    assert isinstance(make("belady"), Solver)
