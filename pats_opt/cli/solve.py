"""``pats-opt solve``: one instance, any solver, a checked schedule."""

from __future__ import annotations

from typing import Any

import click

from pats_opt.cli import common, completing
from pats_opt.cli.terminal import Fact, Watch, print_facts, print_table, shares

#: Backends that --backend names; it is short for ``--param backend=...``.
BACKENDS = ("highs", "scip", "cbc")


@click.command("solve")
@click.argument("instance", type=common.FILE)
@click.option(
    "--solver",
    default="auto",
    show_default=True,
    shell_complete=completing.specs,
    help="A name from 'pats-opt solvers'.",
)
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
    from pats_opt.core import registry
    from pats_opt.errors import InfeasibleError
    from pats_opt.model.files import read_instance, refuse_unwritable, write_schedule
    from pats_opt.solving.budget import solve_within
    from pats_opt.solving.result import BudgetResult, require_met, require_schedule
    from pats_opt.solving.solve import solve

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
        with Watch(time_limit, quiet=as_json) as watch:
            result = (
                solve(
                    document,
                    chosen,
                    time_limit=time_limit,
                    seed=seed,
                    jobs=jobs,
                    progress=watch.found,
                    phase=watch.phase,
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
                    progress=watch.found,
                    phase=watch.phase,
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


#: Columns of the names in a result.
WIDTH = 11


def _print(summary: dict[str, Any], output: str | None) -> None:
    """The result for people, on standard output."""
    status, metrics = summary["status"], summary["metrics"]
    bound, gap, terms = summary["bound"], summary["gap"], summary["terms"]
    proven = status["point"] == "optimal"
    facts = [
        Fact(
            "solver",
            f"{summary['solver']}, stopped: {status['stop']}, {summary['runtime_s']:.2f} s",
        ),
        Fact("schedule", status["point"], "bold green" if proven else "bold yellow"),
        Fact("loss", f"{summary['loss']:.6g}", "bold"),
        Fact(
            "bound",
            "none" if bound is None else f"{bound:.6g}, gap {100 * gap:.2f} %",
            "" if bound is None else "bold",
        ),
        Fact("utility", f"{summary['utility']:.6g}"),
        Fact(
            "terms",
            ", ".join(f"{k} {v:.4g}" for k, v in terms.items()),
            drawn=lambda: shares(terms, "{:.4g}".format),
        ),
        Fact(
            "served",
            f"{metrics['served']} in {metrics['batches']} batches, rejected {metrics['rejected']}",
        ),
    ]
    if metrics["served"]:
        facts.append(
            Fact(
                "latency",
                f"mean {metrics['latency_mean_s']:.2f} s, p95 {metrics['latency_p95_s']:.2f} s, "
                f"max {metrics['latency_max_s']:.2f} s",
            )
        )
    facts.append(
        Fact("switching", f"{metrics['switches']} switches, {metrics['switching_s']:.2f} s")
    )
    written = [] if output is None else [Fact("written", output)]
    if "budget" in summary:
        print_facts([*facts, *_budget_facts(summary["budget"])], WIDTH)
        _print_curve(summary["budget"]["curve"])
        facts = []
    if facts or written:
        print_facts([*facts, *written], WIDTH)


def _budget_facts(budget: dict[str, Any]) -> list[Fact]:
    """What a latency budget costs."""
    reached, bound, gap = budget["reached_s"], budget["bound"], budget["gap"]
    return [
        Fact(
            "budget",
            f"{budget['measure']} latency {budget['budget_s']:g} s, reached "
            + ("- (nobody is served)" if reached is None else f"{reached:.2f} s"),
        ),
        Fact("lambda", "none" if budget["lambda"] is None else f"{budget['lambda']:.6g}", "bold"),
        Fact(
            "other loss",
            f"{budget['loss_without_latency']:.6g} without latency, bound "
            + ("none" if bound is None else f"{bound:.6g}, gap {100 * gap:.2f} %"),
        ),
    ]


def _print_curve(curve: list[dict[str, Any]]) -> None:
    """The trade-off curve as a table."""
    names = ("loss_without_latency", "quality", "late", "switching", "rejection")
    rows = []
    for point in curve:
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
    click.echo("curve (* is this schedule)")
    head = ["", "lambda", "mean s", "p95 s", "other loss", *names[1:], "proven"]
    chosen = next((i for i, point in enumerate(curve) if point["chosen"]), None)
    print_table(head, rows, bold=chosen)
