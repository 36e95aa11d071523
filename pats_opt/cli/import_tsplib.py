"""``pats-opt import tsplib``: a travelling salesman problem as an instance."""

from __future__ import annotations

import click

from pats_opt.cli.common import FILE


@click.command("tsplib")
@click.argument("file", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Instance file.")
@click.option(
    "--closed/--open", default=True, show_default=True, help="A tour, or a path with two ends."
)
@click.option(
    "--start",
    type=click.IntRange(0),
    metavar="NODE",
    help="Where it starts [tour: the first node; path: anywhere].",
)
def command(file: str, output: str, closed: bool, start: int | None) -> None:
    """Import a TSPLIB file (TYPE TSP or ATSP): nodes are adapters, the loss is the length.

    \b
      pats-opt import tsplib gr17.tsp -o gr17.json
    """  # noqa: D301
    from pats_opt.importers.tsplib import import_tsplib
    from pats_opt.model.files import write_instance

    instance = import_tsplib(file, closed=closed, start=start)
    write_instance(instance, output)
    click.echo(f"{output}: {len(instance.adapters)} nodes", err=True)
