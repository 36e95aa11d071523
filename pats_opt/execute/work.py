"""Plain data shared by supervisor and workers: settings, orders, results, and the run's clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from pats_opt.execute.adapter_set import AdapterSet, Composition
from pats_opt.execute.latent_folder import LatentCacheSettings
from pats_opt.execute.record import LatentLookup, Span, Tier

#: What the clock shows before the start is agreed on: far before it.
NOT_YET_S = 1e6


class ClockStart(Struct, frozen=True):
    """When a session begins.

    Attributes:
        at: The time of day (Unix seconds).
        second: What the run's clock shows then: 0, or where an interrupted run stopped.
    """

    at: float
    second: float = 0.0

    @classmethod
    def soon(cls, second: float, ahead_s: float) -> ClockStart:
        """A start a moment from now, so that every worker hears of it before it comes."""
        return cls(time.time() + ahead_s, second)


class RunClock:
    """Seconds since the run's start; negative until the session has begun."""

    def __init__(self) -> None:
        self._zero = time.perf_counter() + NOT_YET_S
        self._begins: float | None = None

    def set(self, start: ClockStart) -> None:
        """Agree on the start."""
        self._begins = time.perf_counter() + (start.at - time.time())
        self._zero = self._begins - start.second

    def __call__(self) -> float:
        """The second now."""
        now = time.perf_counter()
        if self._begins is not None and now < self._begins:
            return now - self._begins
        return now - self._zero


class Member(Struct, frozen=True, kw_only=True):
    """One request of a batch, with all that decides its image.

    Attributes:
        option: Index of its option, for the record.
        adapter: Its adapter, or None for the bare model.
        negative_prompt: Empty for none.
        width: Pixels, already shrunk where the run shrinks.
        steps: Denoising steps to execute.
        skip: Steps skipped before them, by starting from a latent made beforehand.
    """

    id: str
    option: int
    adapter: str | None
    prompt: str
    negative_prompt: str
    seed: int
    width: int
    height: int
    steps: int
    skip: int = 0


class Order(Struct, frozen=True, kw_only=True):
    """A switch and the batch after it, for one GPU.

    Attributes:
        index: The batch's place in the GPU's list.
        load: Adapters to make resident first, after evicting ``evict``.
        members: The members to run (of a resumed batch, those without an image yet).
        made: Of a resumed batch, how many members had their image already.
        switch_at_s: Second on the run's clock before which the switch does not begin.
        start_at_s: The same for the batch.
    """

    index: int
    load: tuple[str, ...]
    evict: tuple[str, ...]
    members: tuple[Member, ...]
    made: int = 0
    switch_at_s: float = 0.0
    start_at_s: float = 0.0


class LoadOrder(Struct, frozen=True, kw_only=True):
    """A load beside the batches of one GPU. Orders and loads begin in the order they were given.

    Attributes:
        index: Its place in the GPU's list of loads.
        adapter: The adapter to make resident; None for the bare model, which needs no loading.
        evict: Adapters that leave as it starts.
        after_batch: Whether it waits for the end of the batch before it, not only for its start.
        start_at_s: Second on the run's clock before which it does not start.
    """

    index: int
    adapter: str | None
    evict: tuple[str, ...] = ()
    after_batch: bool = False
    start_at_s: float = 0.0


class Shape(Struct, frozen=True, order=True):
    """Members of one size in a UNet call."""

    width: int
    height: int
    members: int

    def requests(self, adapter: str | None) -> list[Member]:
        """Return requests to warm up with; the third step is the first that a graph repeats."""
        warm_up = Member(
            id="warm-up",
            option=0,
            adapter=adapter,
            prompt="warm-up",
            negative_prompt="",
            seed=0,
            width=self.width,
            height=self.height,
            steps=3,
        )
        return [replace(warm_up, id=f"warm-up {i}", seed=i) for i in range(self.members)]


class EngineSettings(Struct, frozen=True, kw_only=True):
    """All a worker needs to set up its engine; plain data, so that it can go to another process.

    Attributes:
        model: ``tiny``, ``sdxl-random``, a folder, a ``.safetensors`` file or a hub id.
        device: A torch device such as ``cuda:0`` or ``cpu``.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
        adapter_files: The file of every adapter of the run that is one file, by adapter id.
        compositions: The parts, among those, of every other one.
        max_parts: Parts of compositions that may be added later: slots have room for them.
        slots: Adapters resident at a time.
        resident: Adapters resident at the start.
        tier: Where loads come from.
        prime: Members whose latents must be at hand before the run (``skip`` above 0).
        latents: Folder that holds those latents.
        cache: Folder of latents that requests start from instead, by their prompts; None for none.
        warm: Shapes that will be run; a GPU runs them once before the clock starts.
        graphs: Whether a GPU runs the UNet through CUDA graphs.
        memory_gib: Bound on the device memory to use, as on a smaller GPU; None for all.
        threads: CPU threads of torch; None for its default.
    """

    model: str
    device: str
    dtype: str
    guidance: float
    adapter_files: dict[str, str]
    slots: int
    compositions: dict[str, Composition] = {}
    max_parts: int = 1
    resident: tuple[str, ...] = ()
    tier: Tier = Tier.HOST
    prime: tuple[Member, ...] = ()
    latents: str | None = None
    cache: LatentCacheSettings | None = None
    warm: tuple[Shape, ...] = ()
    graphs: bool = True
    memory_gib: float | None = None
    threads: int | None = None

    @property
    def adapters(self) -> AdapterSet:
        """All adapters."""
        return AdapterSet(files=self.adapter_files, compositions=self.compositions)


class Finished(Struct, frozen=True, kw_only=True):
    """A member that left its batch.

    Attributes:
        member: The member, with the steps that it ran and skipped.
        picture: Its picture (a ``PIL.Image``); None where it failed.
        error: Why it failed, in one line.
        latents: Its look-up, where there is a folder of latents.
    """

    member: Member
    picture: Any = None
    error: str | None = None
    latents: LatentLookup | None = None


class MeasuredRun(Struct, frozen=True, kw_only=True):
    """Measures of a switch or of a batch; see ``BatchRun`` in :mod:`record`."""

    spans: tuple[Span, ...]
    peak_gib: float | None = None
    splits: int = 0


class Setup(Struct, frozen=True, kw_only=True):
    """Device, model and latents of an engine that was opened.

    Attributes:
        device: The device's name, such as ``NVIDIA A100-SXM4-80GB``.
        memory_gib: Its memory that may be used; None where unknown.
        scheduler: The diffusion scheduler's class.
        rank: Rank that the adapter slots are padded to; 0 without adapters.
        versions: Of torch, CUDA, diffusers, peft and transformers.
        primed: What making the latents of ``EngineSettings.prime`` took.
    """

    device: str
    memory_gib: float | None
    scheduler: str
    rank: int
    versions: dict[str, str]
    primed: tuple[Span, ...] = ()


class Engine(Protocol):
    """Runs orders on one device (:class:`pats_opt.execute.engine.sdxl.SdxlEngine`).

    Times are on the clock handed over when it is made: ``clock()`` gives seconds since the run's
    start and may be negative before it.

    Attributes:
        setup: What was set up.
    """

    setup: Setup

    def switch(self, load: Sequence[str], evict: Sequence[str]) -> MeasuredRun:
        """Evict, then make resident. A GPU synchronises at both ends."""
        ...

    def reserve(self, adapter: str | None, evict: Sequence[str]) -> None:
        """Evict, then take a slot for an adapter, which no batch can use before :meth:`fill`.

        The bare model (None) needs no slot.

        Another thread may be in :meth:`run`, with a batch that uses none of these adapters.
        """
        ...

    def fill(self, adapter: str) -> Span:
        """Copy an adapter into the slot that was reserved for it; it can be used afterwards.

        Other threads may be in :meth:`run` and :meth:`fill`.
        """
        ...

    def run(self, members: Sequence[Member], finished: Callable[[Finished], None]) -> MeasuredRun:
        """Run members as one batch; each is handed to ``finished`` as it leaves.

        A member that fails is handed over with its error, and the rest go on; nothing is raised for
        it. What ``finished`` raises ends the batch and is raised here.
        """
        ...

    def progress(self) -> Mapping[str, int]:
        """Return the denoising steps that are done, by request of the last batch.

        Requests that have left it may be missing.
        Another thread may be in any other method, and is not held up.
        """
        ...

    def change_adapters(self, added: AdapterSet, removed: Collection[str]) -> None:
        """Read and check further adapters, which can be loaded afterwards, and forget others.

        Those that are resident stay so until they are evicted. Other threads may be in any other
        method.

        Args:
            added: Further adapters; parts of its compositions may be among the known ones.
            removed: Ids of those to forget.

        Raises:
            InputError: One cannot be read, or does not fit the model or the slots; then nothing is
                changed.
        """
        ...

    def close(self) -> None:
        """Let go of the device's memory."""
        ...
