"""A first picture of an imported log: its load over time, its adapters, what was taken how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean, pstdev

from msgspec import Struct

from pats_opt.generate.draw import BASE
from pats_opt.wording import counted, number, percent

#: Most values of a column of outcomes or kinds that are listed.
LISTED = 6

HOUR_S = 3600.0


class LoadStatistics(Struct, frozen=True, kw_only=True):
    """The load of a window of a log, after its speed-up.

    Attributes:
        rate_per_s: Rows per second over the span; None where all arrive at once.
        busiest_start_s: Start of the hour with most arrivals, of hours that follow one another;
            None where the span is under two hours.
        busiest_per_s: Rows per second in that hour.
        burstiness: Coefficient of variation of the times between arrivals, in the busiest hour if
            there is one: 1 for a Poisson process, more where arrivals come in bursts. None for
            fewer than three.
        adapters: Adapters, or sets of them.
        first_share: Share of the most popular adapter in the rows that use one.
        ten_share: Share of the ten most popular.
        base_share: Share of rows that use none.
    """

    rate_per_s: float | None
    busiest_start_s: float | None
    busiest_per_s: float | None
    burstiness: float | None
    adapters: int
    first_share: float
    ten_share: float
    base_share: float

    def lines(self) -> list[str]:
        """Say it in one line for the load over time, and one for the adapters."""
        found = []
        if self.rate_per_s is not None:
            text = f"rate: {number(self.rate_per_s * 60)} rows per minute"
            if self.busiest_per_s is not None and self.busiest_start_s is not None:
                text += (
                    f", {number(self.busiest_per_s * 60)} in the busiest hour "
                    f"(from second {self.busiest_start_s:.0f})"
                )
            if self.burstiness is not None:
                text += (
                    f"; times between arrivals vary {number(self.burstiness)} times their mean "
                    "(1: Poisson)"
                )
            found.append(text)
        if self.adapters:
            text = f"adapters: the most popular has {percent(self.first_share)} of the rows"
            if self.adapters > 10:
                text += f", the first ten have {percent(self.ten_share)}"
            if self.base_share:
                text += f"; {percent(self.base_share)} of all rows use none"
            found.append(text)
        return found


def load_statistics(arrivals_s: Sequence[float], adapters: Iterable[str]) -> LoadStatistics:
    """Sum up the load of rows.

    Args:
        arrivals_s: Arrival of each row in seconds, rising.
        adapters: Adapter of each row.
    """
    span_s = arrivals_s[-1] - arrivals_s[0]
    start_s = most = None
    if span_s >= 2 * HOUR_S:
        hours = Counter(int((t - arrivals_s[0]) // HOUR_S) for t in arrivals_s)
        hour, most = max(hours.items(), key=lambda item: (item[1], -item[0]))
        start_s = arrivals_s[0] + hour * HOUR_S
    counted_s = [t for t in arrivals_s if start_s is None or start_s <= t < start_s + HOUR_S]
    gaps = [b - a for a, b in pairwise(counted_s)]
    mean = fmean(gaps) if len(gaps) > 1 else 0.0
    use = Counter(adapters)
    rows, without = sum(use.values()), use.pop(BASE, 0)
    shares = [count / (rows - without) for _, count in use.most_common(10)]
    return LoadStatistics(
        rate_per_s=len(arrivals_s) / span_s if span_s > 0 else None,
        busiest_start_s=start_s,
        busiest_per_s=None if most is None else most / HOUR_S,
        burstiness=pstdev(gaps) / mean if mean > 0 else None,
        adapters=len(use),
        first_share=shares[0] if shares else 0.0,
        ten_share=sum(shares),
        base_share=without / rows,
    )


def noticed(column: str, cells: Iterable[str]) -> str | None:
    """Say which outcomes or kinds of request a column has; None where it has one, or many."""
    values: Mapping[str, int] = Counter(cells)
    if not 1 < len(values) <= LISTED:
        return None
    ranked = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{count:,} {value or '(empty)'}" for value, count in ranked)
    first = ranked[0][0]
    return (
        f"column {column!r} has {counted(len(values), 'value')}: {listed}; all are imported "
        f"(--where '{column}={first}' takes one of them)"
    )
