"""``pats-opt import bin-packing``: a bin packing problem as an instance."""

from __future__ import annotations

import click

from pats_opt.cli.common import FILE


@click.command("bin-packing")
@click.argument("file", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Instance file.")
@click.option("--problem", metavar="NAME", help="Which problem, where the file holds several.")
@click.option(
    "--bins",
    type=click.IntRange(1, 100_000),
    metavar="K",
    help="Ask whether K bins do (else the instance is infeasible) [the least number].",
)
def command(file: str, output: str, problem: str | None, bins: int | None) -> None:
    """Import a bin packing problem: each batch is a bin.

    Solved as it is, the loss is the least number of bins. With --bins, every schedule has loss 0,
    and there is one exactly if the items fit that many bins.

    \b
      pats-opt import bin-packing binpack1.txt --problem u120_00 -o u120_00.json
    """  # noqa: D301
    from pats_opt.importers.bin_packing import import_bin_packing
    from pats_opt.model.files import write_instance

    instance = import_bin_packing(file, problem=problem, bins=bins)
    write_instance(instance, output)
    click.echo(
        f"{output}: {sum(r.reject_loss is None for r in instance.requests)} items, "
        f"at most {instance.horizon_ticks} bins",
        err=True,
    )
