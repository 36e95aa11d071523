"""``pats-opt schema``: JSON Schema of instances and schedules."""

from __future__ import annotations

from typing import Literal

import click


@click.command("schema")
@click.argument("kind", type=click.Choice(["instance", "schedule"]), default="instance")
def command(kind: Literal["instance", "schedule"]) -> None:
    """Print the JSON Schema of instances (default) or of schedules."""
    import json

    from pats_opt.model.schema import json_schema

    click.echo(json.dumps(json_schema(kind), indent=2))
