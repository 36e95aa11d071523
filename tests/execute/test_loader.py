"""Loads beside serving with the fake engine: order, slots, records, failures, resumed runs."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace
from PIL import Image

from pats_opt.errors import UnfinishedError
from pats_opt.execute.compare.comparing import compare
from pats_opt.execute.drivers import ScheduleDriver
from pats_opt.execute.inbox import Inbox
from pats_opt.execute.loader import AdapterLoader
from pats_opt.execute.loading import hidden_share
from pats_opt.execute.orders import OrderBuilder, PlanEvent, gpu_orders, in_order
from pats_opt.execute.record import BatchRun, Execution, LoadRun, Pace, Span
from pats_opt.execute.run import earlier
from pats_opt.execute.work import EngineSettings, Finished, LoadOrder, Member, Order
from pats_opt.model.plan import PlannedBatch, PlannedLoad, plan_of, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule, SolverRef
from pats_opt.solving.solve import solve
from tests.execute.fakes import FakeEngine, open_loading, picture
from tests.execute.runs import (
    beside,
    journals,
    makings,
    of,
    pictures,
    policy_of,
    run,
    run_live,
)
from tests.support import scale
from tests.support.zoo import adapter, gpu, request

LOADED = [adapter(name, vram_gib=0.1, load_s=0.03) for name in "abc"]


def loading(seed: int = 0, *, gpus: int = 1, channels: int = 1, slots: int = 2) -> Problem:
    """Twelve requests of three adapters and the bare model; tick and step: 10 ms."""
    rng = random.Random(seed)
    requests = [
        request(
            f"r{i}",
            steps=rng.randint(2, 5),
            adapter=rng.choice(["a", "b", "c", "base"]),
            demand={"vram_gib": 3.0},
            arrival_s=0.01 * rng.randrange(12),
        )
        for i in range(12)
    ]
    return of(
        *requests,
        adapters=[*LOADED, adapter("base")],
        gpus=[gpu(f"gpu-{g}", ()) for g in range(gpus)],
        switching={"max_resident": slots, "overlap": {"channels": channels}},
    )


def drawn(seed: int) -> tuple[Problem, Schedule]:
    """One of one or two GPUs, one to three channels, two or three slots; and its schedule."""
    story = loading(seed, gpus=1 + seed % 2, channels=1 + seed % 3, slots=2 + seed // 2 % 2)
    return story, beside(story, seed)


def executed(
    folder: Path,
    story: Problem,
    plan: Schedule,
    pace: Pace = Pace.FAST,
    *,
    resume: bool = False,
    engine: Callable[[EngineSettings, Callable[[], float]], FakeEngine] = open_loading,
) -> Execution:
    """The execution of a schedule, which must come to its end."""
    driver = ScheduleDriver(story, plan, pace)
    outcome = run(folder, story, driver, resume=resume, engine=engine, pace=pace)
    assert outcome.error is None
    return outcome.execution


@pytest.mark.parametrize("seed", scale.seeds(8))
@pytest.mark.parametrize("pace", list(Pace))
def test_everything_begins_in_the_schedules_order(tmp_path: Path, seed: int, pace: Pace) -> None:
    """Whatever loads take; with its clock, nothing begins before its tick."""
    story, plan = drawn(seed)
    done = executed(tmp_path / "out", story, plan, pace)
    for planned, ran in zip(plan.gpus, done.gpus, strict=True):
        loads = {load.index: load for load in ran.loads}
        batches = {batch.index: batch for batch in ran.batches}
        expected = {i for i, load in enumerate(planned.loads or ()) if load.adapter != "base"}
        assert loads.keys() == expected
        last = 0.0
        for tick, what, index in in_order(planned):
            if what is PlanEvent.SWITCH or (what is PlanEvent.LOAD and index not in loads):
                continue
            load = loads[index] if what is PlanEvent.LOAD else None
            start = batches[index].start_s if load is None else load.start_s
            assert start >= last
            assert pace is Pace.FAST or start >= tick * story.site.tick_s
            last = start
        for batch in ran.batches:
            used = {story.instance.requests[int(m.id[1:])].adapter for m in batch.members}
            before = [x for x in ran.loads if x.adapter in used and x.start_s <= batch.start_s]
            assert all(load.end_s <= batch.start_s for load in before)
        for load in ran.loads:
            beside = [x for x in ran.loads if x.start_s <= load.start_s < x.end_s]
            assert len(beside) <= (story.site.channels or 0)


def test_images_are_the_requests_own(tmp_path: Path) -> None:
    """As without loads beside serving."""
    story, plan = drawn(3)
    executed(tmp_path / "out", story, plan)
    builder = OrderBuilder(story, {"base"}, 16)
    for r in story.instance.requests:
        image = Image.open(tmp_path / "out" / "images" / f"{r.id}.png")
        assert image.tobytes() == picture(builder.member(r.id, 0)).tobytes()


def hiding() -> tuple[Problem, Schedule]:
    """A batch of ``a``, and beside it a load of ``b`` for the batch that follows."""
    story = of(
        request("r0", steps=8, adapter="a"),
        request("r1", steps=2, adapter="b"),
        adapters=LOADED,
        gpus=[gpu(resident=("a",))],
        switching={"max_resident": 2, "overlap": {"channels": 1}},
    )
    both = frozenset([0, 1])
    batches = [PlannedBatch(0, ((0, 0),), both), PlannedBatch(9, ((1, 0),), both)]
    plan = plan_of([batches], [[PlannedLoad(1, 2)]])
    return story, schedule_of(story, plan, SolverRef(name="by hand"))


def test_a_load_runs_while_a_batch_does(tmp_path: Path) -> None:
    """Neither could end if it waited for the other; so all of it is hidden."""
    loaded, stepped = threading.Event(), threading.Event()

    class Meeting(FakeEngine):
        def fill(self, adapter: str) -> Span:
            assert stepped.wait(30)
            span = super().fill(adapter)
            loaded.set()
            return span

        def finish(self, member: Member) -> Finished:
            if member.id == "r0":
                stepped.set()
                assert loaded.wait(30)
            return super().finish(member)

    story, plan = hiding()
    done = executed(tmp_path / "out", story, plan, engine=Meeting)
    ((load,),) = (each.loads for each in done.gpus)
    assert (load.adapter, load.evict, load.hidden) == ("b", (), 1.0)
    assert earlier(tmp_path / "out") == done


def test_hidden_share() -> None:
    """The part of a load's time that batches cover."""

    def batch(start_s: float, end_s: float) -> BatchRun:
        return BatchRun(index=0, switch_start_s=start_s, start_s=start_s, end_s=end_s, members=())

    load = LoadRun(index=0, adapter="a", start_s=2.0, seconds=4.0)
    assert hidden_share(load, []) == 0.0
    assert hidden_share(load, [batch(0, 1), batch(1, 3), batch(5, 9)]) == 0.5
    assert hidden_share(load, [batch(0, 9)]) == 1.0
    assert hidden_share(replace(load, seconds=0.0), []) == 1.0


def test_a_load_that_fails_ends_the_run(tmp_path: Path) -> None:
    """With one line that says so; the batch beside it keeps its image, and the run goes on."""

    class Failing(FakeEngine):
        def fill(self, adapter: str) -> Span:
            raise OSError(5, "Input/output error", f"{adapter}.safetensors")

    story, plan = hiding()
    driver = ScheduleDriver(story, plan, Pace.FAST)
    folder = tmp_path / "out"
    outcome = run(folder, story, driver, engine=Failing)
    assert isinstance(outcome.error, UnfinishedError)
    assert "Input/output error: b.safetensors; 1 of 2 images is missing" in str(outcome.error)
    assert list(pictures(folder)) == ["r0.png"]
    done = executed(folder, story, plan, resume=True)
    assert done.complete
    assert makings(folder) == {"r0": 1, "r1": 1}


@pytest.mark.parametrize("seed", scale.seeds(8))
def test_runs_with_images_lost_go_on(tmp_path: Path, seed: int) -> None:
    """Each batch that is left finds its adapters, and all images are there again."""
    story, plan = drawn(seed)
    folder = tmp_path / "out"
    executed(folder, story, plan)
    before = pictures(folder)
    rng = random.Random(seed)
    gone = rng.sample(sorted(before), rng.randint(1, len(before)))
    for name in gone:
        (folder / "images" / name).unlink()
    executed(folder, story, plan, resume=True)
    assert pictures(folder) == before
    made = makings(folder)
    assert {name: made[name.removesuffix(".png")] for name in before} == {
        name: 1 + (name in gone) for name in before
    }


@pytest.mark.parametrize("seed", scale.seeds(20))
def test_orders_that_are_left(seed: int) -> None:
    """They begin with what is resident there, in the schedule's order, and never hold too much."""
    story, plan = drawn(seed)
    builder = OrderBuilder(story, {"base"}, 1)
    names = [r.id for r in story.instance.requests]
    rng = random.Random(seed)
    for made in ([], rng.sample(names, 5), names[:-1], names):
        for script in gpu_orders(builder, plan, Pace.FAST, made):
            held = set(script.resident)
            for order in script.orders:
                assert set(order.evict) <= held
                held -= set(order.evict)
                if isinstance(order, LoadOrder):
                    assert order.adapter not in held
                    held.update(builder.adapters([order.adapter or "base"]))
                else:
                    assert {m.adapter for m in order.members} - {None} <= held
                    assert not {m.id for m in order.members} & set(made)
                assert len(held) <= script.slots <= story.site.max_resident
            if made and script.orders:
                assert isinstance(script.orders[-1], Order), "nobody needs what comes after it"
    todo = {
        m.id for s in gpu_orders(builder, plan, Pace.FAST) for o in s.batches for m in o.members
    }
    assert todo == set(names)


@pytest.mark.parametrize(("mode", "count"), [("points", 23), ("chain", 2)])
def test_killed_runs_go_on(tmp_path: Path, mode: str, count: int) -> None:
    """As without loads beside serving: the same images, each made once."""
    from tests.execute.test_resume import killed

    story = loading()
    executed(tmp_path / "whole", story, beside(story, 0))
    files = pictures(tmp_path / "whole")
    whole = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    told = killed(tmp_path, mode, count, "beside")
    assert len(told) >= 2
    assert all(each["files"] == whole for each in told)
    assert all(set(each["made"].values()) == {1} for each in told)


def test_interrupted_while_an_adapter_is_loaded(tmp_path: Path) -> None:
    """The load that has started ends, nothing else starts, and the run can be resumed."""
    import signal

    class Interrupting(FakeEngine):
        def fill(self, adapter: str) -> Span:
            signal.raise_signal(signal.SIGINT)
            return super().fill(adapter)

    story, plan = hiding()
    folder = tmp_path / "out"
    driver = ScheduleDriver(story, plan, Pace.FAST)
    outcome = run(folder, story, driver, engine=partial(Interrupting, step_s=0.05, load_s=0.2))
    assert isinstance(outcome.error, UnfinishedError)
    assert "interrupted" in str(outcome.error)
    assert len(journals(folder)) == 1
    assert executed(folder, story, plan, resume=True).complete


@pytest.mark.parametrize("policy", ["fifo:prefetch=none", "pats:prefetch=next"])
@pytest.mark.parametrize("gpus", [1, 2])
def test_a_live_policy_loads_beside_serving(tmp_path: Path, policy: str, gpus: int) -> None:
    """Its loads are carried out and recorded, all are served, and the run is compared."""
    story = loading(gpus, gpus=gpus, channels=2)
    outcome = run_live(tmp_path / "out", story, policy, engine=open_loading)
    assert outcome.error is None
    assert set(makings(tmp_path / "out").values()) == {1}
    for each in outcome.execution.gpus:
        assert {x.index for x in each.loads} <= set(range(12))
        loaded: set[str] = set()
        events = [(load.start_s, {load.adapter}, load.evict) for load in each.loads]
        events += [(batch.switch_start_s, set(), batch.evict) for batch in each.batches]
        for _, names, evict in sorted(events, key=lambda event: event[0]):
            assert set(evict) <= loaded
            loaded = (loaded - set(evict)) | names
            assert len(loaded) <= story.site.max_resident
    planned = solve(story, policy_of(policy)).schedule
    found = compare(story, outcome.execution, planned)
    assert len(found.measured_loads) == sum(len(gpu.loads) for gpu in outcome.execution.gpus)
    assert found.complete


def test_a_live_run_with_loads_goes_on(tmp_path: Path) -> None:
    """Images that are there stay, and each GPU begins with what it held."""
    story, folder = loading(1), tmp_path / "out"
    assert run_live(folder, story, "pats:prefetch=next", engine=open_loading).error is None
    before = pictures(folder)
    gone = ["r3.png", "r7.png"]
    for name in gone:
        (folder / "images" / name).unlink()
    outcome = run_live(folder, story, "pats:prefetch=next", engine=open_loading, resume=True)
    assert outcome.error is None
    assert outcome.new == 2
    assert pictures(folder) == before
    (only,) = outcome.execution.gpus
    assert len({load.index for load in only.loads}) == len(only.loads)


def test_what_the_bare_model_evicts_is_recorded() -> None:
    """Its load has no record, so the next one says it; each load is reported as it ends."""
    settings = EngineSettings(
        model="fake",
        device="cpu",
        dtype="float32",
        guidance=5.0,
        adapter_files=dict.fromkeys("abc", ""),
        slots=2,
        resident=("a", "b"),
    )
    engine, inbox = FakeEngine(settings, lambda: 0.0), Inbox()
    ended: list[tuple[int, LoadRun | None]] = []
    with AdapterLoader(engine, 1, inbox, lambda: 0.0, lambda *load: ended.append(load)):
        inbox.put(LoadOrder(index=0, adapter=None, evict=("a",)))
        inbox.put(LoadOrder(index=1, adapter="c", evict=("b",)))
        inbox.put(LoadOrder(index=2, adapter="a"))
    assert [index for index, _ in ended] == [0, 1, 2]
    assert [None if ran is None else (ran.adapter, ran.evict) for _, ran in ended] == [
        None,
        ("c", ("a", "b")),
        ("a", ()),
    ]
