"""Random requests, right and wrong ones, that schemathesis makes of the OpenAPI document.

``PATS_OPT_DEPTH=20 pytest tests/serving/test_fuzz.py`` tries more of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from pats_opt.serving.settings import RequestLimits, ServerSettings
from tests.serving.running import served
from tests.support.scale import seeds

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]

#: Small images and short prompts, so that many requests are right.
SETTINGS = ServerSettings(limits=RequestLimits(prompt=40, images=2, side=256, deadline_s=10.0))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with served(tmp_path_factory.mktemp("fuzz"), settings=SETTINGS) as (found, _):
        yield found


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_random_requests(client: TestClient, mode: GenerationMode) -> None:
    """A document in a body can be wrong; names in paths and headers are any text."""
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    for found in schema.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue

        @settings(
            max_examples=len(seeds(20)),
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def hold(case: Any) -> None:
            sent = requests.Request(**case.as_transport_kwargs("http://localhost")).prepare()
            answer = client.request(
                sent.method or "", sent.url or "", headers=dict(sent.headers), content=sent.body
            )
            case.validate_response(answer, checks=CHECKS)

        hold()
