"""Documents of an execution: ``execution.json`` and the parts of the journal.

Everything measured is a :class:`Span` on the run's clock (seconds since its start, the same clock
for all GPUs); totals, fits and the trace for the viewer are computed from spans. Stored beside them
is only what loads beside serving did (:class:`LoadingCost`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pats_opt.model.instance import Document, Id
from pats_opt.model.schedule import InstanceRef, SolverRef

Seconds = Annotated[float, Meta(ge=0, le=1e12)]


class Phase(StrEnum):
    """Use of a span of a GPU's time."""

    LOAD = "load"  #: an adapter made resident, from ``tier``
    ACTIVATE = "activate"  #: the adapters of a batch made the active ones
    ENCODE = "encode"  #: prompts to embeddings, initial noise
    PRIME = "prime"  #: latents made for options that skip steps; before the run, no batch pays it
    STEP = "step"  #: one denoising step of ``n`` members
    LATENTS = "latents"  #: prompts looked up in a folder of latents, which are read or stored
    DECODE = "decode"  #: latents to an image in host memory
    SAVE = "save"  #: an image to its file; beside the GPU's work, not part of it


class Tier(StrEnum):
    """Source of an adapter that is loaded."""

    HOST = "host"  #: a copy in host memory, ready to be copied over
    DISK = "disk"  #: its file, read again


class Pace(StrEnum):
    """How far an execution keeps a schedule's times."""

    SCHEDULE = "schedule"  #: no switch or batch starts before its tick, in real time
    FAST = "fast"  #: the order only


class Span(Document, frozen=True, kw_only=True):
    """A piece of time: when it began, how long it took, for whom.

    Attributes:
        n: Members it was for (of a step: the active batch size).
        ids: Requests (adapters, of a load or an activation) it was for.
        tier: Of a load, where the adapter came from.
        mib: Of a load, the bytes copied, in MiB.
        unet_s: Of a step, the seconds in the UNet; the rest is the scheduler's and the engine's.
    """

    phase: Phase
    start_s: Seconds
    seconds: Seconds
    n: int = 1
    ids: tuple[str, ...] = ()
    tier: Tier | None = None
    mib: float | None = None
    unet_s: float | None = None

    @property
    def end_s(self) -> float:
        """When it ended."""
        return self.start_s + self.seconds


class LatentLookup(Document, frozen=True, kw_only=True):
    """A request's look-up in a folder of latents (approximate caching).

    Attributes:
        asked: Steps that its option skips.
        level: Steps that it skipped, by starting from an earlier prompt's latents. At 0 it ran all
            steps, from its own noise.
        similarity: Cosine of the nearest earlier prompt; None where none is at all similar.
        prompt: The prompt whose latents it started from; None at level 0.
        request: Id of the request that made those latents, in this run or an earlier one.
        stored: Levels of which its own latents were stored, for later requests.
    """

    asked: int
    level: int = 0
    similarity: float | None = None
    prompt: str | None = None
    request: str | None = None
    stored: tuple[int, ...] = ()


class MemberRun(Document, frozen=True, kw_only=True):
    """One request of a batch: its image, or why there is none.

    Attributes:
        latents: Its look-up; None where the run has no folder of latents.
        completion_s: When its image was on disk; None where it failed.
        image: The file below the output folder, with forward slashes.
        sha256: Digest of that file.
        error: Why there is no image, in one line.
    """

    id: Id
    option: int
    completion_s: Seconds | None = None
    image: str | None = None
    sha256: str | None = None
    error: str | None = None
    latents: LatentLookup | None = None


class BatchRun(Document, frozen=True, kw_only=True):
    """One batch as it was run, with the switch before it.

    Attributes:
        index: Its place in the GPU's list of batches.
        switch_start_s: When its switch began (``start_s`` where nothing was switched).
        start_s: When its members began (encoding counts).
        end_s: When the GPU was done with it; its last images may have been saved a little later.
        peak_gib: Most device memory allocated during it; None where the device has no counter.
        splits: How often memory ran out and a part of it was split.
        resumed: Whether some of its members had been made before an interruption, so that its times
            are not those of the whole batch.
    """

    index: int
    load: tuple[Id, ...] = ()
    evict: tuple[Id, ...] = ()
    switch_start_s: Seconds
    start_s: Seconds
    end_s: Seconds
    members: tuple[MemberRun, ...]
    spans: tuple[Span, ...] = ()
    peak_gib: float | None = None
    splits: int = 0
    resumed: bool = False


class LoadRun(Document, frozen=True, kw_only=True):
    """One load beside serving (PROBLEM.md section 5a) as it was run.

    Attributes:
        index: Its place in the GPU's list of loads.
        evict: Adapters that left as it started, or before it for the bare model, whose loads have
            no record.
        mib: Bytes copied, in MiB.
        hidden: Share of its seconds in which the GPU was serving a batch.
    """

    index: int
    adapter: Id
    evict: tuple[Id, ...] = ()
    start_s: Seconds
    seconds: Seconds
    tier: Tier | None = None
    mib: float | None = None
    hidden: Annotated[float, Meta(ge=0, le=1)] = 0.0

    @property
    def end_s(self) -> float:
        """When batches could use the adapter."""
        return self.start_s + self.seconds


def highest_gib(*peaks: float | None) -> float | None:
    """The highest of the peaks that are known."""
    return max((peak for peak in peaks if peak is not None), default=None)


class GpuRun(Document, frozen=True, kw_only=True):
    """Work of one GPU of the instance, and the device it ran on.

    Attributes:
        loads: Loads beside the batches, by start.
    """

    id: Id
    device: str
    batches: tuple[BatchRun, ...]
    loads: tuple[LoadRun, ...] = ()
    primed: tuple[Span, ...] = ()


class LatentHits(Document, frozen=True, kw_only=True):
    """Look-ups of the requests that have an image and whose option skips steps.

    Attributes:
        look_ups: How many there were.
        hits: Those that started from an earlier prompt's latents.
        asked: Steps that their options skip, in all.
        skipped: Steps that they skipped.
        stored: Requests whose latents were stored, options that skip none included.
    """

    look_ups: int
    hits: int
    asked: int
    skipped: int
    stored: int


def latent_hits(gpus: Iterable[GpuRun]) -> LatentHits:
    """Count the look-ups of all GPUs."""
    members = [m for gpu in gpus for batch in gpu.batches for m in batch.members if m.image]
    found = [m.latents for m in members if m.latents is not None]
    asked = [one for one in found if one.asked]
    return LatentHits(
        look_ups=len(asked),
        hits=sum(one.level > 0 for one in asked),
        asked=sum(one.asked for one in asked),
        skipped=sum(one.level for one in asked),
        stored=sum(bool(one.stored) for one in found),
    )


class LoadingSteps(Document, frozen=True, kw_only=True):
    """Median seconds of the steps of ``n`` members, by whether a load was in progress.

    ``alone`` and ``beside`` count them; a median is None where there are none.
    """

    n: int
    alone: int
    alone_s: Seconds | None
    beside: int
    beside_s: Seconds | None


class LoadingCost(Document, frozen=True, kw_only=True):
    """The loads beside serving of all GPUs, and what they did to the steps beside them.

    Attributes:
        count: How many there were.
        seconds: What they took, in all.
        hidden: Share of that in which their GPUs were serving.
        slowdown: Seconds of the steps beside a load, by those of steps alone at the same batch
            sizes, medians of each; None where no batch size was seen both ways.
    """

    count: int
    seconds: Seconds
    hidden: Annotated[float, Meta(ge=0, le=1)]
    slowdown: float | None
    steps: tuple[LoadingSteps, ...]


class ModelRef(Document, frozen=True, kw_only=True):
    """The model that made the images, and how.

    Attributes:
        name: ``tiny``, ``sdxl-random``, a folder or a hub id.
        shrink: Widths and heights were divided by this.
        slots: Adapters that a GPU can hold.
        rank: Rank that the slots are padded to.
        tier: Where loads come from.
    """

    name: str
    dtype: str
    guidance: float
    scheduler: str
    shrink: int = 1
    slots: int
    rank: int
    tier: Tier


class Execution(Document, frozen=True, kw_only=True):
    """``execution.json``: what was run, with what, and all that was measured.

    Attributes:
        maker: The solver of the schedule, or the policy of a live run.
        live: Whether a policy decided while it ran.
        schedule_sha256: Digest of the schedule (as of an instance); None in a live run.
        complete: Whether every request that was to be served has its image.
        sittings: How often the run was begun or resumed.
        started: When, as ISO 8601 with a time zone.
        versions: Of Python and the packages that matter.
        loading: What loads beside serving did; None where there were none.
        latents: Look-ups in a folder of latents; None where the run has none.
        rejected: Requests that the schedule or the policy does not serve.
    """

    format: Literal["pats-opt/execution"] = "pats-opt/execution"
    version: Literal[1] = 1
    instance: InstanceRef
    maker: SolverRef
    live: bool = False
    schedule_sha256: str | None = None
    model: ModelRef
    pace: Pace
    engine: str
    complete: bool
    sittings: int = 1
    started: str
    versions: dict[str, str]
    gpus: tuple[GpuRun, ...]
    loading: LoadingCost | None = None
    latents: LatentHits | None = None
    rejected: tuple[Id, ...] = ()
    notes: dict[str, Any] = msgspec.field(default_factory=dict)

    def batches(self) -> Iterator[tuple[GpuRun, BatchRun]]:
        """Every batch with its GPU."""
        for gpu in self.gpus:
            for batch in gpu.batches:
                yield gpu, batch
