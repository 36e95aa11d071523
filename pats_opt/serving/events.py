"""Events of the scheduler, of which the service hears."""

from __future__ import annotations

from msgspec import Struct

from pats_opt.execute.record import BatchRun, LoadRun
from pats_opt.model.instance import Adapter


class ImageStarted(Struct, frozen=True, kw_only=True):
    """An image's batch has started.

    Attributes:
        id: The image.
        gpu: Where.
        option: Index of the option that it runs.
        members: Members of the batch.
        at: When, Unix seconds; the same for all members.
        resident: Adapters that the GPU holds.
    """

    id: str
    gpu: int
    option: int
    members: int
    at: float
    resident: tuple[Adapter, ...]


class StepProgress(Struct, frozen=True, kw_only=True):
    """Denoising steps that are done, by image of a batch."""

    steps: dict[str, int]


class ImageFinished(Struct, frozen=True, kw_only=True):
    """An image is there, or why there is none."""

    id: str
    image: bytes | None = None
    error: str | None = None


class ImageExpired(Struct, frozen=True, kw_only=True):
    """An image can no longer be made by its deadline, and was taken out."""

    id: str


class AdapterFailure(Struct, frozen=True, kw_only=True):
    """A worker cannot load an adapter, and why; what waits for it fails."""

    id: str
    error: str


class AdapterAdmitted(Struct, frozen=True, kw_only=True):
    """Every worker has read an adapter that is new."""

    id: str


class GpuStatus(Struct, frozen=True, kw_only=True):
    """A GPU's worker is ready, or is gone (then ``error`` says why)."""

    gpu: int
    device: str = ""
    error: str | None = None


class GpuWork(Struct, frozen=True, kw_only=True):
    """A GPU has done a batch, or a load beside its batches."""

    gpu: int
    batch: BatchRun | None = None
    load: LoadRun | None = None


class SchedulerEnded(Struct, frozen=True, kw_only=True):
    """The scheduler has ended: as asked, or by an error."""

    error: str | None = None


ServerEvent = (
    ImageStarted
    | ImageFinished
    | ImageExpired
    | AdapterFailure
    | AdapterAdmitted
    | GpuStatus
    | GpuWork
    | StepProgress
    | SchedulerEnded
)
