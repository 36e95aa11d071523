"""Bodies of requests, and responses, as all paths have them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from pats_opt.serving.answers import ErrorDocument
from pats_opt.serving.errors import ApiError
from pats_opt.serving.settings import ServerSettings

#: Headers of every response.
SAFE = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


def json_response(document: Any, status: int = 200, **headers: str) -> Response:
    """Return a JSON response."""
    return Response(
        msgspec.json.encode(document),
        status,
        media_type="application/json",
        headers={**SAFE, **headers},
    )


def error_response(error: ApiError) -> Response:
    """Return an error in OpenAI's shape."""
    return json_response(ErrorDocument(error=error.facts), error.status, **error.headers)


async def read_body(request: Request, settings: ServerSettings) -> bytes:
    """Return a request's body.

    Raises:
        ApiError: It is of another type than JSON, too large, or does not come.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "send JSON with 'Content-Type: application/json'", code="no_json")
    most, body = settings.limits.body_bytes, bytearray()
    try:
        async with asyncio.timeout(settings.body_s):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise ApiError(413, f"the body has more than {most} bytes", code="too_large")
    except TimeoutError:
        raise ApiError(408, "the body did not come in time", code="timeout") from None
    return bytes(body)
