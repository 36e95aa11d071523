"""Metrics of a schedule: service, waiting, switching, use of the GPUs, fairness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from pats_opt.model.timing import late_after
from pats_opt.tables.loader import loader_figures, memory_steps
from pats_opt.tables.queue import queue_steps
from pats_opt.tables.schedule_table import ScheduleTable
from pats_opt.tables.service_levels import cache_figures, deadline_figures
from pats_opt.tables.statistics import (
    Quantile,
    group_means,
    group_quantiles,
    jain,
    kept_quantiles,
    mean,
    quantile,
)

if TYPE_CHECKING:
    from pats_opt.tables.statistics import Floats


class Metrics(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Metrics of one schedule; each is one number (or id), so that runs are lines of a table.

    Names and units are in :data:`.METRICS`. Times are seconds; shares are from 0 to 1. Metrics of
    requests are of those served, and None without any. GPU time is that of all GPUs together,
    from tick 0 to the last batch's end. A quantile is the smallest value that at least this share
    of the requests does not exceed.

    Attributes:
        served: Requests served.
        rejected: Requests rejected.
        batches: Batches run.
        mean_batch: Members per batch.
        latency_mean_s: Mean seconds from arrival to completion; then its quantiles and maximum.
        wait_mean_s: Mean seconds from arrival to the batch's start; then its quantiles and maximum.
        wait_max_request: Id of the request that waits longest (of several, the first to arrive).
        starved: Requests that wait longer than the bound on waiting; None where there is none.
        queue_mean: Requests that wait, mean over time (see :mod:`pats_opt.tables.queue`).
        queue_max: The most that wait at any time.
        throughput_per_s: Requests served per second of ``makespan_s``.
        steps_per_s: Denoising steps run per second of ``makespan_s``, each member's counted.
        switches: Switches that load an adapter or pay an activation.
        switching_s: Seconds of loading and activation paid, before rounding to ticks; of loads
            beside serving too.
        loads: Adapters loaded.
        evictions: Adapters evicted.
        hit_share: Cache hits: share of requests whose adapter is not loaded by the switch right
            before their batch, so that it was resident already. Where loads run beside serving,
            share of those whose batch is not the first to use the adapter after a load of it.
        batch_hit_share: Share of batches of which that holds for every member.
        busy_share: Share of GPU time spent serving.
        switching_share: Share of GPU time spent switching, in whole ticks; loads beside serving
            take none of it.
        idle_share: The rest; the three add up to 1.
        serving_of_used: Serving by serving plus switching; None where the GPUs do neither.
        makespan_s: Seconds from tick 0 to the last batch's end.
        vram_peak_gib: Largest memory in use on any GPU, as rules 3 and 5a count it.
        deadline_misses: Requests served after their deadline.
        jain: Fairness among adapters: Jain's index ``(sum x)^2 / (n sum x^2)`` over the mean
            latencies x of the n adapters that are served; 1 is fair, 1 / n is least fair. After
            Jain, Chiu, Hawe 1984.
        worst_adapter: Id of the adapter with the largest p95 latency (of several, the first).
        worst_adapter_p95_s: Its p95 latency.
        steps_saved_share: Share of denoising steps saved against every request's longest option.
        quality_mean: Mean quality of what was served.
        groups_served: Groups of which every request is served; like all metrics by group, None and
            not written where no request names a group. A request without one is in none of them.
        groups_rejected: Groups of which a request is not served; they have no latency.
        group_latency_mean_s: Mean seconds from the first arrival in a group that is served to the
            last completion in it; then its quantiles and maximum.
        loader_busy_share: Share of the loaders' time (GPU time times channels) in which they load;
            like all metrics of loaders, None and not written where no loads run beside serving.
        hidden_load_share: Share of the loads' time in which their GPU serves a batch; None where no
            load takes time.
        load_wait_s: Seconds in which a GPU stands idle for a load, summed over batches. It does
            from when the batch could begin but for its adapters (its members have arrived, the
            batch before it and its own switch have taken their time) until the last of their loads
            ends.
        goodput_per_s: Requests served in time per second of ``makespan_s``; like the next two, None
            and not written where no request has a deadline. One without a deadline is in time.
        violation_share: Share of all requests that are late or rejected.
        quality_of_all: Mean quality of all requests, 0 for those rejected.
        look_up_hit_share: Share of all requests for which the look-up in the approximate cache
            found a level; like the next two, None and not written where no request was looked up.
        redirected_share: Share of the requests served that skip more steps than their look-up's
            level.
        skipped_share: Share of the steps of the requests served that are skipped.
    """

    served: int
    rejected: int
    batches: int
    mean_batch: float | None
    latency_mean_s: float | None
    latency_p50_s: float | None
    latency_p95_s: float | None
    latency_p99_s: float | None
    latency_max_s: float | None
    wait_mean_s: float | None
    wait_p95_s: float | None
    wait_p99_s: float | None
    wait_max_s: float | None
    wait_max_request: str | None
    starved: int | None
    queue_mean: float
    queue_max: int
    throughput_per_s: float | None
    steps_per_s: float | None
    switches: int
    switching_s: float
    loads: int
    evictions: int
    hit_share: float | None
    batch_hit_share: float | None
    busy_share: float
    switching_share: float
    idle_share: float
    serving_of_used: float | None
    makespan_s: float
    vram_peak_gib: float
    deadline_misses: int
    jain: float | None
    worst_adapter: str | None
    worst_adapter_p95_s: float | None
    steps_saved_share: float
    quality_mean: float | None
    groups_served: int | None = None
    groups_rejected: int | None = None
    group_latency_mean_s: float | None = None
    group_latency_p50_s: float | None = None
    group_latency_p95_s: float | None = None
    group_latency_p99_s: float | None = None
    group_latency_max_s: float | None = None
    loader_busy_share: float | None = None
    hidden_load_share: float | None = None
    load_wait_s: float | None = None
    goodput_per_s: float | None = None
    violation_share: float | None = None
    quality_of_all: float | None = None
    look_up_hit_share: float | None = None
    redirected_share: float | None = None
    skipped_share: float | None = None


#: Metrics by group, which only instances with groups have.
BY_GROUP = tuple(name for name in Metrics.__struct_fields__ if name.startswith("group"))

#: Metrics of the loaders, which only instances with loads beside serving have.
BY_LOADER = ("loader_busy_share", "hidden_load_share", "load_wait_s")

#: Metrics of deadlines, which only instances with deadlines have.
BY_DEADLINE = ("violation_share", "goodput_per_s", "quality_of_all")

#: Metrics of approximate caching, which only instances with look-ups have.
BY_LOOK_UP = ("look_up_hit_share", "redirected_share", "skipped_share")


def bound_on_waiting(params: Mapping[str, Any]) -> float | None:
    """Return a policy's hard bound on waiting in seconds, from its parameters; None without one."""
    bound = params.get("max_wait_s")
    return float(bound) if isinstance(bound, int | float) else None


def shown(*of: Metrics) -> list[str]:
    """Return the names of the metrics to show, those of some instances only where any has them."""
    hidden = {
        name
        for names in (BY_GROUP, BY_LOADER, BY_DEADLINE, BY_LOOK_UP)
        if all(getattr(m, names[0]) is None for m in of)
        for name in names
    }
    return [name for name in Metrics.__struct_fields__ if name not in hidden]


def measure(table: ScheduleTable, *, max_wait_s: float | None = None) -> Metrics:
    """Return the metrics of a schedule; ``starved`` counts waits longer than ``max_wait_s``."""
    served, batches = len(table.requests.job), len(table.batches.size)
    return Metrics(
        served=served,
        rejected=len(table.problem.jobs) - served,
        batches=batches,
        mean_batch=served / batches if batches else None,
        vram_peak_gib=_vram_peak(table) / 1e9,
        deadline_misses=int(table.requests.late.sum()),
        **_mean_and_quantiles("latency", table.latency_s, "p50 p95 p99 max"),
        **_mean_and_quantiles("wait", table.wait * table.unit_s, "p95 p99 max"),
        **_waiting(table, max_wait_s),
        **_work(table),
        **_switching(table),
        **_use(table),
        **_fairness(table),
        **_groups(table),
        **loader_figures(table),
        **deadline_figures(table),
        **cache_figures(table),
    )


def latency_quantiles(table: ScheduleTable) -> tuple[Quantile, ...]:
    """Return the latency quantiles of a schedule, from the smallest to the largest latency."""
    import numpy as np

    rising = np.sort(table.latency_s)
    return kept_quantiles(rising, len(rising))


def _mean_and_quantiles(name: str, seconds: Floats, quantiles: str) -> dict[str, Any]:
    import numpy as np

    rising = np.sort(seconds)
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    found = {f"{name}_{q}_s": quantile(rising, shares[q]) for q in quantiles.split()}
    return {f"{name}_mean_s": mean(rising), **found}


def _waiting(table: ScheduleTable, max_wait_s: float | None) -> dict[str, Any]:
    import numpy as np

    tick_s, wait = table.problem.site.tick_s, table.wait
    worst = None
    if len(wait):
        worst = table.problem.jobs[table.requests.job[wait == wait.max()].min()].id
    starved = None
    if max_wait_s is not None:
        starved = int((wait * (table.unit_s / tick_s) > late_after(max_wait_s, tick_s)).sum())
    times, levels = queue_steps(table)
    area = float((levels[:-1] * np.diff(times)).sum())
    return {
        "wait_max_request": worst,
        "starved": starved,
        "queue_mean": area / table.makespan if table.makespan else 0.0,
        "queue_max": int(levels.max()),
    }


def _work(table: ScheduleTable) -> dict[str, Any]:
    """Work done, its speed and its quality."""
    jobs, makespan_s = table.jobs, table.makespan * table.unit_s
    chosen = [job.options[o] for job, o in zip(jobs, table.requests.option.tolist(), strict=True)]
    run = sum([option.steps for option in chosen])
    full = sum([max([option.steps for option in job.options]) for job in jobs])
    return {
        "makespan_s": makespan_s,
        "throughput_per_s": len(jobs) / makespan_s if makespan_s else None,
        "steps_per_s": run / makespan_s if makespan_s else None,
        "steps_saved_share": 1 - run / full if full else 0.0,
        "quality_mean": sum([o.quality for o in chosen]) / len(jobs) if jobs else None,
    }


def _switching(table: ScheduleTable) -> dict[str, Any]:
    batches, beside = table.batches, table.loads
    loads, seconds = [len(load) for load in batches.load], batches.switch_s.tolist()
    evict = batches.evict + ([] if beside is None else beside.evict)
    return {
        "switches": sum([1 for load, paid in zip(loads, seconds, strict=True) if load or paid > 0]),
        "switching_s": float(sum(table.paid_s)),
        "loads": sum(loads) + (0 if beside is None else len(beside.gpu)),
        "evictions": sum([len(some) for some in evict]),
        "hit_share": 1 - float(table.loaded.mean()) if len(table.loaded) else None,
        "batch_hit_share": 1 - float(table.missed.mean()) if loads else None,
    }


def _use(table: ScheduleTable) -> dict[str, Any]:
    """Shares of the GPUs' time."""
    batches, span = table.batches, table.makespan * len(table.problem.site.gpus)
    serving = float((batches.end - batches.start).sum())
    switching = float((batches.switch_end - batches.switch_start).sum())
    used = serving + switching
    return {
        "busy_share": serving / span if span else 0.0,
        "switching_share": switching / span if span else 0.0,
        "idle_share": (span - used) / span if span else 1.0,
        "serving_of_used": serving / used if used else None,
    }


def _vram_peak(table: ScheduleTable) -> float:
    """Quanta in use at the start of the batch, or the load beside serving, that needs most."""
    import numpy as np

    residents, site = table.batches.resident, table.problem.site
    if table.loads is not None:
        return max([float(memory_steps(table, g.index)[1].max()) for g in site.gpus], default=0.0)
    if not residents:
        return 0.0
    held = {some: sum(site.adapter_vram[a] for a in some) for some in set(residents)}  # few recur
    demand = [job.demand[0] for job in table.jobs]
    members = np.bincount(table.requests.batch, weights=demand, minlength=len(residents))
    return site.base_vram + float((members + [held[some] for some in residents]).max())


def _fairness(table: ScheduleTable) -> dict[str, Any]:
    """Jain's index over adapters, and the adapter that is served worst."""
    import numpy as np

    adapter_ids, adapter = table.problem.site.adapter_ids, table.requests.adapter
    counts = np.bincount(adapter, minlength=len(adapter_ids))
    means = group_means(table.latency_s, adapter, counts)
    (p95,) = group_quantiles(table.latency_s, adapter, counts, 0.95)
    worst = int(np.nanargmax(p95)) if len(adapter) else None
    return {
        "jain": jain(means[counts > 0]),
        "worst_adapter": None if worst is None else adapter_ids[worst],
        "worst_adapter_p95_s": None if worst is None else float(p95[worst]),
    }


def _groups(table: ScheduleTable) -> dict[str, Any]:
    """Service by group; nothing where no request names one."""
    import numpy as np

    problem, requests = table.problem, table.requests
    names = [problem.instance.requests[job.position].group for job in problem.jobs]
    known = {name: g for g, name in enumerate(dict.fromkeys(filter(None, names)))}
    if not known:
        return {}
    group = np.array([known.get(name, -1) for name in names])
    of_served, unserved = group[requests.job], np.ones(len(group), dtype=np.bool_)
    unserved[requests.job] = False
    inside, whole = of_served >= 0, np.ones(len(known), dtype=np.bool_)
    whole[group[unserved & (group >= 0)]] = False
    counts = np.bincount(of_served[inside], minlength=len(known))
    (first,) = group_quantiles(requests.arrival[inside], of_served[inside], counts, 0.0)
    (last,) = group_quantiles(requests.completion[inside], of_served[inside], counts, 1.0)
    latency_s = (last - first)[whole] * table.unit_s
    return {
        "groups_served": len(latency_s),
        "groups_rejected": len(known) - len(latency_s),
        **_mean_and_quantiles("group_latency", latency_s, "p50 p95 p99 max"),
    }
