"""``pats-opt gap-report``: offline optima and bounds against online policies."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli import common, completing, terminal
from pats_opt.cli.common import FILE, Count, option
from pats_opt.model.instance import LARGEST

if TYPE_CHECKING:
    from pats_opt.model.instance import Instance
    from pats_opt.report.collect import Table
    from pats_opt.report.config import ReportConfig
    from pats_opt.report.gap import Report
    from pats_opt.runs.record import Record


def prices(
    ctx: click.Context, option: click.Parameter, text: str | None
) -> tuple[float, ...] | str | None:
    """``auto``, or latency prices by commas."""
    if text is None or text == "auto":
        return text
    try:
        found = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        found = ()
    if not found or not all(0 <= price <= LARGEST for price in found):
        raise click.BadParameter(
            f"{text!r}: write prices of at least 0 by commas, or 'auto'", ctx, option
        )
    return found


@click.command("gap-report")
@click.argument("instances", metavar="[INSTANCE ...]", nargs=-1, type=FILE)
@common.suites_option("--suite suites", "Generated suite: a name or a TOML file; repeatable.")
@option(
    "--solvers",
    "Solvers and policies, such as milp:backend=scip,pats.  [default: auto,price-index,pats,fifo]",
    metavar="A,B",
    callback=common.parsed(common.names),
    shell_complete=completing.spec_list,
)
@common.time_limit(
    "Stop each run after S seconds with the results so far.  "
    "[default: 20; none for online policies]"
)
@option("--jobs", "Runs in parallel.  [default: all cores]", Count(1))
@option("--seed", "Random seed.  [default: 0]", click.IntRange(0))
@option(
    "--latency-sweep sweep",
    "Also run at these latency prices, such as 0.1,0.2 or auto: a trade-off curve.",
    metavar="LAMBDAS",
    callback=prices,
)
@option(
    "--pictures/--no-pictures",
    "Draw each schedule, which takes about a second.  [default: draw]",
    default=None,
)
@option(
    "--log served_log",
    "Log of 'serve': one instance per window, and its schedule as served ('served') as one of the "
    "solvers.",
    FILE,
)
@option(
    "--window",
    "Hours of a window of --log.  [default: 1]",
    click.FloatRange(0, min_open=True),
    metavar="HOURS",
)
@option("--config run_file", "TOML run file with these options.", FILE)
@common.engine_option
@common.new_folder_option
@option("--resume", "Continue the runs in DIR: skip the finished ones.", is_flag=True)
@common.json_option
def command(
    instances: tuple[str, ...],
    suites: tuple[str, ...],
    solvers: tuple[str, ...] | None,
    time_limit: float | None,
    jobs: int | None,
    engine: str,
    seed: int | None,
    sweep: tuple[float, ...] | str | None,
    pictures: bool | None,
    served_log: str | None,
    window: float | None,
    run_file: str | None,
    output: str | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Run instances x solvers in parallel and report gaps, losses and latencies.

    INSTANCE is a file, or a folder of files. Without instances, --suite and --config, the suite
    'demo' is run; --resume takes them from the folder. Runs share worker processes, and each has
    its own JSON file in the folder: after a crash, a kill or Ctrl-C, continue with --resume -o DIR.
    """
    from pats_opt.memory import require_address_space

    require_address_space("a gap report")
    from pats_opt.report.gap import gap_report, prepare
    from pats_opt.runs.engine import run_engine

    where = run_engine(engine)
    if resume and output is None:
        raise click.UsageError("--resume needs the folder to continue in: add -o DIR")
    folder = Path(output) if output is not None else common.new_folder("gap-report")
    given = {
        "instances": instances,
        "suites": suites,
        "solvers": solvers or (),
        "time_limit": time_limit,
        "seed": seed,
        "latency_sweep": sweep,
        "pictures": pictures,
    }
    made = _served(served_log, window, folder, given)
    config = _config(run_file, folder if resume else None, given)
    to_do = prepare(config, folder, resume=resume, made=made)
    with ExitStack() as bar:
        done = bar.enter_context(terminal.progress(len(to_do), progress_line(), quiet=as_json))

        def watch(total: int) -> AbstractContextManager[Callable[[str], None]]:
            bar.close()  # the runs are over
            return terminal.progress(total, _drawn, quiet=as_json)

        report = gap_report(config, folder, to_do, jobs=jobs, engine=where, done=done, watch=watch)
    for line in report.undrawn:
        click.echo(f"pats-opt: warning: {line}", err=True)
    if as_json:
        common.print_json(_summary(report))
    else:
        click.echo("\n".join(report.sentences))
        if len(report.table.solvers) > 1:
            print_glance(report.table)
        if len(made) > 1:
            _print_windows(report)
        click.echo(f"The report is {folder / 'report.html'}")
    _judge(report)


def _served(
    log: str | None, window: float | None, folder: Path, given: dict[str, Any]
) -> dict[Path, Instance]:
    """Return the instances of a server's log by the files to write, and add them to the options."""
    if log is None:
        if window is not None:
            raise click.UsageError("--window needs a log: add --log FILE")
        return {}
    from pats_opt.report.config import DEFAULT_SOLVERS
    from pats_opt.report.served_log import served_instances

    found = served_instances(log, 3600.0 * (window or 1.0))
    made = {
        folder / "instances" / f"{instance.name.replace(':', '')}.json": instance
        for instance in found
    }
    given["instances"] = (*given["instances"], *map(str, made))
    given["solvers"] = ("served", *(given["solvers"] or DEFAULT_SOLVERS))
    return made


def _config(run_file: str | None, resumed: Path | None, given: dict[str, Any]) -> ReportConfig:
    """Return the run file or the resumed folder's configuration, overridden by the options."""
    import msgspec

    from pats_opt.errors import InputError
    from pats_opt.report.config import DEFAULT_SUITE, ReportConfig, read_config, saved_config

    chosen = {key: value for key, value in given.items() if value not in (None, ())}
    named = "instances" in chosen or "suites" in chosen
    if run_file is not None:
        base = read_config(run_file)
        if not (named or base.instances or base.suites):
            hint = "name instances or suites in it, or on the command line"
            raise InputError("there is nothing to run", file=run_file, hint=hint)
    elif resumed is not None and (saved := saved_config(resumed)) is not None:
        base = saved
    elif resumed is not None and not named:
        raise InputError(
            "there is no report to resume in this folder",
            file=str(resumed),
            hint="name the folder of one, or leave out --resume",
        )
    else:
        base = ReportConfig() if named else ReportConfig(suites=(DEFAULT_SUITE,))
    if named:  # the command line's instances and suites replace the file's, both of them
        chosen = {"instances": (), "suites": (), **chosen}
    return msgspec.structs.replace(base, **chosen)


def progress_line() -> Callable[[Record], str]:
    """Return the function that gives the bar's text after each run."""
    from pats_opt.runs.record import FAILURES
    from pats_opt.wording import label

    return terminal.failures_and_last(
        lambda record: record.end in FAILURES,
        lambda r: f"{label(r.config.solver.spec)} on {label(r.config.instance.name)}",
    )


def _drawn(name: str) -> str:
    """Return the bar's text after a picture."""
    from pats_opt.wording import label

    return f"drawn {label(name, 60)}"


def print_glance(table: Table) -> None:
    """Print the solvers with their gaps and service, the smallest gap first."""
    from pats_opt.report.columns import glance_columns
    from pats_opt.report.service import glance

    rows, columns = glance(table), glance_columns(table)
    head = ["solver", *(column.heading for column in columns)]
    cells = [[row["solver"], *(column.text(row) for column in columns)] for row in rows]
    terminal.print_table(head, cells, left=1)


def _print_windows(report: Report) -> None:
    """Print each solver's gap, window by window."""
    from pats_opt.report.frame import against
    from pats_opt.wording import percent

    runs = report.table.runs.select("label", "solver", "gap").to_dicts()
    solvers = list(dict.fromkeys(run["solver"] for run in runs))
    windows: dict[str, dict[str, float | None]] = {}
    for run in sorted(runs, key=lambda run: str(run["label"])):
        windows.setdefault(run["label"], {})[run["solver"]] = run["gap"]
    click.echo(f"gap to {against(report.table.own)} by window")
    cells = [
        [window, *(percent(found.get(s)) for s in solvers)] for window, found in windows.items()
    ]
    terminal.print_table(["window", *solvers], cells, left=1)


#: Key of a run in the summary -> column of the table.
_RUN = {
    "instance": "label",
    "class": "class",
    "latency_price": "latency_price_per_s",
    "solver": "solver",
    "end": "verdict",
    "loss": "loss",
    "bound": "bound",
    "gap": "gap",
    "against": "against",
    "proven": "proven",
}


def _summary(report: Report) -> dict[str, Any]:
    """Return the report as one JSON object."""
    import msgspec

    table = report.table
    return {
        "folder": str(report.folder),
        "report": str(report.folder / "report.html"),
        "summary": report.sentences,
        "missing": report.missing,
        "contradictions": table.contradictions,
        "totals": msgspec.to_builtins(table.totals),
        "duels": msgspec.to_builtins(table.duels),
        "runs": [
            {key: row[name] for key, name in _RUN.items()}
            for row in table.runs.iter_rows(named=True)
        ],
    }


def _judge(report: Report) -> None:
    """Raise where the report was interrupted, or a solver's claim is disproved."""
    from pats_opt.errors import SolverError, UnfinishedError
    from pats_opt.wording import counted

    if report.interrupted:
        left = counted(report.missing, "run") if report.missing else "pictures"
        again = f"'pats-opt gap-report --resume -o {report.folder}' does them"
        raise UnfinishedError(f"interrupted with {left} to go; {again}")
    if report.table.contradictions:
        raise SolverError(report.table.contradictions[0])
