"""Metrics for Prometheus, kept by server rather than by process."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from pats_opt.execute.record import Phase
from pats_opt.serving.events import GpuWork

#: Upper ends of the classes of seconds.
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)

#: Upper ends of the classes of batch sizes.
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)

#: Media type of the metrics.
MEDIA_TYPE = CONTENT_TYPE_LATEST


class ServiceMetrics:
    """The metrics of one server; the attributes are named as the metrics are."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        name = "pats_opt"
        self.queue = Gauge(
            f"{name}_waiting_images", "Images that wait.", ["adapter"], registry=registry
        )
        self.running = Gauge(f"{name}_running_images", "Images that GPUs make.", registry=registry)
        self.images = Counter(
            f"{name}_images",
            "Images by outcome: ok, late (past its deadline), failed, expired, cancelled.",
            ["outcome"],
            registry=registry,
        )
        self.rejections = Counter(
            f"{name}_rejections",
            "Requests that were refused, by code.",
            ["code"],
            registry=registry,
        )
        self.wait_s = Histogram(
            f"{name}_wait_seconds",
            "Seconds from arrival to the start of the batch.",
            buckets=SECONDS,
            registry=registry,
        )
        self.latency_s = Histogram(
            f"{name}_latency_seconds",
            "Seconds from arrival to the image.",
            buckets=SECONDS,
            registry=registry,
        )
        self.batch = Histogram(
            f"{name}_batch_size", "Members of a batch.", buckets=SIZES, registry=registry
        )
        self.busy_s = Counter(
            f"{name}_gpu_busy_seconds",
            "Seconds in which a GPU switched or served; their rate is the share that it is busy.",
            ["gpu"],
            registry=registry,
        )
        self.loads = Counter(f"{name}_loads", "Adapters loaded.", ["gpu"], registry=registry)
        self.load_s = Counter(
            f"{name}_load_seconds", "Seconds of loads.", ["gpu"], registry=registry
        )
        self.up = Gauge(f"{name}_gpu_up", "Whether a GPU has a worker.", ["gpu"], registry=registry)
        self.deaths = Counter(
            f"{name}_worker_deaths", "Workers that died.", ["gpu"], registry=registry
        )
        self.adapter_errors = Counter(
            f"{name}_adapter_errors", "Adapters that could not be served.", registry=registry
        )

    def worked(self, gpu: str, work: GpuWork) -> None:
        """Count a batch, or a load beside the batches."""
        if work.batch is not None:
            batch = work.batch
            self.busy_s.labels(gpu).inc(max(0.0, batch.end_s - batch.switch_start_s))
            loads = [span for span in batch.spans if span.phase is Phase.LOAD]
            self.loads.labels(gpu).inc(len(loads))
            self.load_s.labels(gpu).inc(sum([span.seconds for span in loads]))
        if work.load is not None:
            self.loads.labels(gpu).inc()
            self.load_s.labels(gpu).inc(work.load.seconds)

    def text(self, waiting: Mapping[str, int]) -> bytes:
        """Return the metrics as Prometheus reads them, with the images that wait by adapter."""
        self.queue.clear()
        for adapter, images in waiting.items():
            self.queue.labels(adapter).set(images)
        return generate_latest(self.registry)
