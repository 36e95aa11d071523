"""A schedule executed by threads with the fake engine: images, documents, failures, refusals."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from PIL import Image

from pats_opt.errors import InputError, UnfinishedError
from pats_opt.execute.drivers import ScheduleDriver
from pats_opt.execute.orders import OrderBuilder
from pats_opt.execute.record import Execution, Pace, Phase
from pats_opt.execute.run import earlier
from pats_opt.model.instance import digest
from pats_opt.model.schedule import InstanceRef, SolutionStatus, Status, StopReason
from tests.execute.fakes import open_failing, open_refusing, open_slow, picture
from tests.execute.runs import journals, makings, of, pictures, problem, run, schedule
from tests.support.zoo import gpu, request


def document(folder: Path) -> Execution:
    """The execution that a folder holds."""
    found = earlier(folder)
    assert found is not None
    return found


def test_every_request_gets_its_image(tmp_path: Path) -> None:
    """The pixels are those of the request alone, and the file says what it was made of."""
    story = problem(6)
    folder = tmp_path / "out"
    outcome = run(folder, story, guidance=4.5)
    assert outcome.error is None
    assert outcome.new == 6
    builder = OrderBuilder(story, {"base"}, 16)
    assert sorted(pictures(folder)) == [f"r{i}.png" for i in range(6)]
    for r in story.instance.requests:
        image = Image.open(folder / "images" / f"{r.id}.png")
        member = builder.member(r.id, 0)
        assert image.tobytes() == picture(member).tobytes()
        text: dict[str, str] = image.text  # type: ignore[attr-defined]
        assert {key.removeprefix("pats-opt:"): str(value) for key, value in text.items()} == {
            "request": r.id,
            "adapter": "" if r.adapter == "base" else r.adapter,
            "prompt": r.prompt,
            "negative_prompt": "",
            "seed": str(r.seed),
            "steps": str(r.options[0].steps),
            "skip": "0",
            "size": "64x64",
            "model": "tiny",
            "dtype": "float32",
            "guidance": "4.5",
            "scheduler": "FakeScheduler",
            "run": digest(journals(folder)[0].head.key),
        }


def test_any_prompt_gets_into_the_file(tmp_path: Path) -> None:
    """Prompts in any script, with control characters, or very long."""
    prompts = ["ein Hündchen, 小狗, 🐕", "a\0b\r\nc", "x" * 100_000]
    story = of(*(request(f"r{i}", adapter="base", prompt=p) for i, p in enumerate(prompts)))
    assert run(tmp_path / "out", story).error is None
    for i, prompt in enumerate(prompts):
        image = Image.open(tmp_path / "out" / "images" / f"r{i}.png")
        text: dict[str, str] = image.text  # type: ignore[attr-defined]
        assert text["pats-opt:prompt"] == prompt


def test_the_document_says_what_was_done(tmp_path: Path) -> None:
    """Batches as scheduled, spans of all phases, digests of the files, what it was run with."""
    story = problem(9, gpus=2)
    plan = schedule(story)
    folder = tmp_path / "out"
    outcome = run(folder, story)
    done = document(folder)
    assert done == outcome.execution
    assert done.complete
    assert not done.live
    assert done.sittings == 1
    assert done.instance == plan.instance
    assert done.maker == plan.solver
    assert done.schedule_sha256 == journals(folder)[0].head.key["schedule"]
    assert (done.model.scheduler, done.model.rank, done.model.slots) == ("FakeScheduler", 4, 2)
    assert done.versions["fake"] == "1"
    assert [g.device for g in done.gpus] == ["fake cpu", "fake cpu"]
    for planned, ran in zip(plan.gpus, done.gpus, strict=True):
        assert planned.id == ran.id
        last = 0.0
        for index, (batch, did) in enumerate(zip(planned.batches, ran.batches, strict=True)):
            assert did.index == index
            assert {(s.id, s.option) for s in batch.requests} == {
                (m.id, m.option) for m in did.members
            }
            assert set(did.load) == set(batch.load) - {"base"}
            assert set(did.evict) == set(batch.evict) - {"base"}
            assert last <= did.switch_start_s <= did.start_s <= did.end_s
            assert all(m.completion_s is not None for m in did.members)
            assert not did.resumed
            phases = [span.phase for span in did.spans]
            assert phases.count(Phase.SAVE) == len(did.members)
            assert phases.count(Phase.LOAD) == len(did.load)
            last = did.end_s
            for member in did.members:
                data = (folder / str(member.image)).read_bytes()
                assert member.sha256 == hashlib.sha256(data).hexdigest()


def test_runs_are_deterministic(tmp_path: Path) -> None:
    """The same run elsewhere makes the same files, byte for byte."""
    run(tmp_path / "one", problem(7, gpus=2))
    run(tmp_path / "two", problem(7, gpus=2))
    assert pictures(tmp_path / "one") == pictures(tmp_path / "two")


def test_pace_keeps_real_time(tmp_path: Path) -> None:
    """No switch or batch starts before its tick; fast does not wait for anything."""
    story = problem(6, tick_s=0.02)
    plan = schedule(story)
    run(tmp_path / "paced", story, pace=Pace.SCHEDULE)
    (ran,) = document(tmp_path / "paced").gpus
    for batch, did in zip(plan.gpus[0].batches, ran.batches, strict=True):
        assert did.switch_start_s >= batch.switch_start * 0.02
        assert did.start_s >= batch.start * 0.02
    late = of(request("r0", adapter="base", arrival_s=1e6))
    assert run(tmp_path / "fast", late, pace=Pace.FAST).error is None


def test_a_failed_request_fails_alone(tmp_path: Path) -> None:
    """The others go on, the reason is told, the exit is that of missing images."""
    story = of(*(request(f"r{i}", adapter="a", prompt="fail" * (i == 1)) for i in range(4)))
    folder = tmp_path / "out"
    outcome = run(folder, story)
    assert isinstance(outcome.error, UnfinishedError)
    assert str(outcome.error) == ("1 of 4 images is missing; run it again with --resume to make it")
    done = document(folder)
    assert not done.complete
    errors = {m.id: m.error for _, b in done.batches() for m in b.members if m.error}
    assert errors == {"r1": "the prompt says so"}
    assert sorted(pictures(folder)) == ["r0.png", "r2.png", "r3.png"]


def test_a_picture_that_cannot_be_encoded_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a request that fails in the engine does."""
    from pats_opt.execute import saver

    real = saver.encode

    def encode(picture: Any, text: dict[str, str]) -> bytes:
        if text["request"] == "r1":
            raise ValueError("odd\npixels")
        return real(picture, text)

    monkeypatch.setattr("pats_opt.execute.saver.encode", encode)
    outcome = run(tmp_path / "out", problem(3))
    assert "1 of 3 images" in str(outcome.error)
    members = [m for _, b in outcome.execution.batches() for m in b.members]
    assert {m.id: m.error for m in members if m.error} == {"r1": "ValueError: odd\\npixels"}


def test_engines_that_do_not_open(tmp_path: Path) -> None:
    """An unfit schedule is bad input; a failing device is reported with its GPU, in one line."""
    refused = run(tmp_path / "one", problem(), engine=open_refusing)
    assert isinstance(refused.error, InputError)
    assert "adapter 'a' has no weights" in str(refused.error)
    failed = run(tmp_path / "two", problem(gpus=2), engine=open_failing)
    assert isinstance(failed.error, UnfinishedError)
    assert "RuntimeError: the device is gone; 6 of 6 images are missing" in str(failed.error)


@pytest.mark.parametrize("room", [0, 700, 5_000])
def test_a_full_disk_ends_cleanly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Said in one line, whatever is made is kept, and the run goes on once there is room.

    More pictures wait than the queue holds, so a worker that waits for the queue must not for ever.
    """
    folder = tmp_path / "out"
    left = room
    real = os.write

    def write(handle: int, data: bytes) -> int:
        nonlocal left
        size = min(left, len(data))
        if data and not size:
            raise OSError(errno.ENOSPC, "No space left on device")
        left -= size
        return real(handle, data[:size])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        try:
            error: Exception | None = run(folder, problem(40)).error
        except UnfinishedError as raised:
            error = raised
    assert isinstance(error, UnfinishedError)
    assert "No space left on device" in str(error)
    again = run(folder, problem(40), resume=True)
    assert again.error is None
    assert len(pictures(folder)) == 40
    assert set(makings(folder).values()) == {1}
    run(tmp_path / "whole", problem(40))
    assert pictures(folder) == pictures(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_cleanly(tmp_path: Path, number: int) -> None:
    """Ctrl-C and SIGTERM end it soon; the images made are kept, and it goes on later."""
    folder = tmp_path / "out"
    story = problem(12)

    def interrupt() -> None:
        while not list((folder / "images").glob("*.png")):
            time.sleep(0.005)
        os.kill(os.getpid(), number)

    (folder / "images").mkdir(parents=True)
    threading.Thread(target=interrupt).start()
    outcome = run(folder, story, engine=open_slow)
    assert isinstance(outcome.error, UnfinishedError)
    assert str(outcome.error).startswith("interrupted; ")
    assert not document(folder).complete
    assert 0 < len(makings(folder)) < 12
    assert signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL)
    again = run(folder, story, resume=True)
    assert again.error is None
    assert again.execution.sittings == 2
    assert set(makings(folder).values()) == {1}


def test_schedules_that_are_refused(tmp_path: Path) -> None:
    """Invalid ones, those of other instances and empty ones are refused before anything is made."""
    story = problem()
    plan = schedule(story)
    (only,) = plan.gpus
    early = replace(only.batches[-1], start=0, switch_start=0)
    invalid = replace(plan, gpus=(replace(only, batches=(*only.batches[:-1], early)),))
    other = replace(plan, instance=InstanceRef(name="other", sha256="0" * 64))
    none = replace(plan, status=Status(stop=StopReason.TIME_LIMIT, point=SolutionStatus.NONE))
    for wrong, why in (
        (invalid, "breaks rule"),
        (other, "made for another instance"),
        (none, "there is no schedule"),
    ):
        with pytest.raises(InputError, match=why):
            ScheduleDriver(story, wrong, Pace.FAST)
    assert not list(tmp_path.iterdir())


def test_every_gpu_needs_a_device(tmp_path: Path) -> None:
    """Which the command line sees to."""
    with pytest.raises(InputError, match="1 devices are named for 2 GPUs"):
        run(tmp_path / "out", problem(gpus=2), devices=("cpu",))


def test_rejected_requests_get_no_image(tmp_path: Path) -> None:
    """They are listed, and the run is complete without them."""
    hopeless = request("r1", demand={"vram_gib": 99.0}, reject_loss=1.0)
    outcome = run(tmp_path / "out", of(request("r0"), hopeless))
    assert outcome.error is None
    assert outcome.execution.rejected == ("r1",)
    assert list(pictures(tmp_path / "out")) == ["r0.png"]


def test_latents_are_primed(tmp_path: Path) -> None:
    """Members that skip steps are known to the engine before the clock starts."""
    skips = [{"steps": 2, "quality": 1.0, "skip": 3}]
    outcome = run(tmp_path / "out", of(request("r0", options=skips), request("r1")))
    assert outcome.error is None
    (only,) = outcome.execution.gpus
    assert [span.ids for span in only.primed] == [("r0",)]
    assert (tmp_path / "out" / "latents").is_dir()


def test_a_gpu_without_batches_gets_no_worker(tmp_path: Path) -> None:
    """It is in the document all the same."""
    story = of(request("r0"), gpus=[gpu("one", ()), gpu("two", ())])
    outcome = run(tmp_path / "out", story)
    assert [(g.id, len(g.batches)) for g in outcome.execution.gpus] == [("one", 1), ("two", 0)]
    assert len(journals(tmp_path / "out")) == 1


def test_an_instance_without_requests(tmp_path: Path) -> None:
    """Nothing to do is done at once."""
    outcome = run(tmp_path / "out", of())
    assert outcome.error is None
    assert outcome.execution.complete


def test_the_document_reads_back_strictly(tmp_path: Path) -> None:
    """It is what its type says, with nothing unknown in it."""
    run(tmp_path / "out", problem())
    data = (tmp_path / "out" / "execution.json").read_bytes()
    assert msgspec.json.decode(data, type=Execution) == earlier(tmp_path / "out")
