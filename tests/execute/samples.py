"""Executions made up from schedules: what a device with known constants would have recorded."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from pats_opt.execute.compare.pairing import by_place
from pats_opt.execute.record import (
    BatchRun,
    Execution,
    GpuRun,
    MemberRun,
    ModelRef,
    Pace,
    Phase,
    Span,
    Tier,
)
from pats_opt.model.checker import ReplayedBatch, check
from pats_opt.model.problem import Adapters, Problem, ids
from pats_opt.model.schedule import Schedule


class Device(Struct, kw_only=True):
    """Times of a made-up device, in seconds.

    Attributes:
        step_s: A step of n members.
        encode_s: Encoding a batch of n.
        decode_s: Decoding an image.
        save_s: Saving it, beside the GPU's work.
        load_s: Loading an adapter, by its index and the residents before.
        activate_s: Making another set of adapters the active one.
        unet_share: Share of a step that is the UNet's.
        mib: Size of an adapter.
        noise: Standard deviation of each span's relative error.
        peak_gib: Most memory in a batch of n; None where it does not tell.
    """

    step_s: Callable[[int], float]
    encode_s: Callable[[int], float] = lambda n: 0.0  # noqa: ARG005
    decode_s: float = 0.0
    save_s: float = 0.0
    load_s: Callable[[int, Adapters], float] = lambda adapter, before: 0.0  # noqa: ARG005
    activate_s: float = 0.0
    unet_share: float | None = 0.9
    mib: float = 44.5
    noise: float = 0.0
    peak_gib: Callable[[int], float] | None = None


def as_predicted(problem: Problem) -> Device:
    """The device that takes exactly what the instance says."""
    site = problem.site
    return Device(
        step_s=site.clock.step_s,
        encode_s=site.clock.overhead_s,
        load_s=site.load_seconds,
        activate_s=site.activate_s,
    )


def executed(
    problem: Problem,
    schedule: Schedule,
    device: Device,
    *,
    pace: Pace = Pace.SCHEDULE,
    seed: int = 0,
    **others: Any,
) -> Execution:
    """Execution of a schedule as the device would record it.

    Args:
        problem: The schedule's instance.
        schedule: A valid schedule.
        device: The device.
        pace: Whether the schedule's starts are kept to.
        seed: Of the noise.
        **others: Fields of the execution.
    """
    planned = by_place(schedule, check(problem, schedule).replayed)
    worker = _Worker(problem, device, pace, random.Random(seed))
    made: dict[str, Any] = {
        "instance": schedule.instance,
        "maker": schedule.solver,
        "model": ModelRef(
            name="tiny",
            dtype="float32",
            guidance=5.0,
            scheduler="euler",
            slots=problem.site.max_resident,
            rank=4,
            tier=Tier.HOST,
        ),
        "pace": pace,
        "engine": "thread",
        "complete": True,
        "started": "2026-01-02T03:04:05+00:00",
        "versions": {"python": "3.11.9", "torch": "2.13.0"},
        "gpus": tuple(
            GpuRun(
                id=gpu.id,
                device="cpu",
                batches=tuple(worker.gpu({k[1]: b for k, b in planned.items() if k[0] == gpu.id})),
            )
            for gpu in problem.site.gpus
        ),
        "rejected": schedule.rejected,
        **others,
    }
    return Execution(**made)


class _Worker:
    """Runs the batches of one GPU after the other on a made-up clock."""

    def __init__(self, problem: Problem, device: Device, pace: Pace, rng: random.Random) -> None:
        self.problem, self.device, self.pace, self.rng = problem, device, pace, rng
        self.now = 0.0
        self.spans: list[Span] = []

    def gpu(self, planned: dict[int, ReplayedBatch]) -> list[BatchRun]:
        """The batches of one GPU."""
        self.now = 0.0
        found = []
        for index, batch in planned.items():
            found.append(self.batch(index, batch))
        return found

    def batch(self, index: int, planned: ReplayedBatch) -> BatchRun:
        """One batch with its switch."""
        site, device, batch = self.problem.site, self.device, planned.batch
        active = frozenset(job.adapter for job, _, _ in planned.members)
        self.spans = []
        self.wait(batch.switch_start)
        switch_start = self.now
        before = planned.switch.evict.union(planned.resident) - planned.switch.load
        for adapter in sorted(planned.switch.load):
            self.spend(
                Phase.LOAD,
                device.load_s(adapter, before),
                ids=ids(site, [adapter]),
                tier=Tier.HOST,
                mib=device.mib,
            )
        if planned.switch.activate:
            seconds = device.activate_s * len(planned.switch.activate)
            self.spend(Phase.ACTIVATE, seconds, ids=ids(site, active))
        self.wait(batch.start)
        start = self.now
        members = self.members(planned)
        return BatchRun(
            index=index,
            load=batch.load,
            evict=batch.evict,
            switch_start_s=switch_start,
            start_s=start,
            end_s=self.now,
            members=tuple(members),
            spans=tuple(self.spans),
            peak_gib=device.peak_gib(len(members)) if device.peak_gib else None,
        )

    def members(self, planned: ReplayedBatch) -> list[MemberRun]:
        """Encode all, then step until the last has left."""
        device, found = self.device, []
        live = [(job.options[o].steps, job.id, o) for job, o, _ in planned.members]
        self.spend(Phase.ENCODE, device.encode_s(len(live)), n=len(live))
        done = 0
        while live:
            share = device.unet_share
            took = self.spend(Phase.STEP, device.step_s(len(live)), n=len(live), share=share)
            assert took > 0
            done += 1
            for steps, name, option in live:
                if steps == done:
                    self.spend(Phase.DECODE, device.decode_s, ids=(name,))
                    found.append(self.save(name, option))
            live = [member for member in live if member[0] > done]
        return found

    def save(self, name: str, option: int) -> MemberRun:
        """An image, saved beside what the GPU goes on with."""
        seconds = self.noisy(self.device.save_s)
        if seconds:
            self.spans.append(
                Span(phase=Phase.SAVE, start_s=self.now, seconds=seconds, ids=(name,))
            )
        return MemberRun(
            id=name, option=option, completion_s=self.now + seconds, image=f"images/{name}.png"
        )

    def wait(self, tick: int) -> None:
        """Wait for a tick, where the pace asks for it."""
        if self.pace is Pace.SCHEDULE:
            self.now = max(self.now, tick * self.problem.site.tick_s)

    def spend(self, phase: Phase, seconds: float, share: float | None = None, **span: Any) -> float:
        """A span, unless it takes no time."""
        took = self.noisy(seconds)
        if took:
            unet_s = None if share is None else share * took
            self.spans.append(
                Span(phase=phase, start_s=self.now, seconds=took, unet_s=unet_s, **span)
            )
        self.now += took
        return took

    def noisy(self, seconds: float) -> float:
        """Seconds with the device's noise."""
        return seconds * max(0.0, self.rng.gauss(1.0, self.device.noise))
