"""``pats-opt plan``: what each fleet, cache and policy would do on a load, and what to buy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli import common, completing, terminal
from pats_opt.cli.common import FILE, Count, option

if TYPE_CHECKING:
    from pats_opt.planning.config import PlanConfig
    from pats_opt.runs.record import Record


def _numbers(least: int) -> Callable[[str], tuple[int, ...]]:
    """Return the function that reads whole numbers of at least ``least``."""

    def read(text: str) -> tuple[int, ...]:
        from pats_opt.planning.config import whole_numbers

        found = whole_numbers(text)
        if found[0] < least:
            raise ValueError(text)
        return found

    return read


def _objective(text: str) -> object:
    from pats_opt.planning.config import objective

    return objective(text)


def _axis(flags: str, text: str, least: int = 1) -> Callable[[common.F], common.F]:
    """Return an option of whole numbers, such as ``4..12`` or ``1,8,40``."""
    return option(flags, text, metavar="N,M..K", callback=common.parsed(_numbers(least)))


def _names(flags: str, text: str, **more: Any) -> Callable[[common.F], common.F]:
    """Return an option of names."""
    return option(flags, text, metavar="A,B", callback=common.parsed(common.names), **more)


@click.command("plan")
@click.argument("load", metavar="[LOG|INSTANCE]", required=False, type=FILE)
@_axis("--gpus", "GPUs.  [default: 1..8 for a log, else the instance's]")
@_axis(
    "--resident --residents residents",
    "Most adapters resident on a GPU.  [default: 1,4,16 for a log, else the instance's]",
)
@_names(
    "--policies",
    "Online policies.  [default: fifo,exhaustive,pats,price-index]",
    shell_complete=completing.spec_list,
)
@_names("--dispatch dispatches", "Dispatch rules, such as central,least-work.")
@_names("--tier tiers", "Places of the adapter files, as the profile names them: host,disk.")
@_axis("--load-channels channels", "Loads beside serving; 0 for loads that block.", 0)
@_axis("--batch batches", "Largest batches.")
@option(
    "--slo objective",
    "Objective: a share of the requests [0.95] is served within S seconds.",
    metavar="S[:SHARE]|pN<=S",
    callback=common.parsed(_objective),
)
@option(
    "--gpu-hour",
    "Price of an hour of one GPU.",
    click.FloatRange(0, 1e9),
    metavar="PRICE",
    callback=common.finite,
)
@option(
    "--every-cell/--search every_cell",
    "Simulate all cells, or search for the fewest GPUs.  [default: search, with --slo]",
    default=None,
)
@option("--windows", "Windows of requests for intervals.  [default: 8]", Count(1), metavar="N")
@option(
    "--bound-windows",
    "Short windows with a certified bound; 0 for none.  [default: 3]",
    Count(0),
    metavar="N",
)
@option("--bound-requests", "Images in each of them.  [default: 40]", Count(1), metavar="N")
@option(
    "--bound-time bound_s",
    "Seconds for each bound.  [default: 20]",
    click.FloatRange(0, 1e7, min_open=True),
    metavar="S",
    callback=common.finite,
)
@option(
    "--speed",
    "Factor by which a log's arrivals are sped up.  [default: 1]",
    click.FloatRange(0, min_open=True),
    callback=common.finite,
)
@option(
    "--profile",
    "Service profile: a name or a TOML file.  [default: documents, or the instance's own]",
    metavar="PROFILE",
    shell_complete=completing.profiles,
)
@option("--seed", "Random seed.  [default: 0]", click.IntRange(0))
@option(
    "--time-limit",
    "Stop a simulation after S seconds.  [default: none]",
    click.FloatRange(0, 1e7, min_open=True),
    metavar="S",
    callback=common.finite,
)
@option("--jobs", "Runs in parallel.  [default: all cores]", Count(1))
@common.engine_option
@common.new_folder_option
@option("--resume", "Continue the plan in DIR; other options may be given anew.", is_flag=True)
@common.json_option
def command(
    jobs: int | None,
    engine: str,
    output: str | None,
    resume: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Simulate fleets, caches and policies on a load, and say what to buy.

    The load is a request log (CSV, JSON lines, Parquet; columns are guessed by their names) or an
    instance. Each axis takes several values: numbers as 1,4,16 or 4..12. With --slo the fewest GPUs
    that meet the objective are searched for. Each run has its own JSON file in the folder: after a
    crash, a kill or Ctrl-C, continue with --resume -o DIR.

    \b
      pats-opt plan log.csv --gpus 1..8 --resident 1,4,16 --policies fifo,price-index \\
          --slo 30:0.95 --gpu-hour 2.5 -o out/plan
    """  # noqa: D301
    from pats_opt.errors import UnfinishedError
    from pats_opt.planning.config import INSTANCE, PAGE
    from pats_opt.planning.study import plan, prepare
    from pats_opt.runs.engine import run_engine

    where = run_engine(engine)
    if resume and output is None:
        raise click.UsageError("--resume needs the folder to continue in: add -o DIR")
    folder = Path(output) if output is not None else common.new_folder("plan")
    config = _config(folder if resume else None, options)
    grid = prepare(config, folder, resume=resume)
    if grid.notes:
        click.echo(f"{grid.file}: {len(grid.instance.requests)} requests", err=True)
        for line in grid.notes:
            click.echo(f"  {line}", err=True)
    common.note_ticks(grid.instance)
    total = len(grid.lines) * len(grid.gpus)
    with terminal.progress(total, _progress_line(), quiet=as_json) as done:
        result = plan(grid, jobs=jobs, engine=where, done=done)
    if as_json:
        import msgspec

        from pats_opt.planning.pages import sentences

        summary = {"folder": str(folder), "summary": sentences(result)}
        common.print_json({**summary, **msgspec.to_builtins(result)})
    else:
        _print(result)
        click.echo(f"The page is {folder / PAGE}")
    if config.is_log and not as_json:
        click.echo(f"The instance is {folder / INSTANCE}")
    if result.missing:
        raise UnfinishedError(
            f"interrupted with cells to go; 'pats-opt plan --resume -o {folder}' does them"
        )


def _config(resumed: Path | None, given: dict[str, Any]) -> PlanConfig:
    """Return the options, or those of the resumed folder overridden by them."""
    from msgspec.structs import replace

    from pats_opt.errors import InputError
    from pats_opt.planning.config import CONFIG, PlanConfig, saved

    chosen = {key: value for key, value in given.items() if value not in (None, ())}
    if resumed is not None and ("load" not in chosen or (resumed / CONFIG).is_file()):
        return replace(saved(resumed), **chosen)
    if "load" not in chosen:
        raise InputError(
            "no load is named", hint="write: pats-opt plan LOG or pats-opt plan INSTANCE"
        )
    return PlanConfig(**chosen)


def _progress_line() -> Callable[[Record], str]:
    """Return the function that gives the bar's text after each run."""
    from pats_opt.runs.record import FAILURES
    from pats_opt.wording import label

    def name(record: Record) -> str:
        setting = record.config.setting
        fleet = "" if setting is None else f"{setting.fleet.gpus} GPUs, "
        return fleet + label(record.config.solver.spec)

    return terminal.failures_and_last(lambda record: record.end in FAILURES, name)


def _print(result: Any) -> None:
    """Print the answer, and the table by line."""
    from pats_opt.planning.pages import sentences, table

    head, rows, left = table(result)
    click.echo("\n".join(sentences(result)))
    click.echo()
    terminal.print_table(head, rows, left=left)
    click.echo()
