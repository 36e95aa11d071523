"""Service metrics of a replayed schedule: latency, switching, utilisation, fairness.

:mod:`metrics` has the flat figures of a whole schedule, and in :data:`METRICS` their names and
units; :mod:`adapters` a table by adapter, :mod:`queue` the requests that wait over time,
:mod:`latencies` the distribution of latencies. All read the columns of :mod:`request_table`, and
take quantiles and Jain's index from :mod:`statistics`.
"""

from pats_opt.tables.adapters import AdapterMetrics, adapter_table
from pats_opt.tables.latencies import latency_quantiles
from pats_opt.tables.metrics import METRICS, Metrics, MetricSpec, bound_on_waiting, measure
from pats_opt.tables.queue import Queue, queue_series, queue_steps

__all__ = [
    "METRICS",
    "AdapterMetrics",
    "MetricSpec",
    "Metrics",
    "Queue",
    "adapter_table",
    "bound_on_waiting",
    "latency_quantiles",
    "measure",
    "queue_series",
    "queue_steps",
]
