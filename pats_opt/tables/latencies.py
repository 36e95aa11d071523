"""Distribution of latencies over the requests served: quantiles enough to draw the curve."""

from __future__ import annotations

from pats_opt.tables.schedule_table import ScheduleTable
from pats_opt.tables.statistics import quantile

#: Shares at which the distribution is kept: every 2 %, and more of the slowest.
SHARES = (*(k / 50 for k in range(50)), 0.99, 0.995, 0.999, 1.0)

#: A share of the requests served, and the seconds within which so many of them are done.
Quantile = tuple[float, float]


def latency_quantiles(table: ScheduleTable) -> tuple[Quantile, ...]:
    """Return the latency quantiles of a schedule, rising; empty where nobody is served.

    The first is the smallest latency (share 0), the last the largest. A quantile is the smallest
    value that at least this share of the requests does not exceed.
    """
    import numpy as np

    rising = np.sort(table.latency_s)
    found = ((share, quantile(rising, share)) for share in SHARES)
    return tuple((share, seconds) for share, seconds in found if seconds is not None)
