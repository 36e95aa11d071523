"""Instances, runs and records that the report's tests share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pats_opt.model.instance import digest
from pats_opt.model.loss import LossTerms
from pats_opt.model.schedule import SolutionStatus, Status, StopReason
from pats_opt.report.collect import Table, collect
from pats_opt.runs.record import (
    InstanceInfo,
    ProgressPoint,
    Record,
    RunConfig,
    RunError,
    RunOutcome,
    SolverInfo,
    Task,
)
from pats_opt.tables import Metrics

Document = dict[str, Any]


def document(name: str = "example", requests: int = 3, **changes: Any) -> Document:
    """An instance of two adapters and two options a request."""
    return {
        "format": "pats-opt/instance",
        "version": 1,
        "name": name,
        "tick_s": 1.2,
        "base_vram_gib": 7.0,
        "gpus": [{"id": "gpu-0", "capacity": {"vram_gib": 40.0, "batch": 4}}],
        "adapters": [
            {"id": "pixel-art", "vram_gib": 0.17, "load_s": 1.16},
            {"id": "watercolor", "vram_gib": 0.17, "load_s": 1.16},
        ],
        "switching": {"max_resident": 1, "price_per_s": 1.0},
        "service": {"kind": "steps", "step_s": {"base": 0.06, "per_sample": 0.0}},
        "latency_price_per_s": 0.05,
        "requests": [
            {
                "id": f"r{i}",
                "arrival_s": 1.0 * i,
                "adapter": ("pixel-art", "watercolor")[i % 2],
                "demand": {"vram_gib": 4.0, "batch": 1},
                "options": [{"steps": 20, "quality": 0.97}, {"steps": 60, "quality": 1.0}],
            }
            for i in range(requests)
        ],
        **changes,
    }


def instance(name: str, group: str = "small", sha256: str = "") -> InstanceInfo:
    """An instance of a report; its digest is made of its name unless it is given."""
    return InstanceInfo(
        name=name,
        file=f"instances/{name}.json",
        sha256=sha256 or digest(name),
        group=group,
        requests=10,
        adapters=3,
        gpus=1,
    )


def solver(spec: str, kind: str, **params: Any) -> SolverInfo:
    """A solver of a report."""
    return SolverInfo(spec=spec, name=spec.partition(":")[0], kind=kind, params=params)


METRICS = Metrics(
    served=10,
    rejected=0,
    batches=4,
    mean_batch=2.5,
    latency_mean_s=4.25,
    latency_p50_s=4.0,
    latency_p95_s=8.0,
    latency_p99_s=9.0,
    latency_max_s=9.6,
    wait_mean_s=2.5,
    wait_p95_s=6.0,
    wait_p99_s=7.0,
    wait_max_s=7.2,
    wait_max_request="r9",
    starved=None,
    queue_mean=25 / 24,
    queue_max=3,
    throughput_per_s=10 / 24,
    steps_per_s=12.5,
    switches=3,
    switching_s=3.48,
    loads=3,
    evictions=2,
    hit_share=0.4,
    batch_hit_share=0.25,
    busy_share=0.75,
    switching_share=0.2,
    idle_share=0.05,
    serving_of_used=0.75 / 0.95,
    makespan_s=24.0,
    vram_peak_gib=23.17,
    deadline_misses=1,
    jain=0.96,
    worst_adapter="pixel-art",
    worst_adapter_p95_s=9.6,
    steps_saved_share=0.5,
    quality_mean=0.98,
)


#: Details of a policy's run: 8 decisions in 4 ms.
DECISIONS = {
    "events": 20,
    "decisions": 8,
    "decision_s": 0.004,
    "decision_p50_s": 0.0004,
    "decision_p99_s": 0.001,
    "longest_decision_s": 0.001,
}


def record(
    case: InstanceInfo,
    by: SolverInfo,
    loss: float | None = None,
    bound: float | None = None,
    stop: StopReason = StopReason.COMPLETE,
    *,
    end: RunOutcome | None = None,
    error: str = "",
    metrics: Metrics = METRICS,
    trace: Sequence[tuple[float, float | None, float | None]] = (),
    latencies: Sequence[tuple[float, float]] = (),
    attainment: Sequence[tuple[float, float]] = (),
    levels: Sequence[tuple[int, int]] = (),
) -> Record:
    """The record of a run with a schedule of this loss, or with its outcome without one."""
    point = SolutionStatus.OPTIMAL if stop is StopReason.OPTIMAL else SolutionStatus.FEASIBLE
    solved = end is None or end is RunOutcome.SOLVED
    return Record(
        config=RunConfig(instance=case, solver=by, time_limit=10.0, seed=0, version="1.0"),
        versions={"python": "3.11", "pats-opt": "1.0"},
        machine={"platform": "Linux x86_64", "cpu": "A", "cores": 2},
        end=end or RunOutcome.SOLVED,
        status=Status(stop=stop, point=point) if solved else None,
        error=RunError(type="RuntimeError", message=error) if error else None,
        started="2026-01-01T00:00:00+00:00",
        wall_s=2.0,
        runtime_s=1.0 if solved else None,
        loss=loss,
        bound=bound,
        utility=None if loss is None else 10.0 - loss,
        terms=None if loss is None else LossTerms(latency=loss / 2, switching=loss / 2),
        metrics=None if loss is None else metrics,
        details=DECISIONS if solved and by.kind == "online" else {},
        trace=tuple(ProgressPoint(*moment) for moment in trace),
        latencies=tuple(latencies),
        attainment=tuple(attainment),
        levels=tuple(levels),
    )


def tasks_of(records: list[Record]) -> list[Task]:
    """The tasks that the records are of."""
    return [Task(config=r.config, instance=r.config.instance.file, folder="f") for r in records]


def table_of(records: list[Record]) -> Table:
    """The report's table of these records."""
    return collect(tasks_of(records), records)
