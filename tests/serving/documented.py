"""Holds responses to the server's OpenAPI document: status, type, and the shape of JSON."""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Any

from jsonschema import Draft202012Validator
from starlette.testclient import TestClient
from typing_extensions import override

#: Where a response may show a path of the server or a trace of an error.
LEAKS = re.compile(r"Traceback|site-packages|\.py\b|/(?:tmp|home|root|usr|work)/")


class DocumentedClient(TestClient):
    """A client that refuses responses which the server's document has not."""

    @cached_property
    def document(self) -> dict[str, Any]:
        """The server's document."""
        found: dict[str, Any] = super().request("GET", "/openapi.json").json()
        return found

    @override
    def request(self, method: str, url: Any, **others: Any) -> Any:
        response = super().request(method, url, **others)
        validate(self.document, response)
        return response


def operation(document: dict[str, Any], method: str, path: str) -> dict[str, Any] | None:
    """The operation of a request; None where there is none."""
    for template, methods in document["paths"].items():
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]*", re.escape(template))
        if re.fullmatch(pattern, path) and method.lower() in methods:
            found: dict[str, Any] = methods[method.lower()]
            return found
    return None


def validate(document: dict[str, Any], response: Any) -> None:
    """Refuse a response that the document has not."""
    request, status = response.request, response.status_code
    found = operation(document, request.method, request.url.path)
    kind = response.headers.get("content-type", "").partition(";")[0]
    if found is None:
        assert status in (401, 404, 405, 421)
        schema: dict[str, Any] = {"$ref": "#/components/schemas/ErrorDocument"}
    else:
        given = found["responses"][str(status)]
        if "content" not in given:
            assert not response.content
            return
        schema = given["content"][kind]["schema"]
    bodies = [response.json()] if kind == "application/json" else []
    if kind == "text/event-stream":
        schema = schema["properties"]["data"]["contentSchema"]
        data = re.findall(r"^data: (.*)$", response.text, re.MULTILINE)
        bodies = [json.loads(each) for each in data]
        assert bodies
    for each in bodies:
        Draft202012Validator({**schema, "components": document["components"]}).validate(each)
    if status >= 400:
        assert not LEAKS.search(response.text)
