"""The journal: lines that are on disk, a torn last one, one writer."""

from __future__ import annotations

from pathlib import Path

import pytest

from pats_opt.errors import InputError
from pats_opt.execute.journal import (
    BatchEnded,
    JournalHead,
    JournalLine,
    JournalWriter,
    RequestFinished,
    SessionStarted,
    SessionStopped,
    create,
    read,
)
from pats_opt.execute.record import BatchRun, MemberRun, ModelRef, Phase, Span, Tier

HEAD = JournalHead(key={"model": "tiny"}, gpu="gpu-0", started="2026-01-01T00:00:00+00:00")
MODEL = ModelRef(
    name="tiny", dtype="float32", guidance=5.0, scheduler="s", slots=2, rank=4, tier=Tier.HOST
)
MADE = MemberRun(id="r\n0", option=1, completion_s=2.5, image="images/x.png", sha256="00")
LINES: list[JournalLine] = [
    SessionStarted(number=1, second=0.0, engine="thread", device="cpu", model=MODEL, versions={}),
    RequestFinished(batch=0, member=MADE),
    RequestFinished(batch=0, member=MemberRun(id="r1", option=0, error="too large")),
    BatchEnded(
        batch=BatchRun(
            index=0,
            load=("a",),
            switch_start_s=0.5,
            start_s=1.0,
            end_s=2.0,
            members=(MADE,),
            spans=(Span(phase=Phase.STEP, start_s=1.0, seconds=0.5, n=2, unet_s=0.25),),
        )
    ),
    SessionStopped(second=3.0),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with all kinds of lines."""
    file = tmp_path / "gpu-0.jsonl"
    create(file, HEAD)
    with JournalWriter(file) as journal:
        for line in LINES:
            journal.append(line)
    return file


def test_what_is_written_is_read(path: Path) -> None:
    """All lines come back; the last second is the latest that any speaks of."""
    journal = read(path)
    assert journal.head == HEAD
    assert list(journal.lines) == LINES
    assert journal.size == path.stat().st_size
    assert journal.second == 3.0
    assert not journal.empty


def test_any_torn_end_is_forgotten(path: Path) -> None:
    """Cut anywhere, it has the whole lines before the cut; writing goes on after them."""
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    for cut in range(first, len(data)):
        path.write_bytes(data[:cut])
        whole = data[:cut].count(b"\n")
        assert list(read(path).lines) == LINES[: whole - 1]
        if cut % 50 == 0:
            with JournalWriter(path) as journal:
                journal.append(LINES[-1])
            assert list(read(path).lines) == [*LINES[: whole - 1], LINES[-1]]


def test_nothing_but_a_whole_journal_is_created(tmp_path: Path) -> None:
    """A file without its first line is refused; what a kill left of making it is replaced."""
    file = tmp_path / "gpu-0.jsonl"
    file.with_name("gpu-0.jsonl.part").write_bytes(b'{"type":')
    create(file, HEAD)
    assert read(file).head == HEAD
    assert read(file).empty
    file.write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        read(file)


@pytest.mark.parametrize("text", [b"{}", b"garbage", b'{"type":"left","batch":0}', b"\xff\xfe"])
def test_a_spoilt_line_is_named(path: Path, text: bytes) -> None:
    """A line in the middle that is no journal's is an error that names it."""
    lines = path.read_bytes().split(b"\n")
    lines[2] = text
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(InputError, match="line 3: this is no line of a journal"):
        read(path)


def test_one_writer_at_a_time(path: Path) -> None:
    """A second writer is refused while the first is at it."""
    with JournalWriter(path), pytest.raises(InputError, match="another run"):
        JournalWriter(path, patience_s=0.1)
    with JournalWriter(path):
        pass
