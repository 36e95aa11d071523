"""Plans become schedule documents: switches and completions follow from the rules."""

from __future__ import annotations

import json

import pytest

from pats_opt.model.checker import check, valid_loss
from pats_opt.model.files import parse_instance
from pats_opt.model.plan import (
    BatchLog,
    Plan,
    PlannedBatch,
    PlannedLoad,
    earliest,
    plan_of,
    schedule_of,
)
from pats_opt.model.problem import Problem, Site
from pats_opt.model.schedule import SolutionStatus, SolverRef, Status, StopReason
from tests.support.overlap_zoo import overlapping
from tests.support.zoo import ONE_AT_A_TIME, adapter, document, gpu, request

A, B, C = (frozenset((i,)) for i in range(3))
SOLVER = SolverRef(name="test")


def problem(**switching: object) -> Problem:
    """r0 and r1 of adapters a and b, and r2 of a that may be rejected."""
    return Problem(
        parse_instance(
            json.dumps(
                document(
                    request("r0"),
                    request("r1", adapter="b"),
                    request("r2", reject_loss=1.0),
                    adapters=[adapter("a", 1.5), adapter("b", 0.5), adapter("c", 0.25)],
                    gpus=[gpu(), gpu("gpu-1", ())],
                    switching=switching,
                )
            )
        )
    )


def test_switches_are_derived() -> None:
    """Loads, evictions, switch starts and completions are those of the rules."""
    plan = plan_of([[PlannedBatch(2, ((1, 0),), B), PlannedBatch(0, ((0, 0),), A)], []])
    schedule = schedule_of(problem(), plan, SOLVER)
    first, second = schedule.gpus[0].batches
    assert (first.switch_start, first.start, first.load, first.evict) == (0, 0, (), ())
    assert (second.switch_start, second.start) == (1, 2)
    assert (second.load, second.evict) == (("b",), ("a",))
    assert [(r.id, r.completion) for r in second.requests] == [("r1", 3)]
    assert schedule.rejected == ("r2",)
    assert check(problem(), schedule).ok


def test_early_switch_is_kept() -> None:
    """A switch that a policy made ahead of the batch stays where it was made."""
    plan = Plan(((PlannedBatch(0, ((0, 0), (2, 0)), A), PlannedBatch(9, ((1, 0),), B, 3)), ()))
    schedule = schedule_of(problem(), plan, SOLVER)
    assert schedule.gpus[0].batches[1].switch_start == 3
    assert check(problem(), schedule).ok


def test_evictions_beside_loads_are_derived() -> None:
    """A batch evicts what is resident when its switch starts, unless it is being loaded then."""
    of = Problem(
        parse_instance(
            json.dumps(
                overlapping(
                    *(request(f"r{i}", adapter=a) for i, a in enumerate("aabdc")),
                    adapters=[adapter(a, s) for a, s in zip("abcd", (1, 2, 0, 1), strict=True)],
                    gpus=[gpu(resident=("a", "d"))],
                    switching={"max_resident": 3, "activate_s": 1.0},
                )
            )
        )
    )
    d = frozenset((3,))
    batches = [
        PlannedBatch(0, ((0, 0),), A),  # d leaves; b is loaded from 0 to 2
        PlannedBatch(1, ((1, 0),), A),
        PlannedBatch(4, ((2, 0),), B, 2),  # a leaves at 2, when d is loaded for the next batch
        PlannedBatch(7, ((3, 0),), d),  # b leaves at 6, when c comes, in no time
        PlannedBatch(9, ((4, 0),), C),
    ]
    loads = [PlannedLoad(2, 6), PlannedLoad(3, 2), PlannedLoad(1, 0)]
    schedule = schedule_of(of, plan_of([batches], [loads]), SOLVER)
    made = schedule.gpus[0]
    assert [batch.evict for batch in made.batches] == [("d",), (), ("a",), ("b",), ("d",)]
    assert [(load.adapter, load.start) for load in made.loads or ()] == [
        ("b", 0),
        ("d", 2),
        ("c", 6),
    ]
    assert check(of, schedule).violations == ()


def test_no_switch_starts_with_its_batch() -> None:
    """Where nothing changes there is no switch; loads, evictions and activations may be early."""
    batches = (
        PlannedBatch(3, ((0, 0),), A | B),
        PlannedBatch(6, ((2, 0),), A | B, 5),  # nothing changes
        PlannedBatch(9, ((1, 0),), A | B),  # b becomes active
        PlannedBatch(20, ((3, 0),), B),  # a is evicted, b stays active
        PlannedBatch(30, ((4, 0),), B | C, 22),  # c is loaded, b stays active
    )
    found = Problem(
        parse_instance(
            json.dumps(
                document(
                    request("r0"),
                    request("r1", adapter="b"),
                    request("r2"),
                    request("r3", adapter="b"),
                    request("r4", adapter="b"),
                    adapters=[adapter("a", 1.5), adapter("b", 0.5), adapter("c", 0.25)],
                    switching={"max_resident": 2, "activate_s": 1.0},
                )
            )
        )
    )
    schedule = schedule_of(found, Plan((batches,)), SOLVER)
    assert [b.switch_start for b in schedule.gpus[0].batches] == [2, 6, 8, 20, 22]
    verdict = check(found, schedule)
    assert verdict.ok, verdict.violations
    assert [b.switch.ticks for b in verdict.replayed] == [1, 0, 1, 0, 1]


def test_document_of_a_plan() -> None:
    """The document names instance and solver, and has status, loss and bound."""
    made = problem()
    plan = Plan(((PlannedBatch(0, ((0, 0), (2, 0)), A),), (PlannedBatch(1, ((1, 0),), B),)))
    schedule = schedule_of(made, plan, SOLVER, loss=4.5, bound=4.0)
    assert (schedule.instance.name, schedule.instance.sha256) == ("zoo", made.instance.sha256)
    assert (schedule.solver, schedule.loss, schedule.bound) == (SOLVER, 4.5, 4.0)
    assert schedule.status == Status(stop=StopReason.COMPLETE, point=SolutionStatus.FEASIBLE)
    proven = schedule_of(made, plan, SOLVER, stop=StopReason.OPTIMAL)
    assert proven.status == Status(stop=StopReason.OPTIMAL, point=SolutionStatus.OPTIMAL)


def test_plan_of_fewer_gpus_is_an_error() -> None:
    """Not a schedule that leaves some out."""
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        schedule_of(problem(), Plan(((),)), SOLVER)


def test_earliest() -> None:
    """Each batch starts once its members are there, the GPU is free and its switch is over."""
    found = Problem(
        parse_instance(
            json.dumps(
                document(
                    request("r0", 2),
                    request("r1", adapter="b", arrival_s=2.0),
                    request("r2", adapter="b", arrival_s=9.0),
                    adapters=[adapter("a"), adapter("b", 1.5)],
                )
            )
        )
    )
    batches = [(((0, 0),), A), (((1, 0),), B), (((2, 0),), B)]
    planned = earliest(found, 0, batches)
    assert [b.start for b in planned] == [0, 4, 9]
    assert [(b.members, b.resident) for b in planned] == batches
    assert check(found, schedule_of(found, Plan((planned,)), SOLVER)).ok


def test_no_plan_is_a_document_too() -> None:
    """Where there is no schedule, the document says so and keeps the bound."""
    schedule = schedule_of(problem(), None, SOLVER, stop=StopReason.TIME_LIMIT, bound=0.5)
    assert schedule.status.point is SolutionStatus.NONE
    assert (schedule.gpus, schedule.rejected, schedule.bound) == ((), (), 0.5)


@pytest.mark.parametrize(
    ("change", "seconds", "ticks"),
    [
        ((A, A, A, None), 0.0, 0),  # a first batch activates free
        ((A, A, A, A), 0.0, 0),  # nothing changes
        ((A | B, A | B, B, A), 2.2, 3),  # another adapter becomes active
        ((A | B, B, B, A), 2.2, 3),  # evicting takes no time, activating does
        ((A | B, B, B, B), 0.0, 0),  # evicting alone
        ((A, A | B, B, A), 0.5, 1),  # loading: no activation on top
        ((A, A | B | C, A, A), 0.75, 2),  # two loads are one switch, each rounded by itself
        ((A, A | C, A, B), 2.45, 4),  # loading what is not used spares no activation
        ((A | B, A | B, A | B, C), 4.4, 6),  # each adapter is activated by itself
        ((A | B, A | B, A | B, A), 2.2, 3),  # the batch before used one of them
        ((A | B, A | B, A, A | B), 0.0, 0),  # it used them all
        ((frozenset(), A, A, None), 1.5, 2),
    ],
)
def test_rule_4(
    change: tuple[frozenset[int], frozenset[int], frozenset[int], frozenset[int] | None],
    seconds: float,
    ticks: int,
) -> None:
    """Ticks of a switch, by residents before and after, adapters in use and in use before."""
    before, after, active, previous = change
    site = problem(max_resident=3, activate_s=2.2).site
    switch = site.switch(before, after, active, previous)
    assert (switch.seconds, switch.ticks) == (seconds, ticks)
    assert switch.load == after - before
    assert switch.evict == before - after
    assert switch.seconds == 2.2 * len(switch.activate) + sum(site.load_s[a] for a in switch.load)


def test_pairs_override_load_times() -> None:
    """A pair replaces ``load_s`` for its transition alone; None is an empty GPU."""
    pairs = [{"from": "a", "to": "b", "load_s": 9.0}, {"from": None, "to": "a", "load_s": 0.0}]
    site = problem(pairs=pairs).site
    assert site.load_seconds(1, A) == 9.0
    assert site.load_seconds(1, C) == 0.5
    assert site.load_seconds(0, frozenset()) == 0.0
    assert site.load_seconds(0, B) == 1.5


def test_slots_switch_in_no_time() -> None:
    """In the slotted model a switch costs its price and no tick."""
    site = Site(parse_instance(json.dumps(document(service={"kind": "slot"}))))
    assert site.switch(frozenset(), A, A, None).ticks == 0


def test_what_no_schedule_can_serve() -> None:
    """Requests that fit no GPU, or cannot end by the horizon, are named with the reason."""
    found = Problem(
        parse_instance(
            json.dumps(
                document(
                    request("fits"),
                    request("large", demand={"vram_gib": 10.1}),
                    request("greedy", demand={"vram_gib": 1.0, "batch": 3.0}),
                    request("slow", 8, arrival_s=1.0),
                    request("just", 8),
                    gpus=[gpu(batch=2.0)],
                    horizon_ticks=8,
                    service=ONE_AT_A_TIME,
                )
            )
        )
    )
    assert {job.id: why for job, why in found.unservable()} == {
        "large": "it fits no GPU even alone",
        "greedy": "it fits no GPU even alone",
        "slow": "it cannot end by horizon_ticks 8",
    }
    assert [found.hosts(job) for job in found.jobs] == [[0], [], [], [0], [0]]


def test_amounts_and_complexity() -> None:
    """A resource that a request does not name has demand 0; one that a GPU does not name no end."""
    found = Problem(
        parse_instance(
            json.dumps(
                document(
                    request("r0", complexity=0.25),
                    request("r1", demand={"vram_gib": 1.0, "slots": 0.5}),
                    gpus=[gpu(), gpu("gpu-1", slots=0.0), gpu("gpu-2", vram_gib=2.0)],
                )
            )
        )
    )
    assert found.site.name == "zoo"
    assert found.site.resources == ("vram_gib", "slots")
    assert [g.capacity for g in found.site.gpus] == [
        (10**10, None),
        (10**10, 0),
        (2 * 10**9, None),
    ]
    assert [job.demand for job in found.jobs] == [(10**9, 0), (10**9, 10**9 // 2)]
    assert [job.complexity for job in found.jobs] == [0.25, None]
    assert [found.hosts(job) for job in found.jobs] == [[0, 1, 2], [0, 2]]
    assert [found.site.fits(g, A, found.jobs) for g in range(3)] == [True, False, True]


def test_valid_loss() -> None:
    """The loss of a plan that keeps the rules; None of one that does not."""
    keeps = Plan(((PlannedBatch(0, ((0, 0), (2, 0)), A),), (PlannedBatch(1, ((1, 0),), B),)))
    assert valid_loss(problem(), keeps) == 1 + 1 + 2 + 0.5
    breaks = Plan(((PlannedBatch(0, ((0, 0), (2, 0)), B),), (PlannedBatch(1, ((1, 0),), B),)))
    assert valid_loss(problem(), breaks) is None


def test_a_log_of_batches_equals_a_tuple_of_them() -> None:
    """A simulated plan is compared and hashed as any other."""
    batches = (PlannedBatch(0, ((0, 0), (2, 0)), A), PlannedBatch(4, ((1, 0),), B, 3))
    log = BatchLog()
    for batch in batches:
        log.append(batch)
    assert Plan((log,)) == Plan((batches,))
    assert Plan((batches,)) == Plan((log,))
    assert len({Plan((batches,)), Plan((log,))}) == 1
    assert Plan((log,)) != Plan((batches[:1],))
