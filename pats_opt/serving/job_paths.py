"""The paths of asynchronous jobs, with their progress as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from pats_opt.serving.api import read_request
from pats_opt.serving.http import SAFE, json_response, read_body
from pats_opt.serving.jobs import JobDocument, JobService
from pats_opt.serving.journal import JobStatus
from pats_opt.serving.service import ImageService

#: Statuses of a job without an end.
LIVE = (JobStatus.QUEUED, JobStatus.RUNNING)


def job_routes(service: ImageService, jobs: JobService) -> Sequence[Route]:
    """Return the routes of jobs."""
    handlers = _JobHandlers(service, jobs)
    return (
        Route("/v1/jobs", handlers.submit, methods=["POST"]),
        Route("/v1/jobs/{name}", handlers.show, methods=["GET"]),
        Route("/v1/jobs/{name}", handlers.cancel, methods=["DELETE"]),
        Route("/v1/jobs/{name}/events", handlers.events, methods=["GET"]),
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
        return StreamingResponse(_encoded(watched), media_type="text/event-stream", headers=SAFE)


async def _encoded(documents: AsyncIterator[JobDocument]) -> AsyncIterator[bytes]:
    async for document in documents:
        status, data = document.status, msgspec.json.encode(document).decode()
        yield f"event: {status}\nid: {status}\ndata: {data}\n\n".encode()
