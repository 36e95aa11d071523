"""The OpenAPI document: valid, of all paths, with the limits and the keys of its server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from starlette.routing import Route
from starlette.testclient import TestClient

from pats_opt.serving.settings import RequestLimits, ServerSettings
from tests.serving.documented import operation
from tests.serving.running import PATH, body, served
from tests.serving.test_api import BAD


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with served(tmp_path_factory.mktemp("openapi")) as (found, _):
        yield found


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_it_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    validate(document)


def test_it_has_all_paths_and_no_others(client: TestClient, document: dict[str, Any]) -> None:
    routes = client.app.app.routes  # type: ignore[attr-defined]
    served = {
        (method, route.path.replace(":path", ""))
        for route in routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert len(routes) == len(served)
    documented = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    assert documented == served


def test_names_and_descriptions(document: dict[str, Any]) -> None:
    """Each operation has a name of its own, and each field of a request is described."""
    every = [one for methods in document["paths"].values() for one in methods.values()]
    names = [one["operationId"] for one in every]
    assert len(set(names)) == len(names)
    assert all(one["summary"] for one in every)
    extension = document["components"]["schemas"]["ImageExtension"]
    assert all(field["description"] for field in extension["properties"].values())


def test_malformed_requests_are_malformed_by_the_document_too(document: dict[str, Any]) -> None:
    """All but what no schema can say."""
    schema = {"$ref": "#/components/schemas/ImageRequest", "components": document["components"]}
    checked = Draft202012Validator(schema)
    assert checked.is_valid(body())
    told = {told for request, _, told in BAD if checked.is_valid(request)}
    assert told == {"multiples of 8", "2^63", "at least", "the best here"}


def test_limits(tmp_path: Path) -> None:
    settings = ServerSettings(limits=RequestLimits(images=3, prompt=50))
    with served(tmp_path, settings=settings) as (client, _):
        schemas = client.get("/openapi.json").json()["components"]["schemas"]
    fields = schemas["ImageRequest"]["properties"]
    assert (fields["n"]["maximum"], fields["prompt"]["maxLength"]) == (3, 50)


def test_keys(tmp_path: Path) -> None:
    """It needs no key itself, and says which paths do."""
    with served(tmp_path, settings=ServerSettings(keys=("one",))) as (client, _):
        document = client.get("/openapi.json").json()
    validate(document)
    guarded, opened = (operation(document, *one) for one in (("POST", PATH), ("GET", "/health")))
    assert guarded is not None
    assert opened is not None
    assert guarded["security"] == [{"key": []}]
    assert "401" in guarded["responses"]
    assert not {"security", "401"} & {*opened, *opened["responses"]}


def test_a_path_with_a_slash_at_its_end(client: TestClient) -> None:
    """It is no path, rather than a way to another one."""
    for path in ("/v1/jobs/", "/v1/models/", "/health/"):
        answer = client.get(path, follow_redirects=False)
        assert answer.status_code == 404
