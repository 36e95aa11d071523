"""What a schedule does, in figures; made of the replayed schedule, whatever solver it is from.

:mod:`figures` has the flat figures of a whole schedule, :mod:`adapters` a table by adapter,
:mod:`queue` how many wait, over time, :mod:`latencies` the distribution of latencies. All read the
columns of :mod:`played`, and know quantiles and Jain's index from :mod:`statistics`.
"""

from pats_opt.tables.adapters import AdapterMetrics, adapter_table
from pats_opt.tables.latencies import latency_quantiles
from pats_opt.tables.metrics import Metrics, bound_on_waiting, measure
from pats_opt.tables.queue import Queue, queue_series, queue_steps

__all__ = [
    "AdapterMetrics",
    "Metrics",
    "Queue",
    "adapter_table",
    "bound_on_waiting",
    "latency_quantiles",
    "measure",
    "queue_series",
    "queue_steps",
]
