"""JSON Schema (draft 2020-12) of the documents, made from the types that the reader itself uses.

What a schema cannot say stays with the reader: unique ids, declared adapters, residents that fit,
and step times above zero.
"""

from __future__ import annotations

import inspect
from typing import Any, Literal

import msgspec

from pats_opt.model.instance import Instance
from pats_opt.model.schedule import Schedule

Kind = Literal["instance", "schedule"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(kind: Kind) -> dict[str, Any]:
    """The schema of instance or schedule documents."""
    root = Instance if kind == "instance" else Schedule
    made: dict[str, Any] = msgspec.json.schema(root)
    definitions: dict[str, dict[str, Any]] = made["$defs"]
    for definition in definitions.values():
        definition["description"] = inspect.cleandoc(definition["description"])
    if kind == "instance":
        _add_checks(definitions)
    required = definitions[root.__name__]["required"]
    required[:0] = ["format", "version"]  # defaults for code; files have to state them
    return {"$schema": DIALECT, "title": f"PATS-opt {kind}", **made}


def _add_checks(definitions: dict[str, dict[str, Any]]) -> None:
    """Add the checks made in code: memory in every vector, and the two forms of a step time."""
    for name, vector in (("Gpu", "capacity"), ("Request", "demand")):
        definitions[name]["properties"][vector]["required"] = ["vram_gib"]
    step = definitions["StepTime"]
    del step["required"]
    step["oneOf"] = [
        {"required": ["base", "per_sample"], "properties": {"table": False}},
        {"required": ["table"], "properties": {"base": False, "per_sample": False}},
    ]
