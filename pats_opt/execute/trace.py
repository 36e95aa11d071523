"""``trace.json``: an execution for the viewers of Chrome's trace-event format (Perfetto).

One process a GPU, with lanes for its batches, switching, computing, saving and loads beside serving
(as many as are in progress at once), and one process of requests that wait. Format: "Trace Event
Format", Chromium project.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from pats_opt.execute.record import BatchRun, Execution, GpuRun, LoadRun, Pace, Phase, Span
from pats_opt.model.problem import Problem

Event = dict[str, Any]

#: Process of the waiting requests; GPUs are numbered from 1.
QUEUE = 0

BATCH, SWITCH, COMPUTE, SAVE, BEFORE = range(1, 6)

LANES = {
    BATCH: "batches",
    SWITCH: "switch",
    COMPUTE: "compute",
    SAVE: "save",
    BEFORE: "before the run",
}

#: The first lane of loads beside serving.
LOADER = len(LANES) + 1

LANE_OF = {
    Phase.LOAD: SWITCH,
    Phase.ACTIVATE: SWITCH,
    Phase.ENCODE: COMPUTE,
    Phase.STEP: COMPUTE,
    Phase.LATENTS: COMPUTE,
    Phase.DECODE: COMPUTE,
    Phase.SAVE: SAVE,
    Phase.PRIME: BEFORE,
}


def trace(problem: Problem, execution: Execution) -> bytes:
    """The file."""
    events = [*_queue(problem, execution), *_gpus(execution.gpus)]
    return msgspec.json.encode({"traceEvents": events, "displayTimeUnit": "ms"}) + b"\n"


def _gpus(gpus: Iterable[GpuRun]) -> Iterator[Event]:
    for pid, gpu in enumerate(gpus, 1):
        yield _named("process_name", pid, f"{gpu.id} ({gpu.device})")
        yield _named("process_sort_index", pid, pid, "sort_index")
        for tid, name in LANES.items():
            yield _named("thread_name", pid, name, tid=tid)
            yield _named("thread_sort_index", pid, tid, "sort_index", tid=tid)
        for batch in gpu.batches:
            yield from _batch(pid, batch)
        yield from (_span(pid, span, LANE_OF[span.phase], None) for span in gpu.primed)
        yield from _loads(pid, gpu.loads)


def _loads(pid: int, loads: Iterable[LoadRun]) -> Iterator[Event]:
    """Loads beside serving, each in the first lane that is free."""
    ends: list[float] = []  # by lane
    for load in loads:
        lane = next((i for i, end in enumerate(ends) if end <= load.start_s), len(ends))
        if lane == len(ends):
            ends.append(0.0)
            tid = LOADER + lane
            yield _named("thread_name", pid, f"loader {lane}" if lane else "loader", tid=tid)
            yield _named("thread_sort_index", pid, tid, "sort_index", tid=tid)
        ends[lane] = load.end_s
        about = {
            "load": load.index,
            "evict": load.evict,
            "tier": load.tier,
            "mib": load.mib,
            "hidden": load.hidden,
        }
        title = f"load {load.adapter}"
        yield _complete((pid, LOADER + lane), title, load.start_s, load.end_s, about)


def _batch(pid: int, batch: BatchRun) -> Iterator[Event]:
    about = {
        "batch": batch.index,
        "requests": [m.id for m in batch.members],
        "load": batch.load,
        "evict": batch.evict,
        "peak_gib": batch.peak_gib,
        "splits": batch.splits,
        "resumed": batch.resumed,
    }
    title = f"batch {batch.index} of {len(batch.members)}"
    yield _complete((pid, BATCH), title, batch.start_s, batch.end_s, about)
    if batch.switch_start_s < batch.start_s:
        yield _complete(
            (pid, BATCH),
            f"switch before {batch.index}",
            batch.switch_start_s,
            batch.start_s,
            {"load": batch.load, "evict": batch.evict},
        )
    for span in batch.spans:
        yield _span(pid, span, LANE_OF[span.phase], batch.index)
        if span.phase is Phase.STEP:
            yield _counter(pid, span.start_s, span.n)
    yield _counter(pid, batch.end_s, 0)
    for member in batch.members:
        if member.error is not None:
            yield {
                "ph": "i",
                "s": "p",
                "name": f"{member.id} failed",
                "pid": pid,
                "tid": COMPUTE,
                "ts": _us(batch.end_s),
                "args": {"error": member.error},
            }


def _queue(problem: Problem, execution: Execution) -> Iterator[Event]:
    """How long each request waited for its batch (or the switch before that) to begin."""
    yield _named("process_name", QUEUE, "waiting requests")
    yield _named("process_sort_index", QUEUE, QUEUE, "sort_index")
    paced = execution.live or execution.pace is Pace.SCHEDULE
    arrival = {r.id: r.arrival_s if paced else 0.0 for r in problem.instance.requests}
    adapter = {r.id: r.adapter for r in problem.instance.requests}
    changes: list[tuple[float, int]] = []
    for gpu, batch in execution.batches():
        for member in batch.members:
            begins, ends = arrival[member.id], max(arrival[member.id], batch.start_s)
            changes += [(begins, 1), (ends, -1)]
            for phase, second in (("b", begins), ("e", ends)):
                yield {
                    "ph": phase,
                    "cat": "wait",
                    "id": member.id,
                    "name": member.id,
                    "pid": QUEUE,
                    "tid": 0,
                    "ts": _us(second),
                    "args": {"adapter": adapter[member.id], "gpu": gpu.id, "batch": batch.index},
                }
    waiting = 0
    for second, change in sorted(changes):
        waiting += change
        yield {
            "ph": "C",
            "name": "waiting",
            "pid": QUEUE,
            "ts": _us(second),
            "args": {"requests": waiting},
        }


def _span(pid: int, span: Span, tid: int, batch: int | None) -> Event:
    about = {"n": span.n, "ids": span.ids, "tier": span.tier, "mib": span.mib, "batch": batch}
    if span.unet_s is not None:
        about["unet_ms"] = 1e3 * span.unet_s
    known = {key: value for key, value in about.items() if value is not None}
    title = span.phase.value if not span.ids else f"{span.phase.value} {', '.join(span.ids)}"
    return _complete((pid, tid), title, span.start_s, span.start_s + span.seconds, known)


def _complete(lane: tuple[int, int], name: str, start_s: float, end_s: float, args: Event) -> Event:
    return {
        "ph": "X",
        "name": name,
        "pid": lane[0],
        "tid": lane[1],
        "ts": _us(start_s),
        "dur": _us(max(0.0, end_s - start_s)),
        "args": args,
    }


def _counter(pid: int, second: float, members: int) -> Event:
    return {
        "ph": "C",
        "name": "active members",
        "pid": pid,
        "ts": _us(second),
        "args": {"members": members},
    }


def _named(what: str, pid: int, value: str | int, key: str = "name", tid: int = 0) -> Event:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {key: value}}


def _us(seconds: float) -> float:
    """Microseconds, to the nanosecond."""
    return round(1e6 * seconds, 3)
