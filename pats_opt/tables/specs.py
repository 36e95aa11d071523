"""Names, units and directions of all metrics."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pats_opt.wording import figure, percent


class MetricSpec(NamedTuple):
    """Name, unit and direction of a metric, for all tables and pages.

    Attributes:
        label: Name without unit.
        unit: ``s``, ``per s``, ``GiB``, ``%`` of a share (its value is from 0 to 1), or nothing.
        better: Which of two values is better, where that can be said.
    """

    label: str
    unit: Literal["s", "per s", "GiB", "%", ""] = ""
    better: Literal["low", "high", ""] = ""

    @property
    def heading(self) -> str:
        """Heading of a row or a column, name and unit; a share carries its sign itself."""
        if self.unit == "per s":
            return f"{self.label} per s"
        return f"{self.label}, {self.unit}" if self.unit not in {"", "%"} else self.label

    def text(self, value: float | str | None) -> str:
        """Return a value without its unit, a share as a percentage; a dash for None."""
        if self.unit == "%":
            assert not isinstance(value, str)
            return percent(value)
        return figure(value)


#: Every metric of a schedule, of an adapter and of an execution, by its name.
METRICS: dict[str, MetricSpec] = {
    "served": MetricSpec("served", better="high"),
    "rejected": MetricSpec("rejected", better="low"),
    "batches": MetricSpec("batches"),
    "mean_batch": MetricSpec("mean batch"),
    "latency_mean_s": MetricSpec("latency mean", "s", "low"),
    "latency_p50_s": MetricSpec("latency p50", "s", "low"),
    "latency_p95_s": MetricSpec("latency p95", "s", "low"),
    "latency_p99_s": MetricSpec("latency p99", "s", "low"),
    "latency_max_s": MetricSpec("latency max", "s", "low"),
    "wait_mean_s": MetricSpec("wait mean", "s", "low"),
    "wait_p95_s": MetricSpec("wait p95", "s", "low"),
    "wait_p99_s": MetricSpec("wait p99", "s", "low"),
    "wait_max_s": MetricSpec("wait max", "s", "low"),
    "wait_max_request": MetricSpec("wait max request"),
    "starved": MetricSpec("starved", better="low"),
    "queue_mean": MetricSpec("queue mean", better="low"),
    "queue_max": MetricSpec("queue max", better="low"),
    "throughput_per_s": MetricSpec("throughput", "per s", "high"),
    "steps_per_s": MetricSpec("steps", "per s", "high"),
    "switches": MetricSpec("switches", better="low"),
    "switching_s": MetricSpec("switching", "s", "low"),
    "loads": MetricSpec("loads", better="low"),
    "evictions": MetricSpec("evictions", better="low"),
    "hit_share": MetricSpec("hit share", "%", "high"),
    "batch_hit_share": MetricSpec("batch hit share", "%", "high"),
    "busy_share": MetricSpec("busy share", "%"),
    "switching_share": MetricSpec("switching share", "%", "low"),
    "idle_share": MetricSpec("idle share", "%"),
    "serving_of_used": MetricSpec("serving of used", "%", "high"),
    "makespan_s": MetricSpec("makespan", "s", "low"),
    "vram_peak_gib": MetricSpec("VRAM peak", "GiB", "low"),
    "deadline_misses": MetricSpec("deadline misses", better="low"),
    "jain": MetricSpec("jain", better="high"),
    "worst_adapter": MetricSpec("worst adapter"),
    "worst_adapter_p95_s": MetricSpec("worst adapter p95", "s", "low"),
    "steps_saved_share": MetricSpec("steps saved share", "%"),
    "quality_mean": MetricSpec("quality mean", better="high"),
    "groups_served": MetricSpec("groups served", better="high"),
    "groups_rejected": MetricSpec("groups rejected", better="low"),
    "group_latency_mean_s": MetricSpec("group latency mean", "s", "low"),
    "group_latency_p50_s": MetricSpec("group latency p50", "s", "low"),
    "group_latency_p95_s": MetricSpec("group latency p95", "s", "low"),
    "group_latency_p99_s": MetricSpec("group latency p99", "s", "low"),
    "group_latency_max_s": MetricSpec("group latency max", "s", "low"),
    "loader_busy_share": MetricSpec("loader busy share", "%"),
    "hidden_load_share": MetricSpec("hidden load share", "%", "high"),
    "load_wait_s": MetricSpec("wait for loads", "s", "low"),
    "goodput_per_s": MetricSpec("goodput", "per s", "high"),
    "violation_share": MetricSpec("violations", "%", "low"),
    "quality_of_all": MetricSpec("quality of all", better="high"),
    "look_up_hit_share": MetricSpec("look-up hits", "%", "high"),
    "redirected_share": MetricSpec("redirected", "%", "low"),
    "skipped_share": MetricSpec("steps skipped", "%"),
    # Of one adapter.
    "adapter": MetricSpec("adapter"),
    "requests": MetricSpec("requests"),
    "load_s": MetricSpec("load", "s", "low"),
    "serving_share": MetricSpec("serving share", "%"),
    "loss": MetricSpec("loss", better="low"),
    "loss_share": MetricSpec("loss share", "%", "low"),
    # Of an execution.
    "serving_s": MetricSpec("serving", "s", "low"),
    "peak_memory_gib": MetricSpec("peak memory", "GiB", "low"),
}
