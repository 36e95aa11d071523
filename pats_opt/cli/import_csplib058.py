"""``pats-opt import csplib058``: a lot-sizing problem as an instance."""

from __future__ import annotations

import click

from pats_opt.cli.common import FILE


@click.command("csplib058")
@click.argument("file", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Instance file.")
def command(file: str, output: str) -> None:
    """Import a discrete lot-sizing problem (CSPLib 058, .psp): items are adapters.

    The schedule is the production plan read backwards, and the loss its cost.

    \b
      pats-opt import csplib058 pigment15a.psp -o pigment15a.json
    """  # noqa: D301
    from pats_opt.importers.csplib058 import import_csplib058
    from pats_opt.model.files import write_instance

    instance = import_csplib058(file)
    write_instance(instance, output)
    click.echo(
        f"{output}: {len(instance.requests)} units of {len(instance.adapters)} items in "
        f"{instance.horizon_ticks} periods",
        err=True,
    )
