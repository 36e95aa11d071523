"""Moves of waiting requests between GPUs, and queues that jobs join out of order."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.core.policy import Action, GpuState, Start, State
from pats_opt.model.problem import Job, Problem
from pats_opt.simulate import simulate
from pats_solvers.online.common.context import RunContext, RunSetup
from pats_solvers.online.common.eviction import eviction
from pats_solvers.online.common.kinds import Kinds
from pats_solvers.online.common.options import best_quality
from pats_solvers.online.common.queue import WaitingJobs
from pats_solvers.online.dispatch.fleet import BoundFleet
from pats_solvers.online.dispatch.local_run import LocalRun
from pats_solvers.online.dispatch.moving import Rebalancing, steal
from pats_solvers.online.dispatch.rules import ROUTERS
from pats_solvers.online.dispatch.workload import Workload
from tests.online import plain_dispatch as plain
from tests.online.test_dispatch import RULES, Watched, fleet, policy
from tests.simulate.scripted import problem_of
from tests.support import scale
from tests.support.zoo import adapter, document, gpu, request


class Silent:
    """A policy of one GPU that does nothing but note what it sees."""

    def __init__(self, committed: Sequence[int] = ()) -> None:
        self.states: list[tuple[list[int], list[int], list[int]]] = []
        self._committed = frozenset(committed)

    def __call__(self, state: State) -> list[Action]:
        """Note the state."""
        news = state.arrived, state.withdrawn
        arrived, withdrawn = ([job.index for job in jobs] for jobs in news)
        self.states.append((list(state.waiting), arrived, withdrawn))
        return []

    def committed(self) -> frozenset[int]:
        """Jobs in a batch that is decided on."""
        return self._committed


def bound(problem: Problem, homes: dict[int, int], busy: dict[int, int]) -> BoundFleet:
    """A fleet with jobs bound to GPUs, some of which are busy to a tick."""
    runs = [LocalRun(g.index, Silent()) for g in problem.site.gpus]
    found = BoundFleet(runs, Workload(problem.site, best_quality))
    for g in problem.site.gpus:
        found.workload.observe(GpuState(g.index, g.resident, free_at=busy.get(g.index, 0)))
    found.idle -= busy.keys()
    for index, home in homes.items():
        found.bind(problem.jobs[index], home)
    return found


def homes_of(found: BoundFleet) -> dict[int, int]:
    """The GPU of each waiting job."""
    return {index: g for g, run in enumerate(found.runs) for index in run.waiting}


# -- stealing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_no_gpu_idles_beside_what_it_could_serve(rule: str) -> None:
    """Where policies serve whenever they can, stealing makes the fleet as busy as one queue."""
    idled = False
    for seed in scale.seeds(20):
        problem = problem_of(fleet(seed))
        for spec in (f"affinity:dispatch={rule}", f"affinity:dispatch={rule}:steal=true"):
            watched = Watched(policy(spec))
            simulate(problem, watched, seed=seed)
            for state, waiting, actions in watched.seen:
                starts = [action for action in actions if isinstance(action, Start)]
                taken = {index for start in starts for index, _ in start.members}
                left = [problem.jobs[index] for index in waiting if index not in taken]
                used = {start.gpu for start in starts}
                for idle in state.idle:
                    if idle.index not in used and any(idle.index in problem.hosts(j) for j in left):
                        assert not spec.endswith("steal=true"), (seed, state.tick)
                        idled = True
    assert idled  # without stealing it does happen


def test_a_thief_takes_a_batch_of_what_it_holds() -> None:
    """From the GPU with most work; its own adapter first, in order of arrival, as many as fit."""
    requests = [request(f"r{r}", 1 + (r == 0), adapter="ab"[r in (1, 3, 4, 5)]) for r in range(6)]
    requests += [request(f"s{r}", 9, adapter="b") for r in range(3)]
    gpus = [gpu("one", ("a",)), gpu("two", ("a",)), gpu("thief", ("b",), vram_gib=2.0)]
    problem = problem_of(document(*requests, adapters=[adapter("a"), adapter("b")], gpus=gpus))
    homes = {**dict.fromkeys(range(6), 0), 6: 1, 7: 1, 8: 1}
    found = bound(problem, homes, {0: 5, 1: 5})
    assert steal(found, 0) == {2}
    assert homes_of(found) == {**homes, 6: 2, 7: 2}  # two fit, and nine steps are more work
    found = bound(problem, homes, {0: 9, 1: 5})
    for index in (6, 7, 8):
        found.release(problem.jobs[index])
    assert steal(found, 0) == {2}
    assert homes_of(found) == {0: 0, 1: 2, 2: 0, 3: 2, 4: 0, 5: 0}


def test_nothing_is_taken_from_idle_gpus_nor_out_of_decided_batches() -> None:
    """An idle GPU leaves requests on purpose; those of a decided batch wait for its loads."""
    problem = problem_of(document(*[request(f"r{r}") for r in range(4)], gpus=[gpu("a"), gpu("b")]))
    found = bound(problem, dict.fromkeys(range(4), 0), {})
    assert steal(found, 0) == set()
    found.runs[0].decide = Silent(committed=(0, 2))
    assert steal(found, 0) == {1}
    assert homes_of(found) == {0: 0, 2: 0, 1: 1, 3: 1}


def test_a_policy_learns_of_moves_when_it_is_next_asked() -> None:
    """What came and went meanwhile is not shown; what came back was never away."""
    problem = problem_of(document(*[request(f"r{r}") for r in range(5)], gpus=[gpu("a"), gpu("b")]))
    found = bound(problem, {0: 0, 1: 0, 2: 0, 4: 1}, {})
    silent = found.runs[0].decide
    assert isinstance(silent, Silent)
    state = GpuState(0, frozenset((0,)))
    found.ask(state, 0)
    jobs = problem.jobs
    found.move(jobs[0], 1)
    found.move(jobs[1], 1)
    found.move(jobs[1], 0)
    found.bind(jobs[3], 0)
    found.release(jobs[3])
    found.move(jobs[4], 0)
    found.bind(jobs[3], 0)
    found.ask(state, 1)
    assert silent.states == [([0, 1, 2], [0, 1, 2], []), ([1, 2, 3, 4], [3, 4], [0])]


# -- rebalancing -----------------------------------------------------------------------------------


def plain_gpus(
    found: BoundFleet, problem: Problem, tick: int, busy: dict[int, int]
) -> list[plain.PlainGpu]:
    """The fleet in plain words."""
    return [
        plain.PlainGpu(
            g.index,
            g.id,
            list(found.runs[g.index].waiting.values()),
            left_s=max(0, busy.get(g.index, 0) - tick) * problem.site.tick_s,
            resident=g.resident,
        )
        for g in problem.site.gpus
    ]


def overloaded(problem: Problem, where: plain.PlainGpu, tick: int) -> bool:
    """Whether a GPU has more work than its earliest request has time, or that waited for 3 s."""
    if not where.waiting:
        return False
    first, site = min(where.waiting, key=lambda job: job.index), problem.site
    late = (tick - first.arrival) * site.tick_s >= 3
    return late or plain.work(site, where) > plain.objective(site, first)


def cost_of(
    problem: Problem, gpus: Sequence[plain.PlainGpu], job: Job, source: int, target: int
) -> int:
    """Nanoseconds that a move costs; below 0 where it gains."""
    site, there = problem.site, gpus[target]
    own = plain.share(site, job, target) + plain.load(site, there, job.adapter)
    return plain.work(site, there) + own - plain.work(site, gpus[source])


@pytest.mark.parametrize("rule", ["least-work", "dualmap"])
def test_rebalancing_moves_what_gains_to_where_there_is_time(rule: str) -> None:
    """Each move gains, goes to an allowed GPU that is not overloaded, and leaves none better."""
    moved = 0
    for seed in scale.seeds(60):
        rng = random.Random(seed)
        problem = problem_of(fleet(seed, count=12))
        site, tick = problem.site, rng.randint(10, 30)
        homes = {job.index: rng.choice(problem.hosts(job)[:2]) for job in problem.jobs}
        busy = {g.index: tick + rng.randint(0, 4) for g in site.gpus}
        found = bound(problem, homes, busy)
        router = ROUTERS[rule](found.workload, seed)  # type: ignore[index]
        source = rng.choice(list(homes.values()))
        before = plain_gpus(found, problem, tick, busy)
        got = Rebalancing(router)(found, tick, {source})
        after = homes_of(found)
        changed = [index for index in homes if homes[index] != after[index]]
        assert got == {after[index] for index in changed}
        assert all(homes[index] == source for index in changed)
        moved += len(changed)
        if not overloaded(problem, before[source], tick):
            assert not changed
        for index in changed:
            assert after[index] in problem.hosts(problem.jobs[index])
            assert not overloaded(problem, before[after[index]], tick)
        if rule == "least-work" and changed:  # the first move is the cheapest of all
            costs = {
                (index, g): cost_of(problem, before, problem.jobs[index], source, g)
                for index, home in homes.items()
                for g in problem.hosts(problem.jobs[index])
                if home == source != g and not overloaded(problem, before[g], tick)
            }
            assert min(costs.values()) < 0
            cheapest = {pair for pair in costs if costs[pair] == min(costs.values())}
            assert cheapest & {(index, after[index]) for index in changed}
    assert moved > 5


def plain_pass(problem: Problem, gpus: list[plain.PlainGpu], source: int, tick: int) -> None:
    """Move requests away from a GPU, in plain words: any other GPU may be a target."""
    there = gpus[source]

    def choices(job: Job) -> list[tuple[int, int]]:
        free = [g for g in problem.hosts(job) if not overloaded(problem, gpus[g], tick)]
        return [(cost_of(problem, gpus, job, source, g), g) for g in free if g != source]

    ranked = sorted((min(found)[0], job.index) for job in there.waiting if (found := choices(job)))
    for _, index in ranked:
        job, found = problem.jobs[index], choices(problem.jobs[index])
        if not overloaded(problem, there, tick) or not found or min(found)[0] >= 0:
            return
        there.waiting.remove(job)
        gpus[min(found)[1]].waiting.append(job)


def test_rebalancing_is_the_plain_one() -> None:
    """The same requests go to the same GPUs, just after the last arrival and later."""
    moved = 0
    for seed in scale.seeds(90):
        rng = random.Random(seed)
        problem = problem_of(fleet(seed, count=12))
        tick = problem.jobs[-1].arrival + rng.randint(0, 12)
        late = {job.index for job in problem.jobs if tick - job.arrival < rng.choice((3, 6, 40))}
        homes = {index: rng.choice(problem.hosts(problem.jobs[index])[:2]) for index in late}
        busy = {g.index: tick + rng.randint(0, 4) for g in problem.site.gpus}
        found = bound(problem, dict(sorted(homes.items())), busy)
        source = rng.choice(list(homes.values()))
        gpus = plain_gpus(found, problem, tick, busy)
        Rebalancing(ROUTERS["hash"](found.workload, seed))(found, tick, {source})
        plain_pass(problem, gpus, source, tick)
        expected = {job.index: at.index for at in gpus for job in at.waiting}
        assert homes_of(found) == expected, seed
        moved += expected != homes
    assert moved > 5


def test_rebalancing_shortens_what_hashing_piles_up() -> None:
    """Requests of one adapter have one home; overloaded, it gives them to the other GPU."""
    requests = [request(f"r{r}", 4, arrival_s=0.5 * r) for r in range(30)]
    gpus = [gpu("one", vram_gib=1.0), gpu("two", vram_gib=1.0)]
    problem = problem_of(document(*requests, gpus=gpus))
    ends = {}
    for spec in ("fifo:dispatch=hash", "fifo:dispatch=hash:rebalance=true"):
        plan = simulate(problem, policy(spec)).plan
        assert plan is not None
        ends[spec] = [len(batches) for batches in plan.gpus]
    assert sorted(ends["fifo:dispatch=hash"]) == [0, 30]
    assert min(ends["fifo:dispatch=hash:rebalance=true"]) >= 10


# -- queues that jobs join out of order ------------------------------------------------------------


@given(st.permutations(range(9)), st.integers(0, 500), st.integers(0, 9))
def test_queues_keep_the_order_of_arrival(order: list[int], seed: int, served: int) -> None:
    """Whenever jobs come and others leave, a queue is as if they had come in order."""
    problem = problem_of(fleet(seed, count=9))
    setup = RunSetup(problem.site, best_quality, eviction("lru", problem.site))
    runs = [RunContext(setup), RunContext(setup)]
    kinds = [Kinds(run, ("service_s",)) for run in runs]
    gone = order[:served:2]
    for index in order[:served]:
        runs[0].waiting.add(problem.jobs[index])
    for index in gone:
        runs[0].waiting.remove(problem.jobs[index])
    for index in order[served:]:
        runs[0].waiting.add(problem.jobs[index])
    for index in sorted(set(order) - set(gone)):
        runs[1].waiting.add(problem.jobs[index])
    for g in range(len(problem.site.gpus)):
        orders = [[job.index for job in run.waiting.in_order(g)] for run in runs]
        assert orders[0] == orders[1] == sorted(orders[0])
        heads = [{a: job.index for a, job in run.waiting.heads(g).items()} for run in runs]
        assert heads[0] == heads[1]
        assert dict(runs[0].waiting.counts(g)) == dict(runs[1].waiting.counts(g))
    earliest = [
        sorted(
            (int(index), [job.index for job in heads])
            for index, heads in zip(kind.view()[1], kind.heads, strict=True)
            if heads
        )
        for kind in kinds
    ]
    assert earliest[0] == earliest[1]
    assert all(first == rest[0] for first, rest in earliest[0])


def test_a_job_that_comes_back_is_there() -> None:
    """Removed and added again, between others."""
    problem = problem_of(document(*[request(f"r{r}") for r in range(3)]))
    waiting = WaitingJobs(problem.site)
    for job in problem.jobs:
        waiting.add(job)
    waiting.remove(problem.jobs[1])
    waiting.add(problem.jobs[1])
    assert [job.index for job in waiting.in_order(0)] == [0, 1, 2]
