"""The packing helpers that policies share."""

from __future__ import annotations

from pats_opt.core.policy import GpuState
from pats_solvers.online.common.batch import (
    BatchBuilder,
    make_room,
    open_batch,
    switching_seconds,
)
from pats_solvers.online.common.eviction import LeastRecentlyUsed
from pats_solvers.online.common.queue import WaitingJobs
from tests.simulate.scripted import problem_of
from tests.support.zoo import adapter, document, gpu, request

A, B, C = (frozenset((a,)) for a in range(3))
#: Three adapters of 2 GiB on a GPU of 10 GiB that may hold three; two of them in a batch.
ADAPTERS = [adapter(name, load_s=i + 1.0, vram_gib=2.0) for i, name in enumerate("abc")]
MIXED = {"max_resident": 3, "max_per_batch": 2, "activate_s": 0.5}


def test_hosts() -> None:
    """GPUs that hold the job with its own adapter alone; the base model counts too."""
    gpus = [
        {"id": f"g{size}", "capacity": {"vram_gib": float(size)}, "resident": []}
        for size in (4, 3, 10)
    ]
    problem = problem_of(
        document(
            request("r0"),
            request("r1", demand={"vram_gib": 7.0}),
            request("r2", demand={"vram_gib": 7.5}, reject_loss=0.0),
            adapters=[adapter("a", vram_gib=2.0)],
            gpus=gpus,
            base_vram_gib=1.0,
        )
    )
    hosts = WaitingJobs(problem.site).hosts
    assert [hosts(job) for job in problem.jobs] == [(0, 2), (2,), ()]


def test_make_room_evicts_as_few_as_it_can() -> None:
    """10 GiB: with a, b and c resident 4 are left, with two 6, with one 8."""
    demands = {"small": 4.0, "middle": 6.0, "large": 8.0, "huge": 8.5}
    problem = problem_of(
        document(
            *(
                request(name, adapter="c", demand={"vram_gib": d}, reject_loss=0.0)
                for name, d in demands.items()
            ),
            adapters=ADAPTERS,
            switching=MIXED,
        )
    )
    lru = LeastRecentlyUsed(problem.site)
    lru.served(0, A | B, A | B, A)
    state = GpuState(0, A | B)
    rooms = [make_room(problem.site, state, (job,), lru) for job in problem.jobs]
    assert rooms == [A | B | C, A | C, C, None]


def test_make_room_after_a_prefetch_keeps_what_is_there() -> None:
    problem = problem_of(
        document(request("r0"), request("r1", adapter="b"), adapters=ADAPTERS, switching=MIXED)
    )
    state = GpuState(0, A | C, before=A)
    rooms = [
        make_room(problem.site, state, (job,), LeastRecentlyUsed(problem.site))
        for job in problem.jobs
    ]
    assert rooms == [A | C, None]


def test_switching_seconds() -> None:
    """Loading, activation, or nothing."""
    problem = problem_of(document(adapters=ADAPTERS, switching=MIXED))
    first, later = GpuState(0, A | B), GpuState(0, A | B, active=A)
    assert [switching_seconds(problem.site, a, first) for a in range(3)] == [0.0, 0.0, 3.0]
    assert [switching_seconds(problem.site, a, later) for a in range(3)] == [0.0, 0.5, 3.0]


def test_batch_builder_keeps_every_rule() -> None:
    """Two of three adapters, 4 GiB and three places; what does not fit changes nothing."""
    requests = [request(f"r{i}", adapter="abcaba"[i]) for i in range(6)]
    requests[3]["demand"] = {"vram_gib": 2.5}
    problem = problem_of(
        document(
            *requests,
            adapters=ADAPTERS,
            switching=MIXED,
            service={"kind": "steps", "step_s": {"table": [1.0, 1.0, 1.0]}},
        )
    )
    batch = BatchBuilder(problem.site, GpuState(0, A), A | B | C, tick=0)
    added = [batch.add(job, 0) for job in problem.jobs]
    # r2: a third adapter; r3: 2 GiB are left; r5: the table ends.
    assert added == [True, True, False, False, True, False]
    assert batch.full
    assert batch.free == [1_000_000_000]
    assert batch.start().members == ((0, 0), (1, 0), (4, 0))
    lacking = BatchBuilder(problem.site, GpuState(0, A), A, tick=0)
    assert not lacking.add(problem.jobs[1], 0), "its adapter is not resident"


def test_batch_builder_ends_by_the_horizon() -> None:
    """A second adapter costs an activation that a single one does not, and a tick too many."""
    requests = [request(f"r{i}", adapter="aab"[i], steps=2) for i in range(3)]
    problem = problem_of(
        document(*requests, adapters=ADAPTERS, switching=MIXED, gpus=[gpu()], horizon_ticks=2)
    )
    batch = BatchBuilder(problem.site, GpuState(0, A | B, active=A), A | B, tick=0)
    assert [batch.add(job, 0) for job in problem.jobs] == [True, True, False]


def test_open_batch_takes_the_first_option_in_time() -> None:
    options = [{"steps": s, "quality": 1.0} for s in (9, 5, 4)]
    problem = problem_of(document(request("r0", options=options), horizon_ticks=5))
    (job,), lru, state = problem.jobs, LeastRecentlyUsed(problem.site), GpuState(0, A)
    batch = open_batch(problem.site, state, job, (0, 1, 2), tick=0, evict=lru)
    assert batch is not None
    assert batch.members == [(0, 1)]
    assert open_batch(problem.site, state, job, (0, 1, 2), tick=2, evict=lru) is None


def test_a_batch_without_room_for_the_least_is_full() -> None:
    """10 GiB: after 5 GiB, 3 are free beside a of 2; with b evicted (if it were there) as many."""
    problem = problem_of(
        document(
            request("r0", demand={"vram_gib": 5.0}),
            request("r1", demand={"vram_gib": 3.5}, adapter="b"),
            adapters=ADAPTERS,
            switching=MIXED,
        )
    )
    leader, other = problem.jobs
    lru = LeastRecentlyUsed(problem.site)
    for resident, least_gib, full in (
        (A, 3.0, False),
        (A, 3.5, True),
        (A | B, 3.0, False),  # 1 GiB is free, and 2 of b that could go
        (A | B, 3.5, True),
    ):
        batch = BatchBuilder(
            problem.site,
            GpuState(0, resident),
            resident,
            tick=0,
            evict=lru,
            least=problem.site.amounts({"vram_gib": least_gib}),
        )
        assert not batch.full
        assert batch.add(leader, 0)
        assert batch.full is full
        assert not batch.add(other, 0, load=True)


def test_loading_evicts_idle_residents_only_as_needed() -> None:
    """Beside a (2) and r0 (3) are 5 GiB: c and r1 of 3 take them all, so b has to go."""
    problem = problem_of(
        document(
            request("r0", demand={"vram_gib": 3.0}),
            request("r1", demand={"vram_gib": 3.0}, adapter="c"),
            request("r2", demand={"vram_gib": 3.5}, adapter="c"),
            adapters=ADAPTERS,
            switching=MIXED,
        )
    )
    lru = LeastRecentlyUsed(problem.site)
    for last, fits, residents in ((1, True, A | C), (2, False, A | B)):
        batch = BatchBuilder(problem.site, GpuState(0, A | B), A | B, tick=0, evict=lru)
        assert batch.add(problem.jobs[0], 0)
        assert batch.add(problem.jobs[last], 0, load=True) is fits
        assert batch.resident == residents
