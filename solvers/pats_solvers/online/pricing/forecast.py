"""Futures drawn from what has arrived so far."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_opt.model.problem import Site
from pats_solvers.online.pricing.tables import Fleet, JobTable


class Futures(NamedTuple):
    """Sampled futures, one a line.

    Attributes:
        count: Jobs of each.
        src: Rows of the jobs that they are like.
        arrival: Their arrivals, rising, all after now.
        adapter: Their adapters.
    """

    count: Any
    src: Any
    arrival: Any
    adapter: Any


NO_FUTURES = Futures(np.zeros(0, np.int64), *(np.zeros((1, 1), np.int64) for _ in range(3)))


class Forecast:
    """Draws futures: when jobs come, like which past ones, and when they end.

    Gaps are exponential with the mean of the last ``memory`` gaps, to which one of a job's own
    service is added, so that the first arrivals have a forecast too. Each job is like one of the
    last ``memory``, drawn evenly; its adapter is another, drawn evenly from the site's, with
    probability 1 / (n + 1) after n jobs.

    Nobody says when a load ends. After n jobs, m more come with probability n / (n + ending x m),
    which is what follows, for ``ending`` 1, from knowing nothing about the total (each share of it
    that has been seen is as likely as any other); and the longer nothing has come, the likelier is
    it that nothing will.

    Args:
        site: What is known from the start.
        table: The jobs so far.
        seed: Seed of the draws.
        ahead: Most jobs of each.
        memory: Jobs that are looked back at.
        ending: How soon loads end; 0: never.
    """

    def __init__(
        self,
        site: Site,
        fleet: Fleet,
        table: JobTable,
        seed: int,
        *,
        ahead: int,
        memory: int,
        ending: float,
    ) -> None:
        self._adapters, self._gpus = len(site.adapter_ids), len(site.gpus)
        self._fleet, self._table, self._seed = fleet, table, seed
        self._ahead, self._memory = ahead, memory
        self._ending = ending

    def gap(self, tick: int) -> float:
        """Mean ticks between arrivals."""
        table = self._table
        known = min(table.count, self._memory)
        first = int(table.rows.jobs[table.count - known]["arrival"])
        return max(1e-9, (tick - first + self._service(known)) / known)

    def draw(self, tick: int, futures: int) -> Futures:
        """So many futures after ``tick``; the same ones at the same tick of the same run."""
        if futures == 0:
            return NO_FUTURES
        rng = np.random.default_rng((self._seed, tick))
        jobs, n, size = self._table.rows.jobs, self._table.count, (futures, self._ahead)
        gap = self.gap(tick)
        arrival = tick + np.ceil(np.cumsum(rng.exponential(gap, size), axis=1))
        src = n - 1 - rng.integers(0, min(n, self._memory), size)
        others = rng.integers(0, self._adapters, size)
        adapter = np.where(rng.random(size) < 1.0 / (n + 1), others, jobs["adapter"][src])
        return Futures(
            self._lengths(tick, gap, rng, futures),
            src,
            np.maximum(arrival, tick + 1).astype(np.int64),
            adapter,
        )

    def _lengths(self, tick: int, gap: float, rng: np.random.Generator, futures: int) -> Any:
        """How many jobs come in each future: evenly spread quantiles, so that few futures do."""
        if not self._ending:
            return np.full(futures, self._ahead)
        n = self._table.count / self._ending
        silence = tick - int(self._table.rows.jobs[self._table.count - 1]["arrival"])
        odds = n * np.exp(-silence / gap)
        going_on = odds / (1.0 + odds)
        quantile = (np.arange(futures) + rng.random(futures)) / futures
        more = (n + 1.0) / np.maximum(quantile / going_on, 1e-9) - n
        return np.where(quantile < going_on, np.clip(more, 0, self._ahead), 0).astype(np.int64)

    def _service(self, known: int) -> float:
        """Mean ticks of a job's shortest service, for each GPU."""
        fleet, rows = self._fleet, self._table.rows
        last = slice(self._table.count - known, self._table.count)
        steps = rows.modes["steps"][last]
        there = np.arange(steps.shape[1]) < rows.jobs["options"][last, None]
        fewest = np.where(there, steps, steps.max()).min(axis=1)
        seconds = fleet.overhead_s[1] + fewest.mean() * fleet.step_s[1]
        return max(1.0, float(seconds) / fleet.tick_s) / self._gpus
