"""``pats-opt simulate``: run an online policy through the event simulator and measure it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli import common, completing
from pats_opt.cli.common import INPUT_FILE, option
from pats_opt.cli.terminal import (
    Fact,
    Watch,
    column_widths,
    console,
    print_facts,
    print_table,
    progress,
    styled,
)

if TYPE_CHECKING:
    from pats_opt.core.policy import Policy
    from pats_opt.solving.result import Result
    from pats_opt.tables import AdapterMetrics

#: Adapters in the printed table, those with most requests first; ``--json`` has all.
MOST_ADAPTERS = 20

#: Columns of the table by adapter. A narrow terminal leaves out the last ones.
ADAPTER_COLUMNS = (
    "adapter",
    "requests",
    "latency_mean_s",
    "latency_p95_s",
    "wait_mean_s",
    "wait_max_s",
    "loads",
    "load_s",
    "serving_share",
    "loss_share",
    "queue_max",
    "batches",
    "mean_batch",
    "rejected",
)


@click.command("simulate")
@click.argument("instance", type=INPUT_FILE)
@option(
    "--policy policies",
    "A policy from 'pats-opt solvers', such as pats:gamma=0.5; several by commas give a table.",
    required=True,
    metavar="A,B",
    callback=common.parsed(common.names),
    shell_complete=completing.spec_list,
)
@common.param_option
@common.time_limit_option
@common.seed_option
@common.schedule_option
@common.json_option
def command(
    instance: str,
    policies: tuple[str, ...],
    params: dict[str, str],
    time_limit: float | None,
    seed: int,
    output: str | None,
    as_json: bool,
) -> None:
    """Simulate online policies on INSTANCE, event by event, and check their schedules.

    A policy sees each request at its arrival, never before. With --json, "metrics" has the
    figures of the whole run, "adapters" a table by adapter, and "queue" the number of waiting
    requests over time, in at most 200 buckets. A run that reaches the time limit gives no schedule.
    Several policies are compared in a table; with --json, "policies" has their figures.
    """
    import msgspec

    from pats_opt.model.files import read_instance, refuse_unwritable, write_schedule
    from pats_opt.model.problem import Problem
    from pats_opt.solving.result import require_schedule
    from pats_opt.solving.solve import solve
    from pats_opt.tables import ScheduleTable, adapter_table, queue_series

    if len(policies) > 1:
        if output is not None or params:
            raise click.UsageError(
                "--output and --param are for one policy: leave them out, and write parameters as "
                "in pats:gamma=0.5"
            )
        _simulate_several(instance, policies, time_limit, seed, as_json=as_json)
        return
    chosen = named_policy(policies[0], params)
    problem = Problem(read_instance(instance))
    if output is not None:
        refuse_unwritable(output)
    with Watch(time_limit, quiet=as_json) as watch:
        result = solve(problem, chosen, time_limit=time_limit, seed=seed, phase=watch.phase)
    require_schedule(result)
    if output is not None:
        write_schedule(result.schedule, output)
    table = ScheduleTable.from_replay(problem, result.replayed, result.loads)
    adapters = adapter_table(table)
    if as_json:
        queue = queue_series(table)
        tables = msgspec.to_builtins({"adapters": adapters, "queue": queue})
        common.print_json({**result.summary(), **tables})
    else:
        _print(result)
        _print_adapters(adapters)
        if output is not None:
            click.echo(f"written to {output}")
    common.note_ticks(problem.instance)


def _simulate_several(
    file: str, policies: Sequence[str], time_limit: float | None, seed: int, *, as_json: bool
) -> None:
    """Print a table of policies, the smallest gap first, and why any has no schedule.

    Raises:
        InputError: The instance or a policy is wrong.
        NoScheduleError: No policy has a schedule.
    """
    from pats_opt.cli.gap_report import print_glance, progress_line
    from pats_opt.errors import NoScheduleError
    from pats_opt.model.files import read_instance
    from pats_opt.report.frame import against
    from pats_opt.report.policies import policy_table
    from pats_opt.report.service import glance
    from pats_opt.wording import label

    given = read_instance(file)
    for spec in policies:
        named_policy(spec, {})
    with progress(len(policies), progress_line(), quiet=as_json) as done:
        table = policy_table(given, policies, time_limit=time_limit, seed=seed, done=done)
    failed = table.runs.filter(table.runs["loss"].is_null()).rows(named=True)
    for run in failed:
        why = run["message"] or run["verdict"]
        click.echo(f"pats-opt: warning: {label(run['solver'], 60)}: {why}", err=True)
    if len(failed) == len(table.runs):
        raise NoScheduleError("no policy has a schedule")
    if as_json:
        found = {"against": against(table.own), "policies": glance(table)}
        common.print_json({"instance": given.name, **found})
    else:
        print_glance(table)
    common.note_ticks(given)


def named_policy(spec: str, params: Mapping[str, str]) -> Policy:
    """Return the policy of a specification.

    Raises:
        InputError: The name or a parameter is unknown, or it names a solver that is not a policy.
    """
    from pats_opt.core import registry
    from pats_opt.core.solver import Solver
    from pats_opt.errors import InputError

    made = registry.make(spec, **params)
    if not isinstance(made, Solver):
        return made
    raise InputError(
        f"{made.name!r} is no online policy ({made.kind})",
        hint="choose an online one from 'pats-opt solvers', or use 'solve'",
    )


def _print(result: Result) -> None:
    """Print the result as groups of lines."""
    from pats_opt.cli.facts import loss_facts, metric_facts
    from pats_opt.wording import label

    params = ", ".join(f"{key}={value}" for key, value in result.params.items())
    heading = label(result.solver, 60) + (f" ({params})" if params else "")
    losses = [fact for fact in loss_facts(result) if fact.name in ("loss", "utility", "terms")]
    decisions = {"decisions": list(_decision_facts(result.details))}
    for name, facts in ({heading: losses} | metric_facts(result) | decisions).items():
        print_facts(facts, name)
        click.echo()


def _decision_facts(details: dict[str, Any]) -> Iterator[Fact]:
    """Yield the number of decisions and the time that they took."""
    seconds = {
        "mean": details["decision_s"] / max(1, details["decisions"]),
        "p50": details.get("decision_p50_s"),
        "p99": details.get("decision_p99_s"),
        "max": details["longest_decision_s"],
    }
    each = (f"{name} {1e3 * s:.3g}" for name, s in seconds.items() if s is not None)
    yield Fact("events", str(details["events"]))
    yield Fact("decisions", f"{details['decisions']} in {details['decision_s']:.3g} s")
    yield Fact("each, ms", ", ".join(each))


def _print_adapters(adapters: Sequence[AdapterMetrics]) -> None:
    """Print the table by adapter, as far as the terminal is wide enough."""
    from pats_opt.tables.specs import METRICS

    shown = sorted(adapters, key=lambda a: -a.requests)[:MOST_ADAPTERS]
    head = [METRICS[name].heading for name in ADAPTER_COLUMNS]
    rows = [[METRICS[name].text(getattr(a, name)) for name in ADAPTER_COLUMNS] for a in shown]
    widths, keep = column_widths(head, rows), len(head)
    while styled() and keep > 1 and sum(widths[:keep]) + 2 * (keep - 1) > console().width:
        keep -= 1
    if shown:
        print_table(head[:keep], [row[:keep] for row in rows], left=1)
    hidden = [f"{len(adapters) - len(shown)} more adapters"] if len(shown) < len(adapters) else []
    hidden += head[keep:]
    if hidden:
        click.echo(f"not shown here, but with --json: {'; '.join(hidden)}")
