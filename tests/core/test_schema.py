"""The printed JSON Schema says what the reader does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator

from pats_opt.cli import run
from pats_opt.errors import InputError
from pats_opt.model.files import parse_instance, read_schedule
from pats_opt.model.instance import validate
from pats_opt.model.schema import Kind, json_schema
from tests.support.brute_force import best_schedule
from tests.support.strategies import broken_documents, documents
from tests.support.zoo import ZOO, document, request

INSTANCE: Validator = Draft202012Validator(json_schema("instance"))
SCHEDULE: Validator = Draft202012Validator(json_schema("schedule"))

#: What a refusal says where the structure is right and ids, references or figures are not.
CROSS = (
    "is already used",
    "is not declared",
    "is listed twice",
    "residents where max_resident",
    "base model and residents take",
    "pairs need max_resident 1",
    "leads nowhere",
    "is given twice",
    "takes no time",
)


def whole_floats(node: Any) -> Iterator[float]:
    """Floats such as 2.0, which JSON Schema counts among the integers and the reader does not."""
    if isinstance(node, dict):
        for value in node.values():
            yield from whole_floats(value)
    elif isinstance(node, list):
        for value in node:
            yield from whole_floats(value)
    elif isinstance(node, float) and node.is_integer():
        yield node


def structurally_right(text: str) -> bool:
    """Whether the reader takes the structure, cross-references apart."""
    try:
        parse_instance(text)
    except InputError as error:
        return any(mark in str(error) for mark in CROSS)
    return True


@pytest.mark.parametrize("kind", ["instance", "schedule"])
def test_schema_is_a_schema(kind: Kind) -> None:
    """It is valid in its own dialect."""
    Draft202012Validator.check_schema(json_schema(kind))


@given(documents())
def test_valid_documents_are_valid(valid: dict[str, Any]) -> None:
    """The schema accepts instances that the generator makes and the reader accepts."""
    INSTANCE.validate(valid)


@pytest.mark.parametrize("make", ZOO, ids=[make.__name__ for make in ZOO])
def test_zoo_is_valid(make: Any) -> None:
    """Instances written by hand, and their optimal schedules, are valid."""
    case = make()
    INSTANCE.validate(case.document)
    SCHEDULE.validate(best_schedule(case.document))


@given(broken_documents())
@settings(max_examples=400)
def test_schema_is_equal_to_the_reader(changed: dict[str, Any]) -> None:
    """However a document is changed, the schema takes it exactly where the reader does."""
    text = json.dumps(changed)
    accepted = structurally_right(text)
    valid = INSTANCE.is_valid(json.loads(text))
    if accepted != valid and valid and any(whole_floats(changed)):
        return
    assert accepted == valid, [*INSTANCE.iter_errors(json.loads(text))] or text


def test_cross_references_are_the_reader_s() -> None:
    """An undeclared adapter is structurally fine; only the reader refuses it."""
    wrong = document(request("r0", adapter="no"))
    INSTANCE.validate(wrong)
    with pytest.raises(InputError, match="is not declared"):
        validate(parse_instance(json.dumps(wrong)))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "pats-opt/instance"),
        ("version", 2),
        ("loss", "1"),
        ("gpus", [{"id": "g", "batches": [{"switch_start": 0, "start": 0, "requests": []}]}]),
        ("gpus", [{"id": "g", "batches": [{"switch_start": -1, "start": 0}]}]),
        ("status", {"stop": "optimal", "point": "best"}),
        ("instance", {"name": "x", "sha256": "0"}),
        ("other", 1),
        ("rejected", [1]),
    ],
)
def test_schedules_refused_by_both(key: str, value: Any, tmp_path: Any) -> None:
    """A schedule broken in one place is refused by the schema and by the reader."""
    best = best_schedule(document(request("r0")))
    assert best is not None
    path = tmp_path / "s.json"
    path.write_text(json.dumps(best))
    SCHEDULE.validate(best)
    read_schedule(path)
    best[key] = value
    path.write_text(json.dumps(best))
    assert not SCHEDULE.is_valid(best)
    with pytest.raises(InputError):
        read_schedule(path)


@pytest.mark.parametrize("kind", ["instance", "schedule"])
def test_command_prints_it(kind: Kind, capsys: pytest.CaptureFixture[str]) -> None:
    """``pats-opt schema`` prints the schema and nothing else."""
    assert run(["schema", kind]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == json.loads(json.dumps(json_schema(kind)))
    assert err == ""
