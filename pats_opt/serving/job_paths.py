"""The paths of asynchronous jobs, with their progress as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pats_opt.serving.answers import JobDocument
from pats_opt.serving.api import ImageRequest, read_request
from pats_opt.serving.http import SAFE, json_response, read_body
from pats_opt.serving.jobs import JobService
from pats_opt.serving.journal import JobStatus
from pats_opt.serving.paths import BODY_ERRORS, EVENTS, ApiPath, ResponseFormat
from pats_opt.serving.service import ImageService

#: Statuses of a job without an end.
LIVE = (JobStatus.QUEUED, JobStatus.RUNNING)


def job_paths(service: ImageService, jobs: JobService) -> tuple[ApiPath, ...]:
    """Return the paths of jobs."""
    handlers = _JobHandlers(service, jobs)
    job = ResponseFormat(about="The job.", kind=JobDocument)
    return (
        ApiPath(
            method="POST",
            path="/v1/jobs",
            name="create_job",
            about="Make images that are fetched later.",
            handler=handlers.submit,
            takes=ImageRequest,
            gives=(replace(job, status=202, headers={"Location": "Path of the job."}),),
            errors=(*BODY_ERRORS, 404, 429, 503),
        ),
        ApiPath(
            method="GET",
            path="/v1/jobs/{name}",
            name="get_job",
            about="A job's status, and its result once it is done.",
            handler=handlers.show,
            gives=(job,),
            errors=(404,),
        ),
        ApiPath(
            method="DELETE",
            path="/v1/jobs/{name}",
            name="cancel_job",
            about="Cancel a job.",
            handler=handlers.cancel,
            gives=(job,),
            errors=(404, 409, 503),
        ),
        ApiPath(
            method="GET",
            path="/v1/jobs/{name}/events",
            name="watch_job",
            about="A job's progress until its end, as server-sent events.",
            handler=handlers.events,
            headers={"Last-Event-ID": "The last event that the client has seen."},
            gives=(
                ResponseFormat(
                    about="The job again and again; events are named by its status.",
                    kind=JobDocument,
                    media=EVENTS,
                ),
                ResponseFormat(about="The client has seen the job's end.", status=204, media=""),
            ),
            errors=(404,),
        ),
    )


class _JobHandlers:
    """The handler of each path."""

    def __init__(self, service: ImageService, jobs: JobService) -> None:
        self._service, self._jobs = service, jobs

    async def submit(self, request: Request) -> Response:
        settings = self._service.settings
        given = read_request(await read_body(request, settings), settings.limits)
        name = await self._jobs.submit(given)
        document = await self._jobs.document(name, str(request.base_url))
        return json_response(document, 202, location=f"/v1/jobs/{name}")

    async def show(self, request: Request) -> Response:
        name = request.path_params["name"]
        return json_response(await self._jobs.document(name, str(request.base_url)))

    async def cancel(self, request: Request) -> Response:
        name = request.path_params["name"]
        return json_response(await self._jobs.cancel(name, str(request.base_url)))

    async def events(self, request: Request) -> Response:
        """Stream a job's documents; a client that connects again gets the present one first."""
        name, base_url = request.path_params["name"], str(request.base_url)
        document = await self._jobs.document(name, base_url)  # 404 as a response, not in the stream
        seen = request.headers.get("last-event-id")
        if document.status not in LIVE and seen == document.status:
            return Response(status_code=204, headers=SAFE)  # it has seen the end: ask no more
        watched = self._jobs.watch(name, base_url)
        return StreamingResponse(_encoded(watched), media_type=EVENTS, headers=SAFE)


async def _encoded(documents: AsyncIterator[JobDocument]) -> AsyncIterator[bytes]:
    async for document in documents:
        status, data = document.status, msgspec.json.encode(document).decode()
        yield f"event: {status}\nid: {status}\ndata: {data}\n\n".encode()
