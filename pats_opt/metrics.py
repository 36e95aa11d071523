"""What a schedule does, in figures: latency, switching, use of the GPUs, memory, deadlines."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from pats_opt.checker import Replayed
from pats_opt.loss import is_late
from pats_opt.problem import Problem


class Metrics(Struct, frozen=True, kw_only=True):
    """Figures of one schedule. Times are seconds; None where nothing was served.

    Attributes:
        served: Requests served.
        rejected: Requests rejected.
        batches: Batches run.
        mean_batch: Members per batch.
        latency_mean_s: Mean seconds from arrival to completion; then its quantiles and maximum.
        switches: Switches that load an adapter or pay an activation.
        switching_s: Seconds of loading and activation paid, before rounding to ticks.
        busy_share: Share of GPU time, from tick 0 to the last end, spent serving.
        switching_share: The same for switching.
        makespan_s: Seconds from tick 0 to the last batch's end.
        vram_peak_gib: Largest memory in use on any GPU.
        deadline_misses: Requests served after their deadline.
        steps_saved_share: Share of denoising steps saved against every request's longest option.
        quality_mean: Mean quality of what was served.
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
    switches: int
    switching_s: float
    busy_share: float
    switching_share: float
    makespan_s: float
    vram_peak_gib: float
    deadline_misses: int
    steps_saved_share: float
    quality_mean: float | None


def measure(problem: Problem, batches: Sequence[Replayed]) -> Metrics:
    """The figures of a replayed schedule (see :func:`pats_opt.checker.examine`)."""
    import numpy as np

    site = problem.site
    served = [member for batch in batches for member in batch.members]
    latency = np.array([c - job.arrival for job, _, c in served]) * site.tick_s
    makespan = max((b.end for b in batches), default=0)
    span = makespan * len(site.gpus)
    steps = sum(job.options[o].steps for job, o, _ in served)
    full = sum(max(o.steps for o in job.options) for job, _, _ in served)
    peak = max(
        (
            site.base_vram
            + sum(site.adapter_vram[a] for a in b.resident)
            + sum(job.demand[0] for job, _, _ in b.members)
            for b in batches
        ),
        default=0,
    )

    def quantile(q: float) -> float | None:
        # The smallest latency that at least a share q of the requests does not exceed.
        return float(np.quantile(latency, q, method="inverted_cdf")) if served else None

    return Metrics(
        served=len(served),
        rejected=len(problem.jobs) - len(served),
        batches=len(batches),
        mean_batch=len(served) / len(batches) if batches else None,
        latency_mean_s=float(latency.mean()) if served else None,
        latency_p50_s=quantile(0.5),
        latency_p95_s=quantile(0.95),
        latency_p99_s=quantile(0.99),
        latency_max_s=quantile(1.0),
        switches=sum(1 for b in batches if b.switch.load or b.switch.seconds > 0),
        switching_s=float(sum(b.switch.seconds for b in batches)),
        busy_share=sum(b.end - b.batch.start for b in batches) / span if span else 0.0,
        switching_share=sum(b.switch.ticks for b in batches) / span if span else 0.0,
        makespan_s=makespan * site.tick_s,
        vram_peak_gib=peak / 1e9,
        deadline_misses=sum(is_late(job, c) for job, _, c in served),
        steps_saved_share=1 - steps / full if full else 0.0,
        quality_mean=sum(job.options[o].quality for job, o, _ in served) / len(served)
        if served
        else None,
    )
