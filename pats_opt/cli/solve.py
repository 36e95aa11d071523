"""``pats-opt solve``: one instance, any solver, a checked schedule."""

from __future__ import annotations

import sys
from typing import Any

import click

from pats_opt.cli import common

#: Backends that --backend names; it is short for ``--param backend=...``.
BACKENDS = ("highs", "scip", "cbc")


@click.command("solve")
@click.argument("instance", type=common.FILE)
@click.option("--solver", default="auto", show_default=True, help="A name from 'pats-opt solvers'.")
@click.option("--backend", type=click.Choice(BACKENDS), help="MILP backend of the solver 'milp'.")
@common.param_option
@common.time_limit_option
@common.seed_option
@common.jobs_option
@click.option(
    "--latency-budget",
    "budget_s",
    type=click.FloatRange(0, 1e9, min_open=True),
    metavar="S",
    callback=common.finite,
    help="Find the latency price lambda that keeps the latency within this, in seconds.",
)
@click.option(
    "--latency-measure",
    "measure",
    type=click.Choice(("mean", "p95")),
    help="What the latency budget limits.  [default: mean]",
)
@click.option("-o", "--output", type=common.FILE, help="Write the schedule to this file.")
@common.json_option
def command(
    instance: str,
    solver: str,
    backend: str | None,
    params: dict[str, str],
    time_limit: float | None,
    seed: int,
    jobs: int,
    budget_s: float | None,
    measure: str | None,
    output: str | None,
    as_json: bool,
) -> None:
    """Solve INSTANCE and check the schedule.

    Ctrl-C or the time limit return the best schedule and bound found so far. With a latency budget
    the instance's own latency price is only where the search for the right one begins.
    """
    from pats_opt import registry
    from pats_opt.budget import solve_within
    from pats_opt.budget_result import BudgetResult, require_met
    from pats_opt.errors import InfeasibleError
    from pats_opt.files import read_instance, refuse_unwritable, write_schedule
    from pats_opt.solving import require_schedule, solve

    if measure is not None and budget_s is None:
        raise click.UsageError(
            "--latency-measure needs a budget to measure: add --latency-budget S"
        )
    settings = {**params, **({} if backend is None else {"backend": backend})}
    chosen = registry.make(solver, **settings)
    document = read_instance(instance)
    if output is not None:
        refuse_unwritable(output)
    try:
        with _progress(quiet=as_json) as report:
            result = (
                solve(
                    document, chosen, time_limit=time_limit, seed=seed, jobs=jobs, progress=report
                )
                if budget_s is None
                else solve_within(
                    document,
                    budget_s,
                    chosen,
                    measure=measure or "mean",
                    time_limit=time_limit,
                    seed=seed,
                    jobs=jobs,
                    progress=report,
                )
            )
    except InfeasibleError as error:
        raise InfeasibleError(f"{instance}: {error}") from None
    if as_json:
        common.print_json(result.summary())
    require_schedule(result)
    if isinstance(result, BudgetResult):
        require_met(result)
    if output is not None:
        write_schedule(result.schedule, output)
    if not as_json:
        _print(result.summary(), output)


class _progress:  # noqa: N801
    """A line on a terminal's standard error with the bound and the best loss; else nothing."""

    def __init__(self, quiet: bool) -> None:
        self._shown = not quiet and sys.stderr.isatty()
        self._best: list[float | None] = [None, None]

    def __enter__(self) -> Any:
        if not self._shown:
            return None
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            SpinnerColumn(),
            TimeElapsedColumn(),
            TextColumn("bound {task.fields[bound]}  best loss {task.fields[loss]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task("", total=None, bound="-", loss="-")
        return self._report

    def _report(self, bound: float | None, loss: float | None) -> None:
        if bound is not None:
            self._best[0] = max(bound, self._best[0] if self._best[0] is not None else bound)
        if loss is not None:
            self._best[1] = min(loss, self._best[1] if self._best[1] is not None else loss)
        shown = ["-" if value is None else f"{value:.6g}" for value in self._best]
        self._bar.update(self._task, bound=shown[0], loss=shown[1])

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._bar.stop()


def _print(summary: dict[str, Any], output: str | None) -> None:
    """The result for people, on standard output."""
    status, metrics = summary["status"], summary["metrics"]
    bound, gap = summary["bound"], summary["gap"]
    lines = [
        f"solver     {summary['solver']}, stopped: {status['stop']}, {summary['runtime_s']:.2f} s",
        f"schedule   {status['point']}",
        f"loss       {summary['loss']:.6g}",
        "bound      " + ("none" if bound is None else f"{bound:.6g}, gap {100 * gap:.2f} %"),
        f"utility    {summary['utility']:.6g}",
        "terms      " + ", ".join(f"{k} {v:.4g}" for k, v in summary["terms"].items()),
        f"served     {metrics['served']} in {metrics['batches']} batches, "
        f"rejected {metrics['rejected']}",
    ]
    if metrics["served"]:
        lines.append(
            f"latency    mean {metrics['latency_mean_s']:.2f} s, p95 "
            f"{metrics['latency_p95_s']:.2f} s, max {metrics['latency_max_s']:.2f} s"
        )
    lines.append(f"switching  {metrics['switches']} switches, {metrics['switching_s']:.2f} s")
    if "budget" in summary:
        lines += _budget_lines(summary["budget"])
    if output is not None:
        lines.append(f"written    {output}")
    click.echo("\n".join(lines))


def _budget_lines(budget: dict[str, Any]) -> list[str]:
    """What a latency budget costs, and the trade-off curve as a table."""
    reached, bound, gap = budget["reached_s"], budget["bound"], budget["gap"]
    lines = [
        f"budget     {budget['measure']} latency {budget['budget_s']:g} s, reached "
        + ("- (nobody is served)" if reached is None else f"{reached:.2f} s"),
        "lambda     " + ("none" if budget["lambda"] is None else f"{budget['lambda']:.6g}"),
        f"other loss {budget['loss_without_latency']:.6g} without latency, bound "
        + ("none" if bound is None else f"{bound:.6g}, gap {100 * gap:.2f} %"),
    ]
    names = ("loss_without_latency", "quality", "late", "switching", "rejection")
    head = ["", "lambda", "mean s", "p95 s", "other loss", *names[1:], "proven"]
    rows = [head]
    for point in budget["curve"]:
        seconds = (point["latency_mean_s"], point["latency_p95_s"])
        rows.append(
            [
                "*" if point["chosen"] else "",
                "latency alone" if point["lambda"] is None else f"{point['lambda']:.5g}",
                *("-" if value is None else f"{value:.2f}" for value in seconds),
                *(f"{point[name]:.5g}" for name in names),
                "yes" if point["proven"] else "no",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(map(str.rjust, row, widths)) for row in rows]
    return [*lines, "curve (* is this schedule)", *table]
