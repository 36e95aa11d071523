"""Measuring a device with known constants: the profile says what they are."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from safetensors.numpy import save_file

from pats_opt.errors import InputError
from pats_opt.execute.record import Tier
from pats_opt.generate import profile as profiles
from pats_opt.model.files import read_document
from pats_opt.model.instance import Overhead, StepTime
from pats_opt.profiling.adapters import describe
from pats_opt.profiling.measurements import Measurements
from pats_opt.profiling.plan import ProfilingPlan
from pats_opt.profiling.run import ProfilingJob, ProfilingResult, lines, run
from pats_opt.profiling.write import IncompleteError
from tests.profiling.fakes import Constants, Device, FakeEngine, write_adapters

Told = AbstractContextManager[Callable[[str], None]]

PLAN = ProfilingPlan(
    batches=(1, 2, 4),
    sizes=((1024, 1024), (512, 512)),
    steps=6,
    repeats=2,
    max_batch=16,
    shrink=1,
    seed=0,
)


@pytest.fixture
def job(tmp_path: Path) -> ProfilingJob:
    adapters = write_adapters(tmp_path / "loras", ranks=(4, 8, 8))
    return ProfilingJob(
        output=tmp_path / "out" / "gpu.toml",
        plan=PLAN,
        model="sdxl-random",
        device="cuda",
        dtype="float16",
        guidance=5.0,
        memory_gib=None,
        adapters=str(adapters),
        name="fake",
    )


def measured(
    job: ProfilingJob, constants: Constants | None = None
) -> tuple[ProfilingResult, Device]:
    device = Device(constants)
    return run(job, device.open, device.clock), device


def raw_of(job: ProfilingJob) -> Measurements:
    return read_document(job.raw_path, Measurements)


def test_the_devices_constants_are_found(job: ProfilingJob) -> None:
    """Steps, overheads, memory at both sizes, the cliff, and each tier of switching."""
    outcome, device = measured(job)
    found = profiles.load(str(job.output))
    assert found == outcome.profile
    assert outcome.missing == []
    assert found.step_s == StepTime(base=0.05, per_sample=0.1)
    assert isinstance(found.overhead_s, Overhead)
    assert found.overhead_s.per_sample == pytest.approx(0.08)
    assert found.overhead_s.base == pytest.approx(0.0, abs=1e-9)  # saving takes none of its time
    assert found.memory.capacity_gib == 24.0
    assert found.memory.adapter_gib == pytest.approx(0.05)
    assert found.base_vram_gib == pytest.approx(7.0, abs=1e-3)
    assert found.memory.request_gib(1024, 1024) == pytest.approx(2.0, abs=1e-3)
    assert found.memory.request_gib(512, 512) == pytest.approx(0.5, abs=1e-3)
    assert found.memory.max_batch == 8  # 7 + 2 * 0.05 + 8 * 2 is 23.1 of 24 GiB
    assert {tier: load.median for tier, load in found.load.tiers.items()} == {
        "host": 0.021,  # the activation after it included
        "disk": 0.901,
    }
    assert found.load.activate_s == 0.001
    assert found.load.tier == "host"
    assert found.tick_s == 0.05  # 2 % of twenty steps of 0.15 s are 0.06 s
    assert device.closed == len(device.opened)


def test_loads_beside_a_batch(job: ProfilingJob) -> None:
    """From each place: how long they take, how much is hidden, and by how much steps are slowed.

    Of the batch's 5.48 s (twice 10 x 0.225 s, four times 0.225 s, encoding and decoding 0.08 s) a
    load from disk, which takes 8 s, outlasts all.
    """
    outcome, _ = measured(job, Constants(slowed=1.5, load_s={Tier.HOST: 0.4, Tier.DISK: 8.0}))
    assert profiles.load(str(job.output)) == outcome.profile
    host, disk = (outcome.profile.load.beside[place] for place in ("host", "disk"))
    assert (host.seconds, host.slowdown) == (0.4, 1.5)
    assert host.hidden == pytest.approx(5.48 / 5.6, rel=1e-3)
    assert (disk.seconds, disk.slowdown) == (8.0, 1.5)
    assert disk.hidden == pytest.approx(5.48 / 8.0, rel=1e-3)
    assert [part.loads for part in outcome.data.beside] == [14, 14, 1, 1]  # 13 end, one goes on
    assert all(len(part.step_s) == 4 for part in outcome.data.beside)
    host_line = "beside a batch, from host: a load 0.4 s, 98 % hidden, steps take 1.5 times"
    assert host_line in list(lines(outcome))
    assert outcome.profile.step_s == StepTime(base=0.05, per_sample=0.1)  # without any loads


def test_a_failing_load_beside_a_batch_is_reported(
    job: ProfilingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was measured before it is kept, and the engine is closed."""

    def fail(self: FakeEngine, adapter: str) -> None:
        self._due = float("inf")
        raise InputError(f"adapter {adapter!r} cannot be read")

    device = Device()
    with monkeypatch.context() as patched:
        patched.setattr(FakeEngine, "fill", fail)
        with pytest.raises(InputError, match="cannot be read"):
            run(job, device.open, device.clock)
    assert device.closed == len(device.opened)
    before = raw_of(job).done
    assert before
    assert measured(job)[0].data.done[: len(before)] == before


def test_sources_say_how_it_was_measured(job: ProfilingJob) -> None:
    outcome, _ = measured(job)
    sources = outcome.profile.sources
    assert set(sources) == {
        *("setup", "step_s", "overhead_s", "memory", "adapters", "load", "beside", "tick_s")
    }
    for part in ("Fake 24", "sdxl-random", "float16", "torch 0", "in 1 session"):
        assert part in sources["setup"]
    assert "1024x1024: 8 fit, 9 did not; 512x512: 16 fit, no more tried" in sources["memory"]
    assert "3 adapters of rank 4, 8" in sources["load"]
    assert "padded to rank 8" in sources["adapters"]
    assert outcome.profile.date == outcome.data.begun[:10]


def test_adapters_memory_beside_the_formula(job: ProfilingJob) -> None:
    """By rank: one layer of 4 x 4 weights in half precision, in slots of 51.2 MiB."""
    outcome, _ = measured(job)
    small, large = profiles.load(str(job.output)).memory.adapters
    assert (small.rank, small.hidden, small.layers, small.bytes_per_weight) == (4, 4, 1, 2.0)
    assert small.formula_gib == small.weights_gib == pytest.approx(64 / 2**30, rel=1e-3)
    assert large.rank == 8
    assert large.weights_gib == pytest.approx(128 / 2**30, rel=1e-3)
    assert small.slot_gib == large.slot_gib == 0.05
    (line,) = (line for line in lines(outcome) if line.startswith("rank 8"))
    assert line == (
        "rank 8, MiB  formula 0.0001221, weights 0.0001221, in a slot 51.2 (1 layer, mostly 4 wide)"
    )


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ("lora_A.weight", "lora_B.weight"),
        ("lora.down.weight", "lora.up.weight"),
        ("lora_down.weight", "lora_up.weight"),
    ],
)
def test_shape_of_an_adapter(tmp_path: Path, down: str, up: str) -> None:
    """Rank 2 on a linear layer of 6 x 8 weights, rank 1 on a convolution of 8 x 8 x 3 x 3."""
    path = str(tmp_path / "a.safetensors")
    shapes = {
        f"unet.to_q.{down}": (2, 8),
        f"unet.to_q.{up}": (6, 2),
        f"unet.conv.{down}": (1, 8, 3, 3),
        f"unet.conv.{up}": (8, 1, 1, 1),
        "unet.conv.alpha": (),
    }
    save_file({key: np.zeros(shape, np.float16) for key, shape in shapes.items()}, path)
    (file,) = describe({"a": path})
    assert (file.id, file.rank, file.layers, file.hidden) == ("a", 2, 2, 8)
    assert file.weights == 2 * 8 + 6 * 2 + 8 * 9 + 8


def test_slow_first_steps_are_not_counted(job: ProfilingJob) -> None:
    found, _ = measured(job, Constants(warm=2))
    assert found.profile.step_s == StepTime(base=0.05, per_sample=0.1)
    spoilt, _ = measured(replace(job, output=job.output.with_name("b.toml")), Constants(warm=6))
    assert spoilt.profile.step_s(1) == pytest.approx(1.5)


def test_times_that_are_no_line_become_a_table(job: ProfilingJob) -> None:
    """Between the measured sizes it is interpolated; no larger batch than the table is let in."""
    outcome, _ = measured(job, Constants(step_s=(0.1, 0.0, 0.05)))
    assert outcome.profile.step_s == StepTime(table=(0.15, 0.3, 0.6, 0.9))
    assert "as a table" in outcome.profile.sources["step_s"]
    assert outcome.profile.memory.max_batch == 4


def test_a_line_with_a_little_noise_stays_a_line(job: ProfilingJob) -> None:
    outcome, _ = measured(job, Constants(noise=0.02))
    assert outcome.profile.step_s(4) == pytest.approx(0.45, rel=0.03)
    assert "line of least relative error" in outcome.profile.sources["step_s"]


def test_batches_that_do_not_fit_are_left_out_of_the_times(job: ProfilingJob) -> None:
    """The device is careful once it ran out, so it is opened anew; the times are of the rest."""
    outcome, device = measured(job, Constants(memory_gib=12.0))  # two of 2 GiB beside 7.1
    assert outcome.profile.step_s == StepTime(base=0.05, per_sample=0.1)
    assert outcome.profile.memory.max_batch == 2
    assert outcome.profile.memory.request_gib(1024, 1024) == pytest.approx(2.0, abs=1e-3)
    assert 3 in device.batches  # halved between 2 and 4, and found too large by a fresh engine
    assert {b.n for b in outcome.data.batches if not b.fits and b.width == 1024} == {3, 4}


def test_a_device_with_room_for_one_image(job: ProfilingJob) -> None:
    """There is no line through one point: all that it takes is the base, and one is the most."""
    outcome, _ = measured(job, Constants(memory_gib=10.0))
    memory = outcome.profile.memory
    assert memory.line == pytest.approx((9.0, 0.0), abs=1e-3)
    assert memory.max_batch == 1
    assert "1024x1024: 1 fit, 2 did not" in outcome.profile.sources["memory"]
    assert outcome.profile.step_s == StepTime(table=(0.15,))
    other = replace(job, output=job.output.with_name("b.toml"))
    with pytest.raises(IncompleteError, match="out of memory"):
        measured(other, Constants(memory_gib=8.0))


def test_a_profile_never_lets_in_a_batch_that_did_not_fit(job: ProfilingJob) -> None:
    """A device that cannot use its last GiB: the capacity is lowered to what worked."""

    class Wasteful(Device):
        def open(self, *args: object) -> object:  # type: ignore[override]
            engine = super().open(*args)  # type: ignore[arg-type]
            engine.setup = replace(engine.setup, memory_gib=26.0)  # of which 24 can be used
            return engine

    device = Wasteful()
    found = run(job, device.open, device.clock).profile  # type: ignore[arg-type]
    need = (
        found.base_vram_gib
        + 2 * found.memory.adapter_gib
        + 9 * found.memory.request_gib(1024, 1024)
    )
    assert 23.1 < found.memory.capacity_gib < need
    assert "lowered to" in found.sources["memory"]


def test_a_device_that_does_not_tell_its_memory(job: ProfilingJob) -> None:
    """Nothing is invented: the largest batch that was run bounds a batch."""
    outcome, device = measured(job, Constants(memory_gib=None))
    memory = outcome.profile.memory
    assert (memory.line, memory.max_batch) == ((0.0, 0.0), 4)
    assert memory.adapter_gib == pytest.approx(0.05)
    assert outcome.profile.sources["memory"].startswith("not measured")
    assert max(device.batches) == 4
    other = replace(
        job, output=job.output.with_name("b.toml"), memory_from=profiles.load("a100-40g")
    )
    stands, _ = measured(other, Constants(memory_gib=None))
    assert stands.profile.memory.measured == profiles.load("a100-40g").memory.measured
    assert "the figures of a100-40g" in stands.profile.sources["memory"]


def test_the_order_of_sizes_changes_from_round_to_round(job: ProfilingJob) -> None:
    _, device = measured(replace(job, plan=replace(PLAN, repeats=6)))
    timed = [n for n in device.batches if n in (2, 4)][:12]
    assert sorted(timed) == [2] * 6 + [4] * 6
    assert timed not in ([2, 4] * 6, [4, 2] * 6, [2] * 6 + [4] * 6)


@pytest.mark.parametrize("after", [1, 4, 9, 16, 20, 30])
def test_an_interruption_loses_nothing(job: ProfilingJob, after: int) -> None:
    """Measured in two sessions, nothing twice, and the same profile but for its sources."""
    load_s = {Tier.HOST: 0.021, Tier.DISK: 0.9}  # no load ends as a batch does, but for rounding
    known = Constants(load_s=load_s)
    whole, _ = measured(replace(job, output=job.output.with_name("whole.toml")), known)
    device = Device(replace(known, stops_after=after))
    with suppress(IncompleteError):
        assert run(job, device.open, device.clock).missing
    assert device.closed == len(device.opened)
    before = raw_of(job).done if job.raw_path.exists() else ()
    again, _ = measured(job, known)
    assert again.missing == []
    assert again.data.done[: len(before)] == before
    assert len(set(again.data.done)) == len(again.data.done)
    assert set(again.data.done) == set(whole.data.done)
    assert replace(again.profile, sources=whole.profile.sources) == whole.profile


def test_a_time_limit_ends_with_what_is_missing(job: ProfilingJob) -> None:
    """Too early there is no profile; later there is one that says what it lacks."""
    with pytest.raises(IncompleteError, match="steps of a single image and loading adapters"):
        measured(replace(job, time_limit=1e-9))
    assert not job.output.exists()
    whole, _ = measured(replace(job, output=job.output.with_name("whole.toml")))
    small, batch = 0.02 + 20 * 0.15 + 0.06, 0.02 + 24 * 0.15 + 0.06
    batches = 2 * (small + batch)  # beside loads from disk, after everything else
    limit = whole.data.seconds - batches - 12.0  # opening the engine and loading takes as long
    partial, _ = measured(replace(job, time_limit=limit))
    assert partial.missing == ["switching (disk), 6 times", "loads beside a batch (disk), 2 times"]
    assert "switching (disk), 6 times" in partial.profile.sources["missing"]
    assert set(partial.profile.load.tiers) == {"host"}
    complete, _ = measured(job)
    assert "missing" not in complete.profile.sources
    assert set(complete.profile.load.tiers) == {"host", "disk"}
    assert complete.data.sittings == 2  # the first kept nothing


def test_memory_that_the_device_would_tell_is_not_left_out(job: ProfilingJob) -> None:
    """Stopped before it is measured, there is no profile, unless another's figures stand in."""
    early = replace(job, time_limit=45.0)
    with pytest.raises(IncompleteError, match="memory at 1024x1024"):
        measured(replace(early, plan=replace(PLAN, batches=(1,))))
    stands = replace(early, time_limit=1e-9, memory_from=profiles.load("a100-40g"))
    outcome, _ = measured(stands)
    assert "the figures of a100-40g" in outcome.profile.sources["memory"]


def test_progress_is_reported_part_by_part(job: ProfilingJob) -> None:
    """As many as were announced, also where a batch is passed over as too large."""
    for constants in (Constants(), Constants(memory_gib=12.0)):
        told: list[str] = []
        announced: list[int] = []

        def watch(parts: int, announced: list[int] = announced, told: list[str] = told) -> Told:
            announced.append(parts)
            return nullcontext(told.append)

        device = Device(constants)
        other = replace(job, output=job.output.with_name(f"{constants.memory_gib}.toml"))
        run(other, device.open, device.clock, watch)
        assert announced == [len(told)] == [len(set(told))]


def test_all_done_is_not_measured_again(job: ProfilingJob) -> None:
    first, _ = measured(job)
    again, device = measured(job)
    assert device.opened == []
    assert again.data.batches == first.data.batches


def test_a_failing_model_is_reported(job: ProfilingJob) -> None:
    with pytest.raises(IncompleteError, match="no such layer"):
        measured(job, Constants(fails="no such layer"))


def test_measurements_of_something_else_are_not_mixed_in(job: ProfilingJob) -> None:
    measured(job)
    smaller = replace(PLAN, sizes=((512, 512), (1024, 1024)))
    with pytest.raises(InputError, match=r"asked\.width.*1024 is now 512"):
        measured(replace(job, plan=smaller))
    with pytest.raises(InputError, match=r"asked\.dtype.*float16 is now float32"):
        measured(replace(job, dtype="float32"))
    with pytest.raises(InputError, match=r"found\.memory_gib"):
        measured(replace(job, plan=replace(PLAN, repeats=3)), Constants(memory_gib=25.0))


def test_a_file_that_is_no_measurement_is_refused(job: ProfilingJob) -> None:
    job.raw_path.parent.mkdir()
    job.raw_path.write_text('{"format": "pats-opt/profile"}')
    with pytest.raises(InputError, match=r"gpu\.json"):
        measured(job)


def test_adapters_are_refused_before_anything_is_opened(job: ProfilingJob, tmp_path: Path) -> None:
    one = write_adapters(tmp_path / "one", ranks=(4,))
    with pytest.raises(InputError, match="too few"):
        measured(replace(job, adapters=str(one)))
    with pytest.raises(InputError, match="there are no adapters for"):
        measured(replace(job, adapters=None, model="some/model"))
    (one / "b.safetensors").write_bytes(b"junk")
    with pytest.raises(InputError, match="no LoRA in safetensors"):
        measured(replace(job, adapters=str(one)))


def test_tiers_load_the_adapter_from_where_they_say(job: ProfilingJob) -> None:
    """One engine for each tier, and each adapter as often as there are repeats."""
    outcome, device = measured(job)
    assert [settings.tier for settings in device.opened][-1] is Tier.DISK
    for place in ("host", "disk"):
        loads = [s.adapter for s in outcome.data.switches if s.place == place]
        assert sorted(loads) == sorted(["a", "b", "c"] * 2)
    assert len([s for s in outcome.data.switches if s.place == "resident"]) == 2 * 3 * 2


def test_switching_table(job: ProfilingJob) -> None:
    """The document's columns first; a row for each place and rank, and the steps to compare."""
    measured(job)
    lines = (job.output.parent / "switching_cost.csv").read_text().splitlines()
    assert lines[0] == "Operation,Time (s),p05 (s),p95 (s),count,from,rank,MiB"
    assert '"LoRA switch, from disk",0.9,0.9,0.9,2,disk,4,51.200' in lines
    assert '"LoRA switch, from disk",0.9,0.9,0.9,4,disk,8,51.200' in lines
    assert "One SDXL step,0.15,,,,,," in lines


def test_toml_is_what_the_packages_profiles_are(job: ProfilingJob) -> None:
    measured(job)
    document = tomllib.loads(job.output.read_text())
    assert (document["format"], document["version"]) == ("pats-opt/profile", 1)
    assert document["memory"]["measured"][0]["batch"][:4] == [1, 2, 4, 8]
