"""``pats-opt import trace``: import a request log as an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli.common import FILE, Count, F, option, seed_option
from pats_opt.cli.recipe import CACHE, POPULARITY, SITE, Setting, recipe_from, recipe_options

if TYPE_CHECKING:
    from pats_opt.importers.log import LogFormat
    from pats_opt.importers.trace import ImportedTrace

#: Field of ``LogColumns`` -> help. Each is an option that names a column.
COLUMNS = {
    "time": "Arrival time.",
    "adapter": "Adapter id, several ids joined by --separator, or a list; empty for none.",
    "scale": "Scale of the adapter, or of each of several, joined likewise.",
    "rank": "Rank of the adapter, or of each of several, joined likewise.",
    "base_model": "Base model (checkpoint).",
    "steps": "Full step count.",
    "images": "Number of images.",
    "prompt": "Prompt. Its complexity is estimated.",
    "negative_prompt": "Negative prompt.",
    "prompt_length": "Length of the prompt, if the log has no prompts.",
    "complexity": "Complexity, from 0 to 1.",
    "deadline": "Deadline, in seconds from arrival.",
    "width": "Width in pixels.",
    "height": "Height in pixels.",
    "weight": "Weight in the loss.",
    "id": "Request id.",
    "similarity": "Cosine of the nearest cached prompt, for --approximate-cache log.",
    "group": "The user's request that a row belongs to, if that has several.",
}


def column_options(command: F) -> F:
    """Add an option for each column of the mapping."""
    for field, text in reversed(COLUMNS.items()):
        flags = f"--{field.replace('_', '-')} column__{field}"
        command = option(flags, text, metavar="COLUMN")(command)
    return command


@click.command("trace")
@click.argument("log", type=FILE)
@option("-o --output", "Instance file.", FILE, required=True)
@column_options
@option(
    "--as kind",
    "Format of the log.  [default: by the file's suffix]",
    click.Choice(["csv", "tsv", "jsonl", "parquet"]),
)
@option(
    "--time-format",
    "s, ms, us, ns, min, h, iso, or a pattern such as '%d.%m.%Y %H:%M:%S'; auto: by the column's "
    "name and values.",
    metavar="FORMAT",
    default="auto",
)
@option("--from since", "Start of the time window, written as in the log.", metavar="TIME")
@option("--to until", "End of the time window, inclusive.", metavar="TIME")
@option("--count", "Take at most the first N rows.", Count(1), metavar="N")
@option(
    "--where", "Keep matching rows (also !=); repeatable.", multiple=True, metavar="COLUMN=VALUE"
)
@option(
    "--speed",
    "Factor by which arrivals are sped up.",
    click.FloatRange(0, min_open=True),
    default=1.0,
)
@option("--lora-only", "Skip requests without an adapter.", is_flag=True)
@option(
    "--family",
    "Unit of switching: the set of adapters, the same with the base model, the first adapter, or "
    "the column's text.",
    click.Choice(["set", "base+set", "first", "column"]),
    default="set",
)
@option("--separator", "Separator of the adapters in a cell.", default=";")
@option(
    "--deadline-unit",
    "Unit of --deadline; auto: by the column's name, else s.",
    click.Choice(["auto", "s", "ms", "us", "ns", "min", "h"]),
    default="auto",
)
@option(
    "--keep",
    "Keep this column's cells in 'extra' of the requests; repeatable.",
    multiple=True,
    metavar="COLUMN",
)
@option(
    "--length-unit",
    "Unit of --prompt-length; auto: by the column's name, else characters.",
    click.Choice(["auto", "characters", "tokens", "words"]),
    default="auto",
)
@option("--estimator", "Function that estimates a prompt's complexity.", metavar="MODULE:FUNCTION")
@option("--name", "Name of the instance.  [default: the file's]", metavar="TEXT")
@seed_option
@recipe_options(
    Setting("--full", "steps.full", "Full step counts, if the log has none [60].", "N:SHARE,..."),
    *POPULARITY,
    *SITE,
    *CACHE,
)
def command(
    log: str,
    output: str,
    kind: LogFormat | None,
    name: str | None,
    seed: int,
    config: str | None,
    **options: Any,
) -> None:
    """Import a request log (CSV, JSON lines or Parquet, plain or gzip) as an instance.

    Name the columns of the log with the options below. Without --time, the columns not named are
    guessed by their names; an empty name ('') leaves one out. Everything else is set, or drawn at
    random, as in 'generate'. What the log says is what is served: fewer steps (--pruned) only if
    asked for.

    \b
      pats-opt import trace log.csv.gz --time t_s --adapter lora_ids --steps steps \\
          --lora-only --from 793513 --count 40 --speed 10 --profile production -o a.json
    """  # noqa: D301
    from pats_opt.importers.mapping import LogMapping, read_off
    from pats_opt.importers.trace import import_trace
    from pats_opt.model.files import write_instance
    from pats_opt.model.parsing import convert

    columns = {
        key.removeprefix("column__"): value
        for key, value in options.items()
        if key.startswith("column__") and value is not None
    }
    if guessed := not columns.get("time"):
        columns = read_off(log, kind, columns)
    columns = {field: name for field, name in columns.items() if name}
    window = {key: options[key] for key in ("time_format", "since", "until", "count", "where")}
    reading = {
        key: options[key]
        for key in (
            "speed",
            "lora_only",
            "family",
            "separator",
            "deadline_unit",
            "keep",
            "length_unit",
            "estimator",
        )
    }
    mapping = convert({"columns": columns, "window": window, "format": kind, **reading}, LogMapping)
    imported = import_trace(log, mapping, recipe_from(config, options), seed, name=name)
    write_instance(imported.instance, output)
    report(output, imported, guessed=guessed)


def report(output: str, imported: ImportedTrace, *, guessed: bool = False) -> None:
    """Print on standard error what was imported, how it was read, and a picture of the load."""
    instance, mapping = imported.instance, imported.mapping
    click.echo(
        f"{output}: {imported.requests} rows, {len(instance.requests)} requests, "
        f"{len(instance.adapters)} adapters, {imported.span_s:.0f} s"
        + ("" if imported.load is None else f", load {imported.load:.2f}")
        + (
            " (queues hardly form below 0.7; increase it with --speed)"
            if imported.load is not None and imported.load < 0.7
            else ""
        ),
        err=True,
    )
    lines = []
    if guessed:
        found = ", ".join(
            f"{o.removeprefix('--')} {n!r}" for o, n in mapping.columns.named().items()
        )
        lines.append(f"columns, guessed by their names: {found}")
    units = [f"times {mapping.window.time_format}"]
    if mapping.columns.deadline:
        units.append(f"deadlines {mapping.deadline_unit}")
    if mapping.columns.prompt_length:
        units.append(f"lengths of prompts {mapping.length_unit}")
    lines.append(f"units: {', '.join(units)}")
    lines += [*imported.statistics.lines(), *imported.changes, *imported.noticed]
    for line in lines:
        click.echo(f"  {line}", err=True)
