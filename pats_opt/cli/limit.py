"""``pats-opt limit``: the best that an online policy could do, and what each gives away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pats_opt.cli import common, completing
from pats_opt.cli.common import FILE, INPUT_FILE, Count, option, parsed
from pats_opt.cli.terminal import Watch, print_table

if TYPE_CHECKING:
    from pats_opt.limits.limit import LimitReport

#: Heads of the printed table.
HEADS = ("policy", "loss per request", "gives away", "gap to the online optimum")


@click.command("limit")
@click.argument("recipe", type=INPUT_FILE)
@option(
    "--policies",
    "Policies to measure, separated by commas.  [default: price-index, pats, fifo, exhaustive, "
    "also with the fewest steps]",
    metavar="A,B",
    callback=parsed(common.names),
    shell_complete=completing.specs,
)
@option("--queue", "Waiting requests of a kind that states tell apart.", Count(1), default=20)
@option(
    "--tolerance",
    "Relative gap between the bounds at which to stop.",
    click.FloatRange(1e-9, 0.1),
    default=1e-4,
)
@option(
    "--memory",
    "Most memory for the states.",
    click.FloatRange(0, min_open=True),
    default=2.0,
    metavar="GIB",
)
@option("--paths", "Sampled paths for each policy.", Count(2), default=8)
@option("--requests", "Requests of each path.", Count(100), default=1000)
@option(
    "--offline-paths",
    "Sampled paths for the offline optimum; 0 leaves it out.",
    Count(0),
    default=16,
)
@option(
    "--window",
    "Requests of the shorter of two windows that the offline optimum is taken from.",
    Count(2),
    default=40,
)
@option(
    "--time-limit",
    "Seconds for each offline optimum.",
    click.FloatRange(0, min_open=True),
    default=10.0,
    metavar="S",
    callback=common.finite,
)
@option(
    "--bound-only",
    "Print the bound by a price of the GPU only, which is there for any number of adapters.",
    is_flag=True,
)
@common.seed_option
@option(
    "-o --output",
    "Folder for limit.html, limit.json and policy.json, the table of 'online-optimum'.",
    FILE,
    metavar="DIR",
)
@common.json_option
def command(
    recipe: str,
    policies: tuple[str, ...] | None,
    queue: int,
    tolerance: float,
    memory: float,
    paths: int,
    requests: int,
    offline_paths: int,
    window: int,
    time_limit: float,
    bound_only: bool,
    seed: int,
    output: str | None,
    as_json: bool,
) -> None:
    """Compute the best that an online policy could do on a RECIPE with Poisson arrivals.

    RECIPE is a TOML file as for 'generate --config'. The online optimum is computed, with a lower
    and an upper bound; the offline optimum and the policies are sampled.
    """
    import msgspec

    from pats_opt.errors import InputError, in_file
    from pats_opt.generate.config import as_table, read_toml
    from pats_opt.generate.recipe import Recipe
    from pats_opt.limits.limit import POLICIES, LimitOptions, limit, only_price_bound
    from pats_opt.limits.page import page, priced_sentence
    from pats_opt.model.files import encode, write_bytes

    options = LimitOptions(
        policies=policies or POLICIES,
        queue=queue,
        tolerance=tolerance,
        memory_gib=memory,
        paths=paths,
        requests=requests,
        offline_paths=offline_paths,
        window=window,
        time_limit=time_limit,
        seed=seed,
    )
    chosen = as_table(read_toml(recipe), Recipe, recipe)
    folder = None if output is None else Path(output)
    if bound_only:
        if folder is not None:
            raise InputError("--bound-only writes no folder", hint="leave out --output")
        with in_file(recipe):
            bound = only_price_bound(chosen, queue, seed)
        if as_json:
            common.print_json(msgspec.to_builtins(bound))
        else:
            click.echo(priced_sentence(bound))
        return
    with in_file(recipe), Watch(None, quiet=as_json) as watch:
        report = limit(chosen, options, folder=folder, phase=lambda name: watch.phase(name, None))
    if folder is not None:
        write_bytes(folder / "limit.json", encode(report))
        write_bytes(folder / "limit.html", page(report, Path(recipe).stem).encode())
    if as_json:
        common.print_json(msgspec.to_builtins(report))
        return
    _print(report)
    if folder is not None:
        click.echo(f"written to {folder}")


def _print(report: LimitReport) -> None:
    """Print what was found, and a table of the policies."""
    from pats_opt.limits.page import rows, sentences

    for sentence in sentences(report):
        click.echo(sentence)
    click.echo()
    print_table(HEADS, rows(report), left=1)
