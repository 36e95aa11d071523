"""``pats-opt simulate``: an online policy through the event simulator, with its metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli import common, completing
from pats_opt.cli.terminal import PLAIN_WIDTH, Fact, Watch, console, print_facts

if TYPE_CHECKING:
    from rich.table import Table

    from pats_opt.core.policy import Policy
    from pats_opt.solving.result import Result
    from pats_opt.tables import AdapterMetrics

#: How many figures the loss and its terms are told with.
DIGITS = 6

#: Adapters in the table for people, those with most requests first; ``--json`` has all.
MOST_ADAPTERS = 20

#: The table by adapter: headings, and the figures below them; what matters least comes last, as a
#: narrow terminal leaves it out.
ADAPTER_COLUMNS = {
    "requests": "requests",
    "latency, s": "latency_mean_s",
    "p95": "latency_p95_s",
    "wait, s": "wait_mean_s",
    "max": "wait_max_s",
    "loads": "loads",
    "load, s": "load_s",
    "GPU time": "serving_share",
    "loss": "loss_share",
    "queue max": "queue_max",
    "batches": "batches",
    "batch size": "mean_batch",
    "rejected": "rejected",
}

Group = tuple[str, list[tuple[str, str]]]


@click.command("simulate")
@click.argument("instance", type=common.FILE)
@click.option(
    "--policy",
    required=True,
    shell_complete=completing.specs,
    help="A policy from 'pats-opt solvers', such as pats:gamma=0.5.",
)
@common.param_option
@common.time_limit_option
@common.seed_option
@click.option("-o", "--output", type=common.FILE, help="Write the schedule to this file.")
@common.json_option
def command(
    instance: str,
    policy: str,
    params: dict[str, str],
    time_limit: float | None,
    seed: int,
    output: str | None,
    as_json: bool,
) -> None:
    """Run an online policy over INSTANCE, event by event, and check what it did.

    The policy sees each request when it arrives, never before. With --json, "metrics" has the
    figures of the whole run, "adapters" the table by adapter, and "queue" how many wait over time,
    in at most 200 buckets. A policy that is not done by the time limit gives no schedule.
    """
    import msgspec

    from pats_opt.model.files import read_instance, write_schedule
    from pats_opt.model.problem import Problem
    from pats_opt.solving.result import require_schedule
    from pats_opt.solving.solve import solve
    from pats_opt.tables import ScheduleTable, adapter_table, queue_series

    chosen = named_policy(policy, params)
    problem = Problem(read_instance(instance))
    with Watch(time_limit, quiet=as_json) as watch:
        result = solve(problem, chosen, time_limit=time_limit, seed=seed, phase=watch.phase)
    require_schedule(result)
    if output is not None:
        write_schedule(result.schedule, output)
    done = ScheduleTable.from_replay(problem, result.replayed)
    adapters, queue = adapter_table(done), queue_series(done)
    if as_json:
        tables = msgspec.to_builtins({"adapters": adapters, "queue": queue})
        common.print_json({**result.summary(), **tables})
    else:
        _print(list(_groups(result)), adapters)
        if output is not None:
            click.echo(f"written to {output}")


def named_policy(spec: str, params: dict[str, str]) -> Policy:
    """The policy that was named.

    Raises:
        InputError: an unknown name or parameter, or a solver that is no policy.
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


def _groups(result: Result) -> Iterator[Group]:
    """The result for people, in groups of lines: what it is about, and the figures."""
    from pats_opt.wording import figure, label, number, percent

    made, terms, done = result.metrics, result.terms, result.details
    assert made is not None
    assert terms is not None

    def spread(**values: float | None) -> str:
        return ", ".join(f"{name} {number(value)}" for name, value in values.items())

    params = ", ".join(f"{key}={value}" for key, value in result.params.items())
    losses = ((name, getattr(terms, name)) for name in terms.__struct_fields__)
    yield (
        label(result.solver, 60) + (f" ({params})" if params else ""),
        [
            ("loss", f"{result.loss:.{DIGITS}g}"),
            *((f"  {name}", f"{value:.{DIGITS}g}") for name, value in losses),
            ("utility", f"{result.utility:.{DIGITS}g}"),
        ],
    )
    requests = [
        ("served", f"{made.served}, rejected {made.rejected}, late {made.deadline_misses}"),
        (
            "latency, s",
            spread(
                mean=made.latency_mean_s,
                p50=made.latency_p50_s,
                p95=made.latency_p95_s,
                p99=made.latency_p99_s,
                max=made.latency_max_s,
            ),
        ),
        (
            "wait, s",
            spread(
                mean=made.wait_mean_s,
                p95=made.wait_p95_s,
                p99=made.wait_p99_s,
                max=made.wait_max_s,
            )
            + f" (request {figure(made.wait_max_request)})",
        ),
        ("queue", f"mean {number(made.queue_mean)}, max {made.queue_max} waiting"),
        (
            "throughput",
            f"{number(made.throughput_per_s)} requests/s, {number(made.steps_per_s)} steps/s",
        ),
        (
            "quality",
            f"mean {number(made.quality_mean)}, {percent(made.steps_saved_share)} of steps saved",
        ),
    ]
    if made.starved is not None:
        bound = number(result.params["max_wait_s"])
        requests.insert(3, ("starved", f"{made.starved} waited longer than {bound} s"))
    yield "requests", requests
    yield (
        "GPUs",
        [
            (
                "time",
                f"{percent(made.busy_share)} serving, {percent(made.switching_share)} switching, "
                f"{percent(made.idle_share)} idle, of {number(made.makespan_s, 6)} s",
            ),
            ("serving/used", f"{percent(made.serving_of_used)} of serving and switching"),
            ("batches", f"{made.batches} of {number(made.mean_batch)} on average"),
            (
                "switches",
                f"{made.switches} in {number(made.switching_s)} s; {made.loads} loads, "
                f"{made.evictions} evictions",
            ),
            (
                "cache hits",
                f"{percent(made.hit_share)} of requests, {percent(made.batch_hit_share)} of "
                "batches",
            ),
            ("VRAM peak", f"{number(made.vram_peak_gib)} GiB"),
        ],
    )
    yield (
        "fairness among adapters",
        [
            ("Jain's index", f"{number(made.jain)} of mean latencies"),
            ("worst", f"{figure(made.worst_adapter)}: p95 {number(made.worst_adapter_p95_s)} s"),
        ],
    )
    yield "decisions", list(_decisions(done))


def _decisions(done: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What deciding took."""
    mean_s = done["decision_s"] / max(1, done["decisions"])
    each = {
        "mean": mean_s,
        "p50": done.get("decision_p50_s"),
        "p99": done.get("decision_p99_s"),
        "max": done["longest_decision_s"],
    }
    yield "events", str(done["events"])
    yield "decisions", f"{done['decisions']} in {done['decision_s']:.3g} s"
    yield (
        "each, ms",
        ", ".join(f"{name} {1e3 * s:.3g}" for name, s in each.items() if s is not None),
    )


def _print(groups: Sequence[Group], adapters: Sequence[AdapterMetrics]) -> None:
    """Groups of lines and the table by adapter, on standard output."""
    for name, rows in groups:
        width = max(len(what) for what, _ in rows) + 2
        facts = [Fact(what, text, "bold" if what == "loss" else "") for what, text in rows]
        print_facts(facts, width, name)
        click.echo()
    out = console()
    shown = sorted(adapters, key=lambda a: -a.requests)[:MOST_ADAPTERS]
    names = list(ADAPTER_COLUMNS)
    unbounded = out.options.update(width=PLAIN_WIDTH)
    while names:
        needed = out.measure(_table(shown, names), options=unbounded).maximum
        if needed <= out.width:
            break
        names.pop()
    if shown:
        out.print(_table(shown, names))
    left = [f"{len(adapters) - len(shown)} more adapters"] if len(shown) < len(adapters) else []
    left += [heading for heading in ADAPTER_COLUMNS if heading not in names]
    if left:
        out.print(f"not shown here, but with --json: {'; '.join(left)}")


def _table(adapters: Sequence[AdapterMetrics], headings: Sequence[str]) -> Table:
    """The table by adapter with these columns."""
    from rich.table import Table
    from rich.text import Text

    from pats_opt.wording import figure, number, percent

    table = Table(box=None, padding=(0, 1), header_style="cyan", pad_edge=False)
    table.add_column("adapter", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for adapter in adapters:
        values = [
            (name, getattr(adapter, name))
            for name in (ADAPTER_COLUMNS[heading] for heading in headings)
        ]
        texts = [percent(v) if name.endswith("_share") else number(v) for name, v in values]
        table.add_row(Text(figure(adapter.adapter)), *texts)
    return table
