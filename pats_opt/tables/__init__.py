"""Tables and metrics of a schedule: latency, switching, utilisation, fairness.

:mod:`schedule_table` has the one table that everything is computed from; :mod:`metrics` the figures
of a whole schedule, :mod:`specs` their names and units; :mod:`adapters` a table by adapter,
:mod:`queue` the requests that wait over time, :mod:`loader` loads beside serving,
:mod:`service_levels` deadlines and approximate caching, :mod:`levels` its levels over time.
Quantiles, Jain's index and line fits are in :mod:`statistics`.
"""

from pats_opt.tables.adapters import AdapterMetrics, adapter_table
from pats_opt.tables.levels import LevelCount, level_counts, levels_of
from pats_opt.tables.metrics import (
    BY_DEADLINE,
    BY_GROUP,
    BY_LOADER,
    BY_LOOK_UP,
    Metrics,
    bound_on_waiting,
    latency_quantiles,
    measure,
    shown,
)
from pats_opt.tables.queue import QueueSeries, queue_series, queue_steps
from pats_opt.tables.schedule_table import ScheduleTable
from pats_opt.tables.service_levels import attainment
from pats_opt.tables.specs import METRICS, MetricSpec
from pats_opt.tables.statistics import Quantile

__all__ = [
    "BY_DEADLINE",
    "BY_GROUP",
    "BY_LOADER",
    "BY_LOOK_UP",
    "METRICS",
    "AdapterMetrics",
    "LevelCount",
    "MetricSpec",
    "Metrics",
    "Quantile",
    "QueueSeries",
    "ScheduleTable",
    "adapter_table",
    "attainment",
    "bound_on_waiting",
    "latency_quantiles",
    "level_counts",
    "levels_of",
    "measure",
    "queue_series",
    "queue_steps",
    "shown",
]
