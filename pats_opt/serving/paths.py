"""A path of the server with all that a client must know of it: routes and document come from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

#: Media type of documents.
JSON = "application/json"

#: Media type of server-sent events.
EVENTS = "text/event-stream"

#: Statuses in which the body of a request may be refused.
BODY_ERRORS = (400, 408, 413, 415)


class ResponseFormat(Struct, frozen=True, kw_only=True):
    """Format of the response to a request that is not refused.

    Attributes:
        about: Its content, in a sentence.
        status: Its HTTP status.
        kind: Type of a JSON document, or of each event's data; None for another format.
        media: Media type; empty where there is no content.
        headers: Descriptions of headers that it has, by name.
    """

    about: str
    status: int = 200
    kind: Any = None
    media: str = JSON
    headers: dict[str, str] = {}


class ApiPath(Struct, frozen=True, kw_only=True):
    """A path with one method.

    Attributes:
        method: The HTTP method.
        path: The path, as Starlette writes it.
        name: Name of the operation, for clients that are made from the document.
        about: Its use, in a sentence.
        handler: Answers its requests.
        gives: Responses to requests that are not refused.
        takes: Type of the JSON document that a request has; None for none.
        errors: Statuses of refusals, besides those that all paths have.
        headers: Descriptions of headers that it reads, by name.
        is_open: Whether it needs no key.
    """

    method: str
    path: str
    name: str
    about: str
    handler: Callable[[Request], Awaitable[Response]]
    gives: tuple[ResponseFormat, ...]
    takes: Any = None
    errors: tuple[int, ...] = ()
    headers: dict[str, str] = {}
    is_open: bool = False

    @property
    def route(self) -> Route:
        """The route for Starlette."""
        return Route(self.path, self.handler, methods=[self.method])
