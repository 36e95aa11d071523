"""Documents that the server answers with; journal, paths and OpenAPI document share them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from pats_opt.serving.journal import JobStatus

#: Kinds of errors.
ErrorKind = Literal["invalid_request_error", "rate_limit_error", "server_error"]


class ImageFacts(Struct, frozen=True, kw_only=True):
    """Facts of an image that was made.

    Attributes:
        seed: Its seed.
        steps: Denoising steps that it took.
        quality: Quality of these steps, 0 to 1.
        wait_s: Seconds from arrival to the start of its batch.
        latency_s: Seconds from arrival to its end.
        late: Whether it ended after its deadline.
    """

    seed: int
    steps: int
    quality: float
    wait_s: float
    latency_s: float
    late: bool


class ImageData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An image: its URL or its content, as the request asked.

    Attributes:
        url: Where it is kept for a while.
        b64_json: Its PNG file in base 64.
    """

    url: str | None = None
    b64_json: str | None = None


class ResponseExtension(Struct, frozen=True, kw_only=True):
    """Fields of a response that OpenAI's API has not.

    Attributes:
        id: Id of the request, as in the log.
        images: Facts of each image.
    """

    id: str
    images: tuple[ImageFacts, ...]


class ImageResponse(Struct, frozen=True, kw_only=True):
    """Response to a request whose images are made, as OpenAI's API reference has it.

    Attributes:
        created: When the request arrived, Unix seconds.
        data: Its images.
        pats_opt: Further fields.
    """

    created: int
    data: tuple[ImageData, ...]
    pats_opt: ResponseExtension


class ErrorFacts(Struct, frozen=True, kw_only=True):
    """Why a request is refused or failed.

    Attributes:
        message: One sentence.
        type: Kind of the error.
        param: The field at fault, if there is one.
        code: A word for programs.
    """

    message: str
    type: ErrorKind
    param: str | None
    code: str | None


class ErrorDocument(Struct, frozen=True, kw_only=True):
    """An error, in the shape in which OpenAI's API gives it."""

    error: ErrorFacts


class JobProgress(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Progress of a job.

    Attributes:
        images: Number of its images.
        made: Number of those that are made.
        step: Denoising steps of all its images that are done; None while the job waits.
        steps: Denoising steps of all its images, where one that waits counts with the fewest
            possible; None while the job waits.
        expected_s: Seconds to its last image, as predicted; None while any of them waits.
    """

    images: int
    made: int
    step: int | None = None
    steps: int | None = None
    expected_s: float | None = None


class JobDocument(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job as its client sees it.

    Attributes:
        id: Its id.
        object: Kind of the document, as all of OpenAI's API have it.
        created: When it arrived, Unix seconds.
        status: Its status.
        progress: Its progress; None where it failed or was cancelled.
        position: Of one that waits, the number of jobs that do so and arrived before it.
        result: The response that its request would have got if it had waited.
        error: Why it has no result.
    """

    id: str
    object: Literal["image.job"]
    created: int
    status: JobStatus
    progress: JobProgress | None = None
    position: int | None = None
    result: ImageResponse | None = None
    error: ErrorFacts | None = None


class ServedModel(Struct, frozen=True, kw_only=True):
    """An adapter that requests can name as their ``model``."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "pats-opt"


class ServedModels(Struct, frozen=True, kw_only=True):
    """All adapters that requests can name."""

    data: tuple[ServedModel, ...]
    object: Literal["list"] = "list"


class HealthStatus(Struct, frozen=True, kw_only=True):
    """Whether the process works."""

    status: Literal["ok", "failed"]


class ReadyStatus(Struct, frozen=True, kw_only=True):
    """Whether the server takes requests."""

    ready: bool


def image_response(
    name: str, created: float, data: Sequence[ImageData], facts: Sequence[ImageFacts]
) -> ImageResponse:
    """Return the response to a request whose images are there.

    Args:
        name: Its id.
        created: When it arrived, Unix seconds.
        data: URL or content of each image.
        facts: Facts of each image.
    """
    more = ResponseExtension(id=name, images=tuple(facts))
    return ImageResponse(created=int(created), data=tuple(data), pats_opt=more)
