"""The OpenAPI document of all paths, from the types that read requests and write responses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from docstring_parser import DocstringStyle, parse
from starlette.requests import Request
from starlette.responses import Response

from pats_opt import __version__
from pats_opt.execute.adapter_set import AdapterPart
from pats_opt.serving.answers import ErrorDocument
from pats_opt.serving.api import SIZE, ImageExtension, ImageRequest, largest, longest
from pats_opt.serving.http import json_response
from pats_opt.serving.paths import EVENTS, JSON, ApiPath, ResponseFormat
from pats_opt.serving.settings import RequestLimits, ServerSettings

#: Version of the specification.
VERSION = "3.1.0"

#: Meaning of each status of a refusal.
ERRORS = {
    400: "The request is not right, or beyond a limit.",
    401: "The key is missing or wrong.",
    404: "There is no such thing (any more).",
    408: "The body did not come in time.",
    409: "It has another end already.",
    413: "The body is too large.",
    415: "The body is of another type than JSON.",
    421: "The request names another host.",
    429: "Too much waits; try again later.",
    500: "The image could not be made.",
    503: "Nothing is accepted at present.",
    504: "The image could not be made by its deadline.",
}

#: Statuses whose responses may say when to try again.
LATER = (429, 503)

_PLACE = re.compile(r"\{(\w+)(?::path)?\}")


def documented(paths: Sequence[ApiPath], settings: ServerSettings) -> tuple[ApiPath, ...]:
    """Return paths, and one more that has the document of them all."""

    async def show(_: Request) -> Response:
        return json_response(document)

    own = ApiPath(
        method="GET",
        path="/openapi.json",
        name="get_openapi",
        about="This document.",
        handler=show,
        gives=(ResponseFormat(about="The document.", kind=dict[str, Any]),),
        is_open=True,
    )
    every = (*paths, own)
    document = openapi_document(every, settings)
    return every


def openapi_document(paths: Sequence[ApiPath], settings: ServerSettings) -> dict[str, Any]:
    """Return the OpenAPI document of paths, for a server with these settings."""
    kinds = [path.takes for path in paths] + [one.kind for path in paths for one in path.gives]
    named = [kind for kind in kinds if kind is not None]
    schemas, components = msgspec.json.schema_components(
        [*named, ErrorDocument], ref_template="#/components/schemas/{name}"
    )
    for component in components.values():
        _describe(component)
    _limit(components, settings.limits)
    writer = _Writer([*zip(named, schemas, strict=False)], settings)
    operations: dict[str, dict[str, Any]] = {}
    for path in paths:
        operation = writer.operation(path)
        operations.setdefault(_PLACE.sub(r"{\1}", path.path), {})[path.method.lower()] = operation
    document: dict[str, Any] = {
        "openapi": VERSION,
        "info": {
            "title": "PATS-opt server",
            "version": __version__,
            "description": "Images by OpenAI's Images API, scheduled by a policy.",
        },
        "paths": operations,
        "components": {"schemas": components},
    }
    if settings.keys:
        scheme = {"type": "http", "scheme": "bearer"}
        document["components"]["securitySchemes"] = {"key": scheme}
    return document


class _Writer:
    """Writes operations.

    Args:
        schemas: Types of documents, with their schemas.
        settings: Of the server.
    """

    def __init__(
        self, schemas: Sequence[tuple[Any, dict[str, Any]]], settings: ServerSettings
    ) -> None:
        self._schemas, self._settings = schemas, settings

    def operation(self, path: ApiPath) -> dict[str, Any]:
        """Return the operation of a path."""
        responses = {str(one.status): self._response(one) for one in path.gives}
        for status in self._errors(path):
            responses.setdefault(str(status), _error(status))
        written: dict[str, Any] = {
            "operationId": path.name,
            "summary": path.about,
            "responses": dict(sorted(responses.items())),
        }
        places = [("path", name, "") for name in _PLACE.findall(path.path)]
        places += [("header", name, about) for name, about in path.headers.items()]
        if places:
            written["parameters"] = [
                {
                    "name": name,
                    "in": where,
                    "required": where == "path",
                    "description": about,
                    "schema": {"type": "string"},
                }
                for where, name, about in places
            ]
        if path.takes is not None:
            content = {JSON: {"schema": self._schema(path.takes)}}
            written["requestBody"] = {"required": True, "content": content}
        if self._settings.keys and not path.is_open:
            written["security"] = [{"key": []}]
        return written

    def _errors(self, path: ApiPath) -> list[int]:
        keyed = [401] if self._settings.keys and not path.is_open else []
        hosted = [421] if self._settings.is_local else []
        return [*path.errors, *keyed, *hosted]

    def _response(self, given: ResponseFormat) -> dict[str, Any]:
        written: dict[str, Any] = {"description": given.about}
        if given.media:
            schema = {"type": "string"} if given.kind is None else self._schema(given.kind)
            schema = _event(schema) if given.media == EVENTS else schema
            written["content"] = {given.media: {"schema": schema}}
        if given.headers:
            written["headers"] = {name: _header(about) for name, about in given.headers.items()}
        return written

    def _schema(self, kind: Any) -> dict[str, Any]:
        return next(schema for known, schema in self._schemas if known == kind)


def _error(status: int) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{ErrorDocument.__name__}"}
    written: dict[str, Any] = {
        "description": ERRORS[status],
        "content": {JSON: {"schema": schema}},
    }
    if status in LATER:
        header = _header("Seconds after which a client may try again.")
        written["headers"] = {"Retry-After": header}
    return written


def _event(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of each event whose data is a JSON document."""
    data = {"type": "string", "contentMediaType": JSON, "contentSchema": schema}
    named = {"event": {"type": "string"}, "id": {"type": "string"}, "data": data}
    return {"type": "object", "properties": named, "required": list(named)}


def _header(about: str) -> dict[str, Any]:
    return {"description": about, "schema": {"type": "string"}}


def _describe(component: dict[str, Any]) -> None:
    """Give a type's schema, and those of its fields, the descriptions of its docstring."""
    found = parse(component.get("description", ""), style=DocstringStyle.GOOGLE)
    component["description"] = found.description or ""
    for field in found.params:
        component["properties"][field.arg_name]["description"] = field.description or ""


def _limit(components: dict[str, Any], limits: RequestLimits) -> None:
    """Add the limits of the server to the schema of requests."""

    def field(place: str) -> dict[str, Any]:
        outer, _, name = place.rpartition(".")
        kind = ImageExtension if outer else ImageRequest
        found: dict[str, Any] = components[kind.__name__]["properties"][name]
        return found

    for place, most in largest(limits).items():
        field(place)["maximum"] = most
    for place, characters in longest(limits).items():
        field(place)["maxLength"] = characters
    field("pats_opt.adapters")["maxItems"] = limits.parts
    scale = components[AdapterPart.__name__]["properties"]["scale"]
    scale.update(minimum=-limits.scale, maximum=limits.scale)
    field("prompt")["pattern"] = r"\S"
    field("size")["pattern"] = f"^({SIZE.pattern})$"
