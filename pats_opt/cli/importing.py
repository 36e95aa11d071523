"""``pats-opt import FORMAT``: a table of formats, each with the command that reads it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli.common import FILE, Count
from pats_opt.cli.lazy import LazyGroup

if TYPE_CHECKING:
    from pats_opt.model.instance import Instance

#: Format -> ("module:attribute" of its click command, one-line help), in the order they are listed.
FORMATS: dict[str, tuple[str, str]] = {
    "trace": (
        "pats_opt.cli.import_trace:command",
        "A request log: CSV, JSON lines or Parquet, plain or gzip.",
    ),
    "timestamps": (
        "pats_opt.cli.import_timestamps:command",
        "Arrival times alone: rows of ms[,qos[,deadline_ms]] without a header.",
    ),
    "bin-packing": (
        "pats_opt.cli.importing:bin_packing",
        "Bin packing, in the layouts of BPPLib and the OR-Library.",
    ),
    "tsplib": (
        "pats_opt.cli.importing:tsplib",
        "Travelling salesman problems, symmetric or not.",
    ),
    "csplib058": (
        "pats_opt.cli.importing:csplib058",
        "Discrete lot sizing with sequence-dependent changeovers.",
    ),
}


class Formats(LazyGroup):
    """Group of the formats in :data:`FORMATS`."""

    table = FORMATS
    noun = "format"


@click.command("import", cls=Formats)
def command() -> None:
    """Import a file of another format as an instance."""


def classic(
    name: str,
    importer: str,
    report: Callable[[Instance], str],
    options: list[click.Parameter],
    text: str,
) -> click.Command:
    """Return the command that imports a classic problem from one file.

    Args:
        name: The format.
        importer: ``module:function`` of its importer. The options are keywords of the function.
        report: What the command prints about the instance.
        options: Options of its own.
        text: Its help.
    """

    def callback(file: str, output: str, **chosen: Any) -> None:
        from pats_opt.model.files import write_instance

        module, _, function = importer.partition(":")
        instance: Instance = getattr(import_module(module), function)(file, **chosen)
        write_instance(instance, output)
        click.echo(f"{output}: {report(instance)}", err=True)

    file = click.Argument(["file"], type=FILE)
    output = click.Option(["-o", "--output"], type=FILE, required=True, help="Instance file.")
    return click.Command(name, callback=callback, params=[file, output, *options], help=text)


bin_packing = classic(
    "bin-packing",
    "pats_opt.importers.bin_packing:import_bin_packing",
    lambda instance: (
        f"{sum(r.reject_loss is None for r in instance.requests)} items, "
        f"at most {instance.horizon_ticks} bins"
    ),
    [
        click.Option(
            ["--problem"], metavar="NAME", help="Name of the problem, if the file has several."
        ),
        click.Option(
            ["--bins"],
            type=click.IntRange(1, 100_000),
            metavar="K",
            help="Ask whether K bins suffice; if not, the instance is infeasible.  "
            "[default: minimise their number]",
        ),
    ],
    """Import a bin packing problem. Each batch is a bin.

    The minimum loss is the minimum number of bins. With --bins every schedule has loss 0, and one
    exists exactly if the items fit that many bins.

    \b
      pats-opt import bin-packing binpack1.txt --problem u120_00 -o u120_00.json
    """,
)

tsplib = classic(
    "tsplib",
    "pats_opt.importers.tsplib:import_tsplib",
    lambda instance: f"{len(instance.adapters)} nodes",
    [
        click.Option(
            ["--closed/--open"],
            default=True,
            show_default=True,
            help="Find a tour, or a path with two ends.",
        ),
        click.Option(
            ["--start"],
            type=Count(0),
            metavar="NODE",
            help="Node to start at.  [default: the first node for a tour, any for a path]",
        ),
    ],
    """Import a TSPLIB file (TYPE TSP or ATSP). Nodes are adapters, the loss is the length.

    \b
      pats-opt import tsplib gr17.tsp -o gr17.json
    """,
)

csplib058 = classic(
    "csplib058",
    "pats_opt.importers.csplib058:import_csplib058",
    lambda instance: (
        f"{len(instance.requests)} units of {len(instance.adapters)} items in "
        f"{instance.horizon_ticks} periods"
    ),
    [],
    """Import a discrete lot-sizing problem (CSPLib 058, .psp). Items are adapters.

    The schedule is the production plan in reverse, and its loss is the cost of the plan.

    \b
      pats-opt import csplib058 pigment15a.psp -o pigment15a.json
    """,
)
