"""``pats-opt tune``: search the parameters of a policy, and test them on other instances."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli import common, completing, terminal
from pats_opt.cli.common import FILE, Count, option

if TYPE_CHECKING:
    from pats_opt.tuning.plan import TunePlan
    from pats_opt.tuning.trials import Trial


@click.command("tune")
@click.argument("policy", required=False, shell_complete=completing.specs)
@click.argument("instances", metavar="[INSTANCE ...]", nargs=-1, type=FILE)
@common.suites_option("--suite suites", "Generated suite; repeatable.")
@option("--test", "Test instance or folder; repeatable.", FILE, multiple=True, metavar="FILE")
@common.suites_option("--test-suite test_suites", "Generated suite for the test; repeatable.")
@option(
    "--test-share",
    "Share of each class kept for the test, without --test.  [default: 0.3]",
    click.FloatRange(0, 1, min_open=True, max_open=True),
)
@option("--trials", "Number of parameter settings to try.  [default: 60]", Count(1))
@option("--fix", "Fix a parameter.", multiple=True, metavar="NAME=VALUE", callback=common.pairs)
@option(
    "--only", "Search these parameters only.", metavar="A,B", callback=common.parsed(common.names)
)
@option(
    "--range ranges",
    "Range to search for a parameter.",
    multiple=True,
    metavar="NAME=LOW:HIGH[:log]",
    callback=common.pairs,
)
@option("--prune/--no-prune", "Stop poor trials early.  [default: yes]", default=None)
@option(
    "--time-limit",
    "Seconds per run; required unless POLICY is an online policy.",
    click.FloatRange(0, 1e7, min_open=True),
    metavar="S",
    callback=common.finite,
)
@option("--seed", "Random seed.  [default: 0]", click.IntRange(0))
@option("--jobs", "Runs in parallel.  [default: 1; of --engine ray all cores]", Count(1))
@common.engine_option
@common.new_folder_option
@option("--resume", "Continue the search in DIR.", is_flag=True)
@common.json_option
def command(
    policy: str | None,
    instances: tuple[str, ...],
    jobs: int | None,
    engine: str,
    output: str | None,
    resume: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Search the parameters of POLICY, or of any other solver, on the INSTANCES.

    INSTANCE is a file, or a folder of files. Some instances are kept for a test at the end, which
    compares the default with the best parameters. Parameters given in POLICY, as in
    pats:prune=false, stay fixed. Each finished trial is saved: after a kill or Ctrl-C, continue
    with --resume -o DIR.
    """
    from pats_opt.errors import InputError, UnfinishedError

    if importlib.util.find_spec("optuna") is None:
        raise InputError("'tune' needs the package optuna", hint="pip install 'pats-opt[tune]'")
    from pats_opt.runs.engine import RunEngine, run_engine
    from pats_opt.tuning import pages
    from pats_opt.tuning.plan import CONFIG, TuneConfig
    from pats_opt.tuning.tune import prepare, resumed, tune

    where = run_engine(engine)
    if resume and output is None:
        raise click.UsageError("--resume needs the folder to continue in: add -o DIR")
    folder = Path(output) if output is not None else common.new_folder("tune")
    chosen = {key: value for key, value in options.items() if value not in (None, (), {})}
    chosen |= {"policy": policy} if policy is not None else {}
    chosen |= {"instances": instances} if instances else {}
    # One that was stopped before it began is begun.
    begun = resume and (policy is None or (folder / CONFIG).is_file())
    if begun:
        if instances or "suites" in chosen:  # they replace both of the run before
            chosen = {"instances": (), "suites": (), **chosen}
        config = resumed(folder, chosen)
    else:
        config = TuneConfig(**chosen)
    plan = prepare(config, folder, resume=begun)
    _report_unsearched(plan)
    with terminal.progress(plan.config.trials, _status(), quiet=as_json) as done:
        jobs = jobs or (1 if where is RunEngine.PROCESS else None)
        result = tune(plan, folder, jobs=jobs, engine=where, done=done)
    if as_json:
        import msgspec

        common.print_json({"folder": str(folder), **msgspec.to_builtins(result)})
    else:
        click.echo("\n".join([*pages.lines(plan, result), f"folder     {folder}"]))
    if result.interrupted:
        raise UnfinishedError(
            f"interrupted after {result.trials['finished']} of {config.trials} trials; "
            f"continue with 'pats-opt tune --resume -o {folder}'"
        )


def _report_unsearched(plan: TunePlan) -> None:
    """Name the parameters that are not searched because they have no range."""
    if plan.target.left:
        click.echo(
            f"not searched: {', '.join(plan.target.left)}; "
            f"give a range, such as --range {plan.target.left[0]}=LOW:HIGH",
            err=True,
        )


def _status() -> Callable[[Trial], str]:
    """Return the function that gives the bar's text after each trial."""
    from pats_opt.tuning.trials import best

    trials: list[Trial] = []

    def status(trial: Trial) -> str:
        trials.append(trial)
        found = best(trials)
        change = 100 * math.expm1(found.value)
        return f"best on train: {change:+.2f} % (trial {found.number})"

    return status
