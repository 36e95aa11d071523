"""The HTTP application: paths, checks that every request passes, and errors in one shape."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from pats_opt.serving.answers import (
    HealthStatus,
    ImageResponse,
    ReadyStatus,
    ServedModel,
    ServedModels,
)
from pats_opt.serving.api import ImageRequest, read_request
from pats_opt.serving.errors import ApiError
from pats_opt.serving.http import SAFE, error_response, json_response, read_body
from pats_opt.serving.job_paths import job_paths
from pats_opt.serving.jobs import JobService
from pats_opt.serving.metrics import MEDIA_TYPE
from pats_opt.serving.openapi import documented
from pats_opt.serving.page import server_page
from pats_opt.serving.paths import BODY_ERRORS, ApiPath, ResponseFormat
from pats_opt.serving.service import ImageService
from pats_opt.serving.status import ServerStatus
from pats_opt.serving.watching import watched

log = logging.getLogger(__name__)

#: Names under which a server that listens on loopback is called; others are another site's pages,
#: whose names were made to lead here.
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


def make_app(service: ImageService, jobs: JobService) -> ASGIApp:
    """Return the application of a service and of its jobs."""
    paths = documented((*_paths(service, jobs), *job_paths(service, jobs)), service.settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.run_in(asyncio.get_running_loop())
        await jobs.restore()
        async with watched(service):
            yield
        await jobs.close()

    app = Starlette(
        lifespan=lifespan,
        routes=[path.route for path in paths],
        exception_handlers={
            ApiError: _on_api_error,
            HTTPException: _on_http_error,
            Exception: _on_bug,
        },
    )
    app.state.service = service
    app.router.redirect_slashes = False  # no response but those that the document has
    return Guard(app, service, frozenset([path.path for path in paths if path.is_open]))


def _paths(service: ImageService, jobs: JobService) -> tuple[ApiPath, ...]:
    """Return the paths besides those of jobs."""
    handlers = _Handlers(service, jobs)
    return (
        ApiPath(
            method="POST",
            path="/v1/images/generations",
            name="create_images",
            about="Make images, and wait for them.",
            handler=handlers.generate,
            takes=ImageRequest,
            gives=(ResponseFormat(about="The images.", kind=ImageResponse),),
            errors=(*BODY_ERRORS, 404, 429, 500, 503, 504),
        ),
        ApiPath(
            method="GET",
            path="/",
            name="get_page",
            about="The page.",
            handler=handlers.page,
            gives=(ResponseFormat(about="The page.", media="text/html"),),
            is_open=True,
        ),
        ApiPath(
            method="GET",
            path="/v1/status",
            name="get_status",
            about="The queue, the GPUs and the last minutes.",
            handler=handlers.status,
            gives=(ResponseFormat(about="The figures.", kind=ServerStatus),),
        ),
        ApiPath(
            method="GET",
            path="/v1/models",
            name="list_models",
            about="The adapters that requests can name.",
            handler=handlers.models,
            gives=(ResponseFormat(about="The adapters.", kind=ServedModels),),
        ),
        ApiPath(
            method="GET",
            path="/v1/models/{name:path}",
            name="get_model",
            about="An adapter.",
            handler=handlers.model,
            gives=(ResponseFormat(about="The adapter.", kind=ServedModel),),
            errors=(404,),
        ),
        ApiPath(
            method="GET",
            path="/images/{name}",
            name="get_image",
            about="An image by its URL.",
            handler=handlers.image,
            gives=(ResponseFormat(about="The image.", media="image/png"),),
            errors=(404,),
        ),
        ApiPath(
            method="GET",
            path="/health",
            name="get_health",
            about="Whether the process works.",
            handler=handlers.health,
            gives=(
                ResponseFormat(about="It works.", kind=HealthStatus),
                ResponseFormat(about="It has failed.", kind=HealthStatus, status=500),
            ),
            is_open=True,
        ),
        ApiPath(
            method="GET",
            path="/ready",
            name="get_ready",
            about="Whether the server takes requests.",
            handler=handlers.ready,
            gives=(
                ResponseFormat(about="It does.", kind=ReadyStatus),
                ResponseFormat(about="It does not.", kind=ReadyStatus, status=503),
            ),
            is_open=True,
        ),
        ApiPath(
            method="GET",
            path="/metrics",
            name="get_metrics",
            about="The metrics.",
            handler=handlers.metrics,
            gives=(ResponseFormat(about="The metrics, for Prometheus.", media="text/plain"),),
        ),
    )


def _count(service: ImageService, error: ApiError) -> None:
    service.metrics.rejections.labels(error.code or str(error.status)).inc()


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    _count(request.app.state.service, error)
    return error_response(error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, message = {
        404: ("not_found", "there is no such path; see /v1/models and /v1/images/generations"),
        405: ("method_not_allowed", "this path does not take this method"),
    }.get(error.status_code, ("bad_request", "this is no request that the server knows"))
    refused = ApiError(error.status_code, message, code=code)
    _count(request.app.state.service, refused)
    response = error_response(refused)
    if error.status_code == 405:
        response.headers["allow"] = ", ".join(sorted(_methods(request)))
    return response


def _methods(request: Request) -> set[str]:
    """Return the methods of a request's path; Starlette names those of one route only."""
    routes = request.app.routes
    found = [one for one in routes if one.matches(request.scope)[0] is not Match.NONE]
    return {method for route in found for method in route.methods}


async def _on_bug(_: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error)
    return error_response(ApiError(500, "the server failed at this request", code="internal"))


class Guard:
    """Checks of every request before the application sees it: the host's name and the key.

    Args:
        app: The application.
        service: Its settings have the keys, its metrics count refusals.
        opened: Paths that need no key.
    """

    def __init__(self, app: Starlette, service: ImageService, opened: Collection[str]) -> None:
        self.app, self._service, self._opened = app, service, opened
        self._keys = [key.encode() for key in service.settings.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "http":
            refused = self._refusal(scope)
            if refused is not None:
                _count(self._service, refused)
                await error_response(refused)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers = dict(scope["headers"])
        if self._service.settings.is_local:
            name = headers.get(b"host", b"").decode("latin-1").lower()
            if name.rpartition(":")[0] not in LOCAL_NAMES and name not in LOCAL_NAMES:
                return ApiError(421, "this server is called localhost", code="wrong_host")
        if self._keys and scope["path"] not in self._opened and not self._has_key(headers):
            return ApiError(
                401,
                "give a key of this server as 'Authorization: Bearer KEY'",
                code="invalid_api_key",
            )
        return None

    def _has_key(self, headers: dict[bytes, bytes]) -> bool:
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        # Every key is compared, each in constant time.
        right = [hmac.compare_digest(given.strip(), key) for key in self._keys]
        return any(right) and kind.lower() == b"bearer"


class _Handlers:
    """The handler of each path."""

    def __init__(self, service: ImageService, jobs: JobService) -> None:
        self._service, self._jobs = service, jobs

    async def generate(self, request: Request) -> Response:
        service = self._service
        data = await read_body(request, service.settings)
        order, images = service.accept(read_request(data, service.settings.limits))
        try:
            if not await _unless_gone(request, [image.done for image in images]):
                service.cancel(images)
                return Response(status_code=499)  # nobody reads it
        except BaseException:
            service.cancel(images)  # the other images of a request of which one failed
            raise
        return json_response(service.response(order, images, str(request.base_url)))

    async def models(self, _: Request) -> Response:
        models = tuple([ServedModel(id=name) for name in self._service.models])
        return json_response(ServedModels(data=models))

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._service.models:
            raise ApiError(404, "there is no such adapter", code="model_not_found", param="model")
        return json_response(ServedModel(id=name))

    async def image(self, request: Request) -> Response:
        name = str(request.path_params["name"]).removesuffix(".png")
        data = self._service.store.get(name) or await self._jobs.image(name)
        if data is None:
            raise ApiError(404, "this image is not here, or not any more", code="not_found")
        return Response(data, media_type="image/png", headers=SAFE)

    async def health(self, _: Request) -> Response:
        failed = self._service.error is not None
        return json_response(
            HealthStatus(status="failed" if failed else "ok"), 500 if failed else 200
        )

    async def ready(self, _: Request) -> Response:
        ready = self._service.is_ready
        return json_response(ReadyStatus(ready=ready), 200 if ready else 503)

    async def page(self, _: Request) -> Response:
        html, policy = server_page()
        headers = {**SAFE, "content-security-policy": policy, "referrer-policy": "no-referrer"}
        return Response(html, media_type="text/html", headers=headers)

    async def status(self, _: Request) -> Response:
        return json_response(self._service.status)

    async def metrics(self, _: Request) -> Response:
        return Response(self._service.metrics_text, media_type=MEDIA_TYPE, headers=SAFE)


async def _unless_gone(request: Request, awaited: Sequence[asyncio.Future[bytes]]) -> bool:
    """Wait for all futures; whether they were there before the client went away.

    Raises:
        ApiError: One of them failed.
    """
    gone: asyncio.Future[Any] = asyncio.ensure_future(_gone(request.receive))
    done: asyncio.Future[Any] = asyncio.gather(*awaited)
    try:
        await asyncio.wait({gone, done}, return_when=asyncio.FIRST_COMPLETED)
        if done.done():
            done.result()
            return True
        return False
    finally:
        for each in (gone, done):
            each.cancel()
            with suppress(asyncio.CancelledError, ApiError):
                await each


async def _gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
