"""``pats-opt import timestamps``: import a file of arrival times as an instance."""

from __future__ import annotations

from typing import Any

import click

from pats_opt.cli.common import FILE, Count, option, seed_option
from pats_opt.cli.import_trace import report
from pats_opt.cli.recipe import CACHE, POPULARITY, SITE, Setting, recipe_from, recipe_options


@click.command("timestamps")
@click.argument("log", metavar="FILE", type=FILE)
@option("-o --output", "Instance file.", FILE, required=True)
@option("--from since", "Start of the time window, in ms as in the file.", metavar="MS")
@option("--to until", "End of the time window, inclusive.", metavar="MS")
@option("--count", "Take at most the first N rows.", Count(1), metavar="N")
@option(
    "--speed",
    "Factor by which arrivals are sped up.",
    click.FloatRange(0, min_open=True),
    default=1.0,
)
@option("--name", "Name of the instance.  [default: the file's]", metavar="TEXT")
@seed_option
@recipe_options(
    Setting("--full", "steps.full", "Full step counts [60].", "N:SHARE,..."),
    *POPULARITY,
    *SITE,
    *CACHE,
)
def command(
    log: str,
    output: str,
    name: str | None,
    seed: int,
    config: str | None,
    **options: Any,
) -> None:
    """Import arrival times: rows of ms[,qos[,deadline_ms]] without a header.

    A row is the time of a request in milliseconds, its level of service (kept as 'qos' in 'extra'
    of the request) and its deadline, in milliseconds from the arrival. Everything else is set, or
    drawn at random, as in 'generate'.

    \b
      pats-opt import timestamps arrivals.txt --count 500 --base-share 1 --gpus 8 -o a.json
    """  # noqa: D301
    from pats_opt.importers.timestamps import import_timestamps
    from pats_opt.importers.window import Window
    from pats_opt.model.files import write_instance

    window = Window(
        time_format="ms", since=options["since"], until=options["until"], count=options["count"]
    )
    recipe = recipe_from(config, options)
    imported = import_timestamps(log, window, recipe, seed, speed=options["speed"], name=name)
    write_instance(imported.instance, output)
    report(output, imported)
