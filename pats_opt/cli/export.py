"""``pats-opt export``: a schedule in the format that its instance was imported from."""

from __future__ import annotations

import click

from pats_opt.cli import common
from pats_opt.exporters import FORMATS


@click.command(
    "export",
    help="Check SCHEDULE and convert it to FORMAT.\n\n\b\n"
    + "\n".join(f"  {name:<12} {text}" for name, (_, text) in FORMATS.items())
    + "\n\n\b\n  pats-opt export tsplib gr17-schedule.json --instance gr17.json -o gr17.tour",
)
@click.argument("format", type=click.Choice(list(FORMATS)))
@click.argument("schedule", type=common.INPUT_FILE)
@click.option("--instance", type=common.INPUT_FILE, required=True, help="Instance of SCHEDULE.")
@click.option("-o", "--output", type=common.FILE, help="Output file.  [default: standard output]")
@common.json_option
def command(format: str, schedule: str, instance: str, output: str | None, as_json: bool) -> None:  # noqa: A002
    """Check a schedule and convert it."""
    from pats_opt.errors import in_file
    from pats_opt.exporters import checked, export
    from pats_opt.model.files import read_instance, read_schedule, write_bytes

    document, claimed = read_instance(instance), read_schedule(schedule)
    with in_file(schedule):
        problem = checked(document, claimed)
    with in_file(instance):
        exported = export(format, problem, claimed)
    if output is not None:
        write_bytes(output, exported.text.encode())
    if as_json:
        common.print_json(exported.document)
    elif output is None:
        click.echo(exported.text, nl=False)
    else:
        objective = exported.document["objective"]
        click.echo(
            f"{output}: {format}" + ("" if objective is None else f", objective {objective:g}"),
            err=True,
        )
