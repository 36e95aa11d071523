"""Orders: what of a schedule each worker is told, whole and resumed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pats_opt.errors import InputError
from pats_opt.execute.adapters import adapter_files, bare, refuse_missing
from pats_opt.execute.drivers import ScheduleDriver
from pats_opt.execute.options import Options, devices, dtype_of, model_path
from pats_opt.execute.orders import OrderBuilder, gpu_orders, shapes, shrunk
from pats_opt.execute.record import Pace
from pats_opt.execute.work import Member, Shape
from pats_opt.execute.workers import WorkerKind
from tests.execute.runs import of, options, problem, schedule
from tests.support.zoo import adapter, gpu, request


def test_a_batch_becomes_an_order() -> None:
    """Ids, option, prompt, seed, size, steps and times are the schedule's and the instance's."""
    r0 = request(
        "r0",
        adapter="b",
        arrival_s=0.05,
        options=[{"steps": 9, "quality": 0.0}, {"steps": 3, "quality": 1.0, "skip": 6}],
        prompt="a corgi",
        negative_prompt="blurred",
        seed=17,
        width=1024,
        height=512,
    )
    story = of(r0, gpus=[gpu(resident=("a",))], switching={"max_resident": 1})
    plan = schedule(story)
    (script,) = gpu_orders(OrderBuilder(story, {"base"}, 4), plan, Pace.SCHEDULE)
    (order,) = script.batches
    (member,) = order.members
    assert (script.resident, script.slots) == (("a",), 1)
    assert (order.load, order.evict, order.made) == (("b",), ("a",), 0)
    assert order.switch_at_s == pytest.approx(0.05)
    assert order.start_at_s == pytest.approx(0.06)
    assert (member.id, member.adapter, member.seed) == ("r0", "b", 17)
    assert (member.prompt, member.negative_prompt) == ("a corgi", "blurred")
    assert (member.option, member.steps, member.skip) == (1, 3, 6)
    assert (member.width, member.height) == (256, 128)
    (fast,) = gpu_orders(OrderBuilder(story, {"base"}, 1), plan, Pace.FAST)
    assert (fast.batches[0].switch_at_s, fast.batches[0].start_at_s) == (0.0, 0.0)
    assert fast.batches[0].members[0].width == 1024


def test_the_bare_model_takes_no_slot() -> None:
    """An adapter that costs nothing and has no file is neither loaded nor evicted nor active."""
    story = of(
        request("r0", adapter="base"),
        request("r1", adapter="a", arrival_s=0.1),
        request("r2", adapter="base", arrival_s=0.3),
        switching={"max_resident": 1},
        gpus=[gpu(resident=("base",))],
    )
    (script,) = gpu_orders(OrderBuilder(story, {"base"}, 1), schedule(story), Pace.FAST)
    assert [(o.load, o.evict) for o in script.batches] == [((), ()), (("a",), ()), ((), ("a",))]
    assert [o.members[0].adapter for o in script.batches] == [None, "a", None]
    assert (script.resident, script.slots) == ((), 1)


def test_which_adapters_are_bare() -> None:
    """Memory, time or a file make an adapter one that is loaded."""
    four = [adapter("m", vram_gib=0.1), adapter("t", load_s=0.1), adapter("f"), adapter("n")]
    story = of(request("r0", adapter="n"), adapters=four)
    assert bare(story.instance, {"f": "f.safetensors"}) == {"n"}


@pytest.mark.parametrize(
    ("pixels", "shrink", "made"),
    [(1024, 1, 1024), (1024, 16, 64), (1001, 1, 1000), (200, 8, 64), (1, 1, 64), (768, 3, 256)],
)
def test_sizes(pixels: int, shrink: int, made: int) -> None:
    """Multiples of 8, at least 64."""
    assert shrunk(pixels, shrink) == made


def test_resumed_orders_hold_what_the_whole_ones_hold() -> None:
    """Whatever is made already, each batch that is left finds the residents of the schedule."""
    story = problem(30, gpus=2, switching={"max_resident": 1})
    plan = schedule(story)
    builder = OrderBuilder(story, {"base"}, 1)
    whole = gpu_orders(builder, plan, Pace.FAST)
    rng = random.Random(1)
    for _ in range(200):
        names = [f"r{i}" for i in range(30)]
        made = set(rng.sample(names, rng.randrange(31)))
        left = gpu_orders(builder, plan, Pace.FAST, made)
        for before, after in zip(whole, left, strict=True):
            held, expected = set(before.resident), {}
            for order in before.batches:
                held = held - set(order.evict) | set(order.load)
                expected[order.index] = (set(held), order.members)
            held = set(after.resident)
            assert len(held) <= after.slots
            for order in after.batches:
                assert set(order.evict) <= held
                assert not set(order.load) & held
                held = held - set(order.evict) | set(order.load)
                residents, members = expected[order.index]
                assert held == residents
                assert order.members == tuple(m for m in members if m.id not in made)
                assert order.made == len(members) - len(order.members)
            todo = {m.id for o in before.batches for m in o.members} - made
            assert {m.id for o in after.batches for m in o.members} == todo


def test_shapes_of_a_batch() -> None:
    """One for each number of members of a size that run together, as they leave."""
    steps = [(2, 64), (2, 64), (5, 64), (9, 64), (3, 128)]
    members = [
        Member(
            id=f"r{i}",
            option=0,
            adapter=None,
            prompt="",
            negative_prompt="",
            seed=0,
            width=width,
            height=64,
            steps=count,
        )
        for i, (count, width) in enumerate(steps)
    ]
    assert shapes(members) == {
        Shape(64, 64, 4),
        Shape(64, 64, 2),
        Shape(64, 64, 1),
        Shape(128, 64, 1),
    }


#: Every adapter of these problems.
ALL = {"a", "b", "base"}


def test_only_adapters_that_are_used_need_a_file(tmp_path: Path) -> None:
    """An instance may have hundreds, of which a schedule loads a few."""
    story = of(request("r0", adapter="a"), request("r1", adapter="base"))
    chosen = options(tmp_path / "out", story)
    (tmp_path / "adapters" / "b.safetensors").unlink()
    driver = ScheduleDriver(story, schedule(story), Pace.FAST)
    assert driver.adapters == {"a", "base"}
    files, without = adapter_files(story.instance, chosen, lambda: tmp_path, driver.adapters)
    assert set(files) == {"a"}
    assert without == {"base"}


def test_an_adapter_without_a_file_is_refused(tmp_path: Path) -> None:
    """Before the run, naming it and the hint."""
    story = problem()
    chosen = options(tmp_path / "out", story)
    files, without = adapter_files(story.instance, chosen, lambda: tmp_path, ALL)
    assert set(files) == {"a", "b"}
    assert without == {"base"}
    (tmp_path / "adapters" / "b.safetensors").unlink()
    with pytest.raises(InputError, match=r"adapter 'b' has no file; add b\.safetensors"):
        adapter_files(story.instance, chosen, lambda: tmp_path, ALL)
    with pytest.raises(InputError, match="--adapters"):
        adapter_files(story.instance, Options(model="some/sdxl"), lambda: tmp_path, ALL)
    refuse_missing(["a"], {"a": "x"}, None)


def test_workers_are_given_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may run elsewhere; the names of built-in models and of hubs are no paths."""
    story = problem()
    options(tmp_path / "out", story)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "model").mkdir()
    files, _ = adapter_files(story.instance, Options(adapters="adapters"), lambda: tmp_path, ALL)
    assert files.files["a"] == str(tmp_path / "adapters" / "a.safetensors")
    assert model_path("model") == str(tmp_path / "model")
    assert model_path("tiny") == "tiny"
    assert model_path("some/sdxl") == "some/sdxl"


def test_devices() -> None:
    """One for each GPU of the instance."""
    assert devices("cpu", 2, WorkerKind.PROCESS) == ("cpu", "cpu")
    assert devices("cuda", 2, WorkerKind.PROCESS) == ("cuda:0", "cuda:1")
    assert devices("cuda", 2, WorkerKind.RAY) == ("cuda:0", "cuda:0")
    assert devices("cuda:1, cpu", 3, WorkerKind.PROCESS) == ("cuda:1", "cpu", "cuda:1")
    with pytest.raises(InputError, match="names no device"):
        devices(",", 1, WorkerKind.THREAD)
    assert dtype_of("auto", "cpu") == "float32"
    assert dtype_of("auto", "cuda:1") == "bfloat16"
    assert dtype_of("float16", "cpu") == "float16"
