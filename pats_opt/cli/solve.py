"""``pats-opt solve``: solve an instance with any solver, and check the schedule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli import common, completing
from pats_opt.cli.common import INPUT_FILE, Count, option
from pats_opt.cli.terminal import Fact, Watch, print_facts, print_table

if TYPE_CHECKING:
    from pats_opt.solving.result import Budget, BudgetPoint, Result

#: Backends of ``--backend``, which is short for ``--param backend=...``.
BACKENDS = ("highs", "scip", "cbc")

#: Metrics that are printed; ``simulate`` prints all.
METRICS = ("served", "latency, s", "group latency, s", "switches", "loader")

#: Loss terms in the table of a trade-off curve.
TERMS = ("quality", "late", "switching", "rejection")


@click.command("solve")
@click.argument("instance", type=INPUT_FILE)
@option(
    "--solver",
    "A solver or policy from 'pats-opt solvers', such as milp:backend=scip.",
    default="auto",
    shell_complete=completing.specs,
)
@option("--backend", "Backend of the solver 'milp'.", click.Choice(BACKENDS))
@common.param_option
@common.time_limit_option
@common.seed_option
@option("--jobs", "Threads, for solvers that use them.", Count(1), default=1)
@option(
    "--latency-budget budget_s",
    "Limit the latency to S seconds: find the latency price lambda that achieves it.",
    click.FloatRange(0, 1e9, min_open=True),
    metavar="S",
    callback=common.finite,
)
@option(
    "--latency-measure measure",
    "Latency figure that the budget limits.  [default: mean]",
    click.Choice(("mean", "p95")),
)
@common.schedule_option
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

    Ctrl-C and the time limit end the run with the best schedule and bound so far. With a latency
    budget, the search for the latency price begins at the price of the instance.
    """
    from pats_opt.core import registry
    from pats_opt.errors import InfeasibleError, in_file
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
        with Watch(time_limit, quiet=as_json) as watch, in_file(instance):
            limits: dict[str, Any] = {
                "time_limit": time_limit,
                "seed": seed,
                "jobs": jobs,
                "progress": watch.found,
                "phase": watch.phase,
            }
            result: Result
            if budget_s is None:
                result = solve(document, chosen, **limits)
            else:
                result = solve_within(
                    document, budget_s, chosen, measure=measure or "mean", **limits
                )
    except InfeasibleError as error:
        raise InfeasibleError(f"{instance}: {error}") from None
    try:
        require_schedule(result)
        if isinstance(result, BudgetResult):
            require_met(result)
        if output is not None:
            write_schedule(result.schedule, output)
    finally:  # after the file, which is kept where standard output is full
        if as_json:
            common.print_json(result.summary())
    if not as_json:
        _print(result, output)
    common.note_ticks(document)


def _print(result: Result, output: str | None) -> None:
    """Print the result as text."""
    from pats_opt.cli.facts import loss_facts, metric_facts
    from pats_opt.solving.result import BudgetResult

    run = f"{result.solver}, stopped: {result.status.stop}, {result.runtime_s:.2f} s"
    metrics = [fact for group in metric_facts(result).values() for fact in group]
    facts = [
        Fact("solver", run),
        *loss_facts(result),
        *(fact for fact in metrics if fact.name in METRICS),
    ]
    written = [] if output is None else [Fact("written", output)]
    if not isinstance(result, BudgetResult):
        print_facts([*facts, *written])
        return
    print_facts([*facts, *_budget_facts(result.budget), *written])
    _print_curve(result.budget.curve)


def _budget_facts(budget: Budget) -> Iterator[Fact]:
    """Yield the latency reached and the price of the budget."""
    from pats_opt.cli.facts import bound_fact
    from pats_opt.wording import number

    reached = "no request served" if budget.reached_s is None else f"{number(budget.reached_s)} s"
    limit = f"{budget.measure} latency {budget.budget_s:g} s"
    yield Fact("budget", f"{limit}, reached {reached}")
    yield Fact("lambda", number(budget.price, 6), "bold")
    yield Fact("other loss", f"{number(budget.loss, 6)} without latency")
    yield bound_fact("its bound", budget.bound, budget.gap)


def _print_curve(curve: Sequence[BudgetPoint]) -> None:
    """Print the trade-off curve as a table."""
    from pats_opt.wording import number

    rows = [
        [
            "*" if point.chosen else "",
            "latency alone" if point.price is None else number(point.price, 5),
            *map(number, (point.latency_mean_s, point.latency_p95_s)),
            number(point.other, 5),
            *(number(getattr(point, name), 5) for name in TERMS),
            "yes" if point.proven else "no",
        ]
        for point in curve
    ]
    click.echo("curve (* is this schedule)")
    head = ["", "lambda", "mean s", "p95 s", "other loss", *TERMS, "proven"]
    print_table(head, rows, bold=[i for i, point in enumerate(curve) if point.chosen])
