"""From journals to what was executed: batches and members, whatever number of sittings it took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

from msgspec.structs import replace

from pats_opt.execute.journal import Ended, Journal, Left, Sitting
from pats_opt.execute.output import ImageFolder
from pats_opt.execute.record import BatchRun, GpuRun, MemberRun


def made(
    images: Path, journals: Sequence[Journal | None], since: Sequence[Journal | None] = ()
) -> set[str]:
    """Requests whose image is there with the digest that the journal has; part files are settled.

    Args:
        images: The images' folder.
        journals: The journals.
        since: The journals as they were, to look at nothing but what has come since.

    Raises:
        OSError: A part file cannot be given its name.
    """
    folder, found = ImageFolder(images), set()
    for now, before in zip_longest(journals, since):
        lines = now.lines[len(before.lines) if before is not None else 0 :] if now else ()
        last = {line.member.id: line.member for line in lines if isinstance(line, Left)}
        for member in last.values():
            if member.image is None or member.sha256 is None:
                continue
            if folder.settled(Path(member.image).name, member.sha256):
                found.add(member.id)
    return found


def images(gpus: Iterable[GpuRun]) -> set[str]:
    """Requests that have an image."""
    return {m.id for gpu in gpus for batch in gpu.batches for m in batch.members if m.image}


def sittings(journals: Iterable[Journal | None]) -> list[Sitting]:
    """Every worker's sittings."""
    return [
        line for j in journals if j is not None for line in j.lines if isinstance(line, Sitting)
    ]


def gpu_run(gpu: str, device: str, journal: Journal | None) -> GpuRun:
    """What one GPU did.

    Args:
        gpu: Its id.
        device: Its device, where the journal has none.
        journal: Its journal, or None where it has not begun.
    """
    if journal is None:
        return GpuRun(id=gpu, device=device, batches=())
    sat = sittings([journal])
    return GpuRun(
        id=gpu,
        device=sat[-1].device if sat else device,
        batches=tuple(batches(journal)),
        primed=tuple(span for sitting in sat for span in sitting.primed),
    )


def batches(journal: Journal) -> list[BatchRun]:
    """The batches of a journal, each once, in the order they were begun.

    A batch that was interrupted, or whose failed members were tried again, has the members and
    spans of all sittings, and is marked as resumed.
    """
    members: dict[int, dict[str, MemberRun]] = {}
    ended: dict[int, BatchRun] = {}
    for line in journal.lines:
        if isinstance(line, Left):
            members.setdefault(line.batch, {})[line.member.id] = line.member
        elif isinstance(line, Ended):
            before = ended.get(line.batch.index)
            ended[line.batch.index] = line.batch if before is None else _joined(before, line.batch)
    found = [
        _cut_short(index, list(left.values()))
        if index not in ended
        else replace(ended[index], members=tuple(left.values()))
        for index, left in members.items()
    ]
    return sorted(found, key=lambda batch: (batch.switch_start_s, batch.index))


def _joined(first: BatchRun, then: BatchRun) -> BatchRun:
    """A batch that ended, and was taken up again for its failed members."""
    peaks = [peak for peak in (first.peak_gib, then.peak_gib) if peak is not None]
    return replace(
        first,
        end_s=then.end_s,
        spans=(*first.spans, *then.spans),
        peak_gib=max(peaks, default=None),
        splits=first.splits + then.splits,
        resumed=True,
    )


def _cut_short(index: int, members: Sequence[MemberRun]) -> BatchRun:
    """A batch that was never seen to end: only when its images were made is known."""
    times = [m.completion_s for m in members if m.completion_s is not None] or [0.0]
    return BatchRun(
        index=index,
        switch_start_s=min(times),
        start_s=min(times),
        end_s=max(times),
        members=tuple(members),
        resumed=True,
    )
