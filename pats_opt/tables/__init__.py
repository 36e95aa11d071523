"""Tables and metrics of a schedule: latency, switching, utilisation, fairness.

:mod:`schedule_table` has the one table that everything is computed from; :mod:`metrics` the figures
of a whole schedule, and in :data:`METRICS` their names and units; :mod:`adapters` a table by
adapter, :mod:`queue` the requests that wait over time, :mod:`loader` loads beside serving.
Quantiles, Jain's index and line fits are in :mod:`statistics`.
"""

from pats_opt.tables.adapters import AdapterMetrics, adapter_table
from pats_opt.tables.metrics import (
    BY_GROUP,
    BY_LOADER,
    METRICS,
    Metrics,
    MetricSpec,
    bound_on_waiting,
    latency_quantiles,
    measure,
    shown,
)
from pats_opt.tables.queue import QueueSeries, queue_series, queue_steps
from pats_opt.tables.schedule_table import ScheduleTable

__all__ = [
    "BY_GROUP",
    "BY_LOADER",
    "METRICS",
    "AdapterMetrics",
    "MetricSpec",
    "Metrics",
    "QueueSeries",
    "ScheduleTable",
    "adapter_table",
    "bound_on_waiting",
    "latency_quantiles",
    "measure",
    "queue_series",
    "queue_steps",
    "shown",
]
