"""Facts about a result as text: what ``solve`` and ``simulate`` print of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from pats_opt.cli.terminal import Fact, shares
from pats_opt.model.schedule import SolutionStatus
from pats_opt.wording import counted, figure, number, percent

if TYPE_CHECKING:
    from pats_opt.solving.result import Result
    from pats_opt.tables import Metrics


def loss_facts(result: Result) -> list[Fact]:
    """Return the schedule's status, loss, bound, utility and loss terms."""
    proven = result.status.point is SolutionStatus.OPTIMAL
    terms: dict[str, float] = msgspec.to_builtins(result.terms)
    return [
        Fact("schedule", result.status.point.value, "bold green" if proven else "bold yellow"),
        Fact("loss", number(result.loss, 6), "bold"),
        bound_fact("bound", result.bound, result.gap),
        Fact("utility", number(result.utility, 6)),
        Fact(
            "terms",
            ", ".join(f"{name} {number(value)}" for name, value in terms.items()),
            drawn=lambda: shares(terms, number),
        ),
    ]


def bound_fact(name: str, bound: float | None, gap: float | None) -> Fact:
    """Return a bound with the gap that it leaves."""
    if bound is None or gap is None:
        return Fact(name, "none")
    return Fact(name, f"{number(bound, 6)}, gap {100 * gap:.2f} %", "bold")


def metric_facts(result: Result) -> dict[str, list[Fact]]:
    """Return the metrics of a schedule by subject."""
    metrics = result.metrics
    assert metrics is not None
    return {
        "requests": [
            *_requests(metrics, result.params.get("max_wait_s")),
            *_service(result, metrics),
        ],
        "GPUs": list(_gpus(metrics)),
        "fairness among adapters": [
            Fact("Jain's index", f"{number(metrics.jain)} of mean latencies"),
            Fact(
                "worst",
                f"{figure(metrics.worst_adapter)}: p95 {number(metrics.worst_adapter_p95_s)} s",
            ),
        ],
    }


def _requests(m: Metrics, max_wait_s: float | None) -> Iterator[Fact]:
    batches = counted(m.batches, "batch", "batches")
    yield Fact(
        "served", f"{m.served} in {batches}, {m.rejected} rejected, {m.deadline_misses} late"
    )
    yield Fact("latency, s", _spread(m, "latency", "mean", "p50", "p95", "p99", "max"))
    if m.groups_served is not None:
        yield Fact("groups", f"{m.groups_served} served, {m.groups_rejected} rejected")
        spread = _spread(m, "group_latency", "mean", "p50", "p95", "p99", "max")
        yield Fact("group latency, s", spread)
    waits = _spread(m, "wait", "mean", "p95", "p99", "max")
    yield Fact("wait, s", f"{waits} (request {figure(m.wait_max_request)})")
    if m.starved is not None:
        yield Fact("starved", f"{m.starved} waited longer than {number(max_wait_s)} s")
    yield Fact("queue", f"mean {number(m.queue_mean)}, max {m.queue_max} waiting")
    rates = f"{number(m.throughput_per_s)} requests/s, {number(m.steps_per_s)} steps/s"
    yield Fact("throughput", rates)
    saved = percent(m.steps_saved_share)
    yield Fact("quality", f"mean {number(m.quality_mean)}, {saved} of steps saved")
    if m.violation_share is not None:
        yield Fact(
            "in time",
            f"{number(m.goodput_per_s)} requests/s, {percent(m.violation_share)} late or rejected, "
            f"quality {number(m.quality_of_all)} with 0 for those rejected",
        )


def _service(result: Result, m: Metrics) -> Iterator[Fact]:
    """Yield service by deadline and by level of approximate caching, where there are such."""
    from pats_opt.tables import ScheduleTable, attainment, level_counts, levels_of
    from pats_opt.tables.service_levels import MULTIPLES, share_within

    problem = result.problem
    assert problem is not None
    table = ScheduleTable.from_replay(problem, result.replayed, result.loads)
    if m.violation_share is not None:
        found = attainment(table)
        parts = [f"{percent(share_within(found, x))} within {x:g}" for x in MULTIPLES]
        yield Fact("attainment", f"{', '.join(parts)} deadlines")
    if m.look_up_hit_share is not None:
        yield Fact(
            "look-ups",
            f"{percent(m.look_up_hit_share)} hit; {percent(m.redirected_share)} of requests served "
            f"deeper, {percent(m.skipped_share)} of steps skipped",
        )
    if levels_of(problem):
        counts = (f"{level}: {count}" for level, count in level_counts(table))
        yield Fact("levels", f"{', '.join(counts)} (steps skipped: requests)")


def _gpus(m: Metrics) -> Iterator[Fact]:
    yield Fact(
        "time",
        f"{percent(m.busy_share)} serving, {percent(m.switching_share)} switching, "
        f"{percent(m.idle_share)} idle, of {number(m.makespan_s, 6)} s",
    )
    yield Fact("serving/used", f"{percent(m.serving_of_used)} of serving and switching")
    yield Fact("batch size", f"mean {number(m.mean_batch)}")
    yield Fact(
        "switches",
        f"{m.switches} in {number(m.switching_s)} s; {counted(m.loads, 'load')}, "
        f"{counted(m.evictions, 'eviction')}",
    )
    if m.loader_busy_share is not None:
        yield Fact(
            "loader",
            f"{percent(m.loader_busy_share)} busy, {percent(m.hidden_load_share)} of loads hidden "
            f"behind serving; GPUs wait {number(m.load_wait_s)} s for loads",
        )
    hits, batch_hits = percent(m.hit_share), percent(m.batch_hit_share)
    yield Fact("cache hits", f"{hits} of requests, {batch_hits} of batches")
    yield Fact("VRAM peak", f"{number(m.vram_peak_gib)} GiB")


def _spread(metrics: Metrics, name: str, *statistics: str) -> str:
    """Return some statistics of a time, such as ``mean 2.5, p95 4``."""
    values = ((each, getattr(metrics, f"{name}_{each}_s")) for each in statistics)
    return ", ".join(f"{each} {number(value)}" for each, value in values)
