"""``pats-opt tune``: search the parameters of a policy, judged on instances it was not tuned on."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli import common, completing, terminal

if TYPE_CHECKING:
    from pats_opt.tuning.plan import Plan
    from pats_opt.tuning.search import Trial


def pairs(
    ctx: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> dict[str, str] | None:
    """``name=value``, as often as given; None where it is not."""
    found = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{value!r}: write it as {option.metavar}", ctx, option)
        found[name] = text
    return found or None


def names(ctx: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    """Names by commas; None where none are given."""
    found = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    if text is not None and not found:
        raise click.BadParameter("name parameters, by commas", ctx, option)
    return found or None


@click.command("tune")
@click.argument("policy", required=False, shell_complete=completing.specs)
@click.argument("instances", metavar="[INSTANCE ...]", nargs=-1, type=common.FILE)
@click.option(
    "--suite",
    "suites",
    multiple=True,
    metavar="NAME",
    shell_complete=completing.suites,
    help="A generated suite.",
)
@click.option(
    "--test", multiple=True, metavar="FILE", type=common.FILE, help="Test instances (or a folder)."
)
@click.option(
    "--test-suite",
    "test_suites",
    multiple=True,
    metavar="NAME",
    shell_complete=completing.suites,
    help="A test suite.",
)
@click.option(
    "--test-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of each class kept for the test, without --test.  [default: 0.3]",
)
@click.option("--trials", type=click.IntRange(1), help="Settings to try.  [default: 60]")
@click.option(
    "--fix", multiple=True, metavar="NAME=VALUE", callback=pairs, help="Hold a parameter."
)
@click.option("--only", metavar="A,B", callback=names, help="Search these parameters alone.")
@click.option(
    "--range",
    "ranges",
    multiple=True,
    metavar="NAME=LOW:HIGH[:log]",
    callback=pairs,
    help="Numbers to search for a parameter.",
)
@click.option("--prune/--no-prune", default=None, help="End hopeless trials early.  [default: yes]")
@click.option(
    "--time-limit",
    type=click.FloatRange(0, 1e7, min_open=True),
    metavar="S",
    callback=common.finite,
    help="Seconds a run; needed where it is no online policy.",
)
@click.option("--seed", type=click.IntRange(0), help="Random seed.  [default: 0]")
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at a time."
)
@click.option("-o", "--output", type=common.FILE, help="Folder.  [default: new, below out/]")
@click.option("--resume", is_flag=True, help="Go on with the search in the folder.")
@common.json_option
def command(
    policy: str | None,
    instances: tuple[str, ...],
    jobs: int,
    output: str | None,
    resume: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Search the parameters of POLICY (any solver with parameters) on the INSTANCES.

    INSTANCE is a file or a folder of them. Some of the instances are kept apart for a test at the
    end, with the default and the best parameters. Parameters in POLICY, as in pats:prune=false, are
    held. Each finished trial is kept, so a kill or Ctrl-C loses none: --resume -o DIR goes on.
    """
    from pats_opt.errors import InputError

    if importlib.util.find_spec("optuna") is None:
        raise InputError("'tune' needs the package optuna", hint="pip install 'pats-opt[tune]'")
    from pats_opt.tuning import pages
    from pats_opt.tuning.plan import Config
    from pats_opt.tuning.tune import prepare, resumed, tune

    if resume and output is None:
        raise click.UsageError("--resume needs the folder to go on in: add -o DIR")
    folder = Path(output) if output is not None else _new_folder()
    chosen = {key: value for key, value in options.items() if value not in (None, ())}
    chosen |= {"policy": policy} if policy is not None else {}
    chosen |= {"instances": instances} if instances else {}
    if resume:
        if instances or "suites" in chosen:  # they replace those it was begun with, both of them
            chosen = {"instances": (), "suites": (), **chosen}
        config = resumed(folder, chosen)
    else:
        config = Config(**chosen)
    plan = prepare(config, folder, resume=resume)
    _tell_left(plan)
    with terminal.progress(plan.config.trials, _told(), quiet=as_json) as done:
        result = tune(plan, folder, jobs=jobs, done=done)
    if result.interrupted:
        click.echo(
            f"interrupted after {result.trials['finished']} of {config.trials} trials; "
            f"'pats-opt tune --resume -o {folder}' does the rest",
            err=True,
        )
    if as_json:
        import msgspec

        common.print_json({"folder": str(folder), **msgspec.to_builtins(result)})
    else:
        click.echo("\n".join([*pages.lines(plan, result), f"folder     {folder}"]))


def _new_folder() -> Path:
    """A folder that nothing is in yet."""
    from datetime import datetime

    return Path("out") / f"tune-{datetime.now().astimezone():%Y%m%d-%H%M%S}"


def _tell_left(plan: Plan) -> None:
    """Name the parameters that are not searched for want of a range."""
    if plan.target.left:
        click.echo(
            f"not searched: {', '.join(plan.target.left)}; "
            f"--range {plan.target.left[0]}=LOW:HIGH gives a range",
            err=True,
        )


def _told() -> Callable[[Trial], str]:
    """What the bar says after each trial."""
    from pats_opt.tuning.search import best

    trials: list[Trial] = []

    def told(trial: Trial) -> str:
        trials.append(trial)
        found = best(trials)
        change = 100 * math.expm1(found.value)
        return f"best on train: {change:+.2f} % (trial {found.number})"

    return told
