"""Runs that were killed, stopped or half done go on: no image is lost, none is made twice."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pats_opt.errors import InputError
from pats_opt.execute.drivers import ScheduleDriver
from pats_opt.execute.journal import BatchEnded, RequestFinished, SessionStarted
from pats_opt.execute.record import Pace, Tier
from tests.execute.fakes import open_failing
from tests.execute.runs import (
    drawn,
    journals,
    makings,
    of,
    options,
    pictures,
    problem,
    run,
    run_live,
    schedule,
)
from tests.support import scale
from tests.support.zoo import request

ROOT = Path(__file__).parents[2]


def killed(folder: Path, mode: str, count: int, *more: str) -> list[dict[str, Any]]:
    """Output of ``killed.py``."""
    told = subprocess.run(
        [sys.executable, "-m", "tests.execute.killed", str(folder), mode, str(count), *more],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'solvers'}"},
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
    ).stdout
    return [json.loads(line) for line in told.splitlines()]


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, str]:
    """Digests of the images of a run that nothing interrupts."""
    run(tmp_path / "whole" / "out", problem(6))
    files = pictures(tmp_path / "whole" / "out")
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def test_killed_at_every_point(tmp_path: Path, whole: dict[str, str]) -> None:
    """SIGKILL before a call to the file system, then resumed to the same images.

    At full depth before each call in turn, else before every fourth.
    Each image is journalled once: what was made is never made again, whatever was going on.
    """
    step = 1 if scale.FULL else 4
    told = killed(tmp_path, "points", step)
    assert len(told) * step > 60, "open, write, fsync, close, rename and unlink for six images"
    assert [each["over"] for each in told] == [False] * (len(told) - 1) + [True]
    for each in told:
        assert each["files"] == whole, each["call"]
        assert set(each["made"].values()) == {1}, each["call"]


def test_killed_again_and_again(tmp_path: Path, whole: dict[str, str]) -> None:
    """Every session is killed at random, until one gets to the end."""
    count = 5 if scale.FULL else 2
    told = killed(tmp_path, "chain", count)
    assert sum(each["kills"] for each in told) > count
    for each in told:
        assert each["files"] == whole
        assert set(each["made"].values()) == {1}


def test_what_is_missing_is_made_again(tmp_path: Path) -> None:
    """An image that is gone or spoilt is made again, in the residency that its batch needs."""
    folder = tmp_path / "out"
    story = problem(9, switching={"max_resident": 1})
    run(folder, story)
    before = pictures(folder)
    (folder / "images" / "r4.png").unlink()
    (folder / "images" / "r8.png").write_bytes(b"spoilt")
    outcome = run(folder, story, resume=True)
    assert outcome.error is None
    assert outcome.new == 2
    assert pictures(folder) == before
    assert makings(folder) == {f"r{i}": 1 + (i in {4, 8}) for i in range(9)}
    assert outcome.execution.sittings == 2


@pytest.mark.parametrize("seed", scale.seeds(12))
def test_random_runs_with_images_lost(tmp_path: Path, seed: int) -> None:
    """Whatever is missing of whatever schedule, each batch finds its adapters and all is there."""
    folder = tmp_path / "out"
    story = drawn(seed)
    assert run(folder, story).error is None
    before = pictures(folder)
    rng = random.Random(seed)
    gone = rng.sample(sorted(before), rng.randint(0, len(before)))
    for name in gone:
        (folder / "images" / name).unlink()
    outcome = run(folder, story, resume=True)
    assert outcome.error is None
    assert outcome.new == len(gone)
    assert pictures(folder) == before


def test_what_is_still_missing_is_counted(tmp_path: Path) -> None:
    """Images that are gone and were not made again count as missing, whatever the journal says."""
    folder = tmp_path / "out"
    run(folder, problem(9))
    for i in (4, 8):
        (folder / "images" / f"r{i}.png").unlink()
    outcome = run(folder, problem(9), resume=True, engine=open_failing)
    assert "2 of 9 images are missing" in str(outcome.error)
    assert not outcome.execution.complete
    assert outcome.new == 0


def test_a_complete_run_is_left_alone(tmp_path: Path) -> None:
    """Resuming it opens no engine and changes no image and no journal."""
    folder = tmp_path / "out"
    first = run(folder, problem())
    lines = [j.lines for j in journals(folder)]

    def never(*_: object) -> Any:
        raise AssertionError

    outcome = run(folder, problem(), resume=True, engine=never)
    assert outcome.error is None
    assert outcome.new == 0
    assert outcome.execution == first.execution
    assert [j.lines for j in journals(folder)] == lines


def test_resume_of_nothing_begins(tmp_path: Path) -> None:
    """A script may always say --resume."""
    assert run(tmp_path / "out", problem(), resume=True).error is None


def test_failed_requests_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only they; their batch keeps its times and is marked as resumed."""
    from pats_opt.execute import saver

    story = of(*(request(f"r{i}", adapter="a") for i in range(4)))
    folder = tmp_path / "out"
    real = saver.encode

    def encode(picture: Any, text: dict[str, str]) -> bytes:
        if text["request"] == "r2":
            raise ValueError("odd")
        return real(picture, text)

    with monkeypatch.context() as patch:
        patch.setattr("pats_opt.execute.saver.encode", encode)
        first = run(folder, story)
    outcome = run(folder, story, resume=True)
    assert first.error is not None
    assert outcome.error is None
    assert outcome.new == 1
    assert set(makings(folder).values()) == {1}
    ((_, before),) = [b for b in first.execution.batches() if len(b[1].members) == 4]
    ((_, after),) = outcome.execution.batches()
    assert after.resumed
    assert not before.resumed
    assert after.start_s == before.start_s
    assert after.end_s > before.end_s
    assert {m.id for m in after.members if m.image} == {"r0", "r1", "r2", "r3"}
    assert len(after.spans) > len(before.spans)


def test_the_clock_goes_on(tmp_path: Path) -> None:
    """A resumed run begins at the last second that the journal speaks of."""
    folder = tmp_path / "out"
    story = problem(6, gpus=2, tick_s=0.02)
    run(folder, story, pace=Pace.SCHEDULE)
    last = max(j.second for j in journals(folder))
    (folder / "images" / "r5.png").unlink()
    outcome = run(folder, story, pace=Pace.SCHEDULE, resume=True)
    assert outcome.error is None
    sittings = [s for j in journals(folder) for s in j.lines if isinstance(s, SessionStarted)]
    assert [s.second for s in sittings if s.number == 2] == [last]
    again = [
        line.member
        for j in journals(folder)
        for line in j.lines
        if isinstance(line, RequestFinished) and line.member.id == "r5"
    ]
    assert again[-1].completion_s is not None
    assert again[-1].completion_s > last


def test_a_batch_cut_short_is_recognised_by_its_images(tmp_path: Path) -> None:
    """All images are there but the batch's line is not: it counts as resumed, nothing is run."""
    folder = tmp_path / "out"
    run(folder, of(request("r0"), request("r1", steps=2)))
    file = folder / "journal" / "gpu-0.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    (journal,) = journals(folder)
    assert isinstance(journal.lines[-1], BatchEnded)
    file.write_bytes(b"".join(lines[:-1]))
    outcome = run(folder, of(request("r0"), request("r1", steps=2)), resume=True)
    assert outcome.error is None
    ((_, batch),) = outcome.execution.batches()
    assert batch.resumed
    assert [m.id for m in batch.members] == ["r0", "r1"]
    assert batch.end_s == batch.members[-1].completion_s


def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path: Path) -> None:
    """A folder that was there stays."""
    (tmp_path / "there").mkdir()
    for name in ("new", "there"):
        with pytest.raises(InputError, match="has no file"):
            run(tmp_path / name, problem(), adapters=str(tmp_path / "there"))
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "adapters") == ["there"]


def test_without_resume_it_is_refused(tmp_path: Path) -> None:
    """A folder with a run in it says what to do."""
    run(tmp_path / "out", problem())
    with pytest.raises(InputError, match="add --resume to go on with it, or name another"):
        run(tmp_path / "out", problem())


@pytest.mark.parametrize(
    ("others", "named"),
    [
        ({"guidance": 1.0}, "guidance 5.0, not 1.0"),
        ({"model": "sdxl-random"}, "model tiny, not sdxl-random"),
        ({"dtype": "bfloat16"}, "dtype float32, not bfloat16"),
        ({"shrink": 2}, "shrink 16, not 2"),
        ({"pace": Pace.SCHEDULE}, "pace fast, not schedule"),
        ({"tier": Tier.DISK}, "--load-from host, not disk"),
        ({"memory_gib": 4.0}, "--memory None, not 4.0"),
    ],
)
def test_another_run_is_refused(tmp_path: Path, others: dict[str, Any], named: str) -> None:
    """Naming what differs."""
    run(tmp_path / "out", problem())
    with pytest.raises(InputError, match=f"holds another run .{named}.; give the options"):
        run(tmp_path / "out", problem(), resume=True, **others)


def test_other_inputs_are_refused(tmp_path: Path) -> None:
    """Another schedule, instance, policy or adapter file is another run."""
    folder = tmp_path / "out"
    story = problem()
    run(folder, story)
    other = ScheduleDriver(story, schedule(story, "pats"), Pace.FAST)
    with pytest.raises(InputError, match=r"another run .schedule"):
        run(folder, story, other, resume=True)
    with pytest.raises(InputError, match=r"another run .instance [0-9a-f]{12}, not"):
        run(folder, problem(7), resume=True)
    with pytest.raises(InputError, match="policy none, not fifo"):
        run_live(folder, story, resume=True)
    chosen = options(folder, story)
    assert chosen.adapters is not None
    changed = tmp_path / "changed"
    changed.mkdir()
    for name in "ab":
        (changed / f"{name}.safetensors").write_text("other weights")
    with pytest.raises(InputError, match="adapter files"):
        run(folder, story, resume=True, adapters=str(changed))
