"""The simulator against the conservation laws of queueing theory: polling, and priorities.

Pseudo-conservation law (Boxma and Groenendijk 1987), for cyclic service of one request at a time
with Poisson arrivals, rho_i = lambda_i E B_i and a total switching time S of a cycle::

    sum rho_i E W_i = rho sum lambda_i E B_i^2 / (2 (1 - rho)) + rho E S^2 / (2 E S)
                      + E S (rho^2 - sum rho_i^2) / (2 (1 - rho))
                      + (gated only) E S sum rho_i^2 / (1 - rho)

The law's server walks on when it finds a queue empty, which no schedule can do: it has no visits
without a batch, so the policies skip empty queues. The switching times here are so long that a
queue is hardly ever empty when its turn comes (the tests count visits per cycle to be sure), which
makes the law exact in effect. Switching times differ between queues but are the same every time, so
E S^2 = (E S)^2. Intervals are by batch means, 20 groups of consecutive cycles, with the work that
arrived in a group as control variate (Lavenberg and Welch 1981), Student's t at 99.9 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import pytest

from pats_opt.core.registry import make
from pats_opt.core.solver import Solver
from pats_opt.model.instance import (
    Adapter,
    Gpu,
    Instance,
    Option,
    Request,
    StepsService,
    StepTime,
    Switching,
)
from pats_opt.model.problem import Problem
from pats_opt.simulate import simulate

#: Groups whose means are close to independent.
GROUPS = 20
#: Two-sided 99.9 % point of Student's t with 18 degrees of freedom.
T_18 = 3.922
#: A tick and a step; the grid delays an arrival by half of it on average.
TICK_S = 0.005
#: Seconds before the first request that counts.
WARM_UP_S = 500.0
#: Requests of a run.
COUNT = 40_000


@dataclass(frozen=True)
class Queue:
    """Poisson arrivals at ``rate`` a second; service of ``long_s`` with probability ``share``."""

    rate: float
    switch_s: float
    short_s: float
    long_s: float
    share: float

    @property
    def mean_s(self) -> float:
        """E B, seconds."""
        return (1 - self.share) * self.short_s + self.share * self.long_s

    @property
    def second_moment(self) -> float:
        """E B^2, seconds squared."""
        return (1 - self.share) * self.short_s**2 + self.share * self.long_s**2

    @property
    def load(self) -> float:
        """Share of the server's time that its requests take."""
        return self.rate * self.mean_s


@dataclass(frozen=True)
class Run:
    """Of the requests that count: waits, service (s), queues, arrivals (s); visits a cycle."""

    waits: np.ndarray
    service_s: np.ndarray
    queue: np.ndarray
    arrived: np.ndarray
    visits_a_cycle: float

    @cached_property
    def edges(self) -> np.ndarray:
        """Ends of the groups, seconds."""
        return np.linspace(self.arrived[0], self.arrived[-1], GROUPS + 1)

    @cached_property
    def group(self) -> np.ndarray:
        """The group of each request."""
        return np.clip(np.searchsorted(self.edges, self.arrived, "right") - 1, 0, GROUPS - 1)

    @property
    def work(self) -> np.ndarray:
        """Work that arrived in each group, per second."""
        return np.bincount(self.group, self.service_s, GROUPS) / np.diff(self.edges)

    def mean_waits(self, chosen: np.ndarray) -> np.ndarray:
        """The mean wait of the chosen requests of each group."""
        group = self.group[chosen]
        waits = np.bincount(group, self.waits[chosen], GROUPS)
        return waits / np.bincount(group, minlength=GROUPS)


TWO = (Queue(1.1, 2.5, 0.12, 2.0, 0.1), Queue(0.9, 5.5, 0.1, 3.0, 0.06))
THREE = (
    Queue(0.7, 2.0, 0.08, 2.6, 0.08),
    Queue(0.7, 5.5, 0.28, 0.28, 0.0),
    Queue(1.0, 2.0, 0.05, 2.0, 0.08),
)


def terms(queues: tuple[Queue, ...], *, gated: bool) -> list[float]:
    """The law's right side, term by term."""
    loads = [q.load for q in queues]
    rho, squares = sum(loads), sum(r * r for r in loads)
    switch_s = sum(q.switch_s for q in queues)
    law = [
        rho * sum(q.rate * q.second_moment for q in queues) / (2 * (1 - rho)),
        rho * switch_s / 2,
        switch_s * (rho**2 - squares) / (2 * (1 - rho)),
    ]
    return [*law, switch_s * squares / (1 - rho)] if gated else law


@cache
def played(policy: str, queues: tuple[Queue, ...], count: int) -> Run:
    """``count`` requests through a policy."""
    rng = np.random.default_rng(11)
    total = sum(q.rate for q in queues)
    arrivals = np.cumsum(rng.exponential(1 / total, count))
    queue = rng.choice(len(queues), count, p=[q.rate / total for q in queues])
    long = rng.random(count) < np.array([q.share for q in queues])[queue]
    service_s = np.where(
        long,
        np.array([q.long_s for q in queues])[queue],
        np.array([q.short_s for q in queues])[queue],
    )
    problem = Problem(_instance(queues, arrivals, queue, service_s))
    made = make(policy)
    assert not isinstance(made, Solver)
    done = simulate(problem, made)
    assert done.plan is not None
    (batches,) = done.plan.gpus
    starts = np.zeros(count)
    starts[[batch.members[0][0] for batch in batches]] = [batch.start for batch in batches]
    order = queue[[batch.members[0][0] for batch in batches]]
    visited = order[np.flatnonzero(np.diff(order, prepend=-1))]
    waits = (starts - [job.arrival for job in problem.jobs]) * TICK_S
    counts = (arrivals > WARM_UP_S) & (arrivals < arrivals[-1] - WARM_UP_S)
    return Run(
        waits=waits[counts],
        service_s=service_s[counts],
        queue=queue[counts],
        arrived=arrivals[counts],
        visits_a_cycle=len(visited) / (visited == 0).sum(),
    )


def weighted_waits(run: Run, queues: tuple[Queue, ...]) -> tuple[float, float]:
    """The sum of rho_i E W_i, and half of its 99.9 % interval."""
    waits = sum(q.load * run.mean_waits(run.queue == i) for i, q in enumerate(queues))
    return regressed(np.asarray(waits), run.work - sum(q.load for q in queues))


def regressed(values: np.ndarray, control: np.ndarray) -> tuple[float, float]:
    """The mean that ``values`` have where ``control``, of mean 0, is 0, and half its interval."""
    off = control - control.mean()
    slope = off @ values / (off @ off)
    mean = values.mean() - slope * control.mean()
    rest = values - values.mean() - slope * off
    variance = rest @ rest / (len(values) - 2)
    share = 1 / len(values) + control.mean() ** 2 / (off @ off)
    return float(mean), float(T_18 * np.sqrt(variance * share))


def _instance(
    queues: tuple[Queue, ...], arrivals: np.ndarray, queue: np.ndarray, service_s: np.ndarray
) -> Instance:
    """One GPU that holds one request at a time; an adapter a queue, a step a tick."""
    return Instance(
        name="polling",
        tick_s=TICK_S,
        base_vram_gib=0.0,
        gpus=(Gpu(id="gpu", capacity={"vram_gib": 1.0}, resident=()),),
        adapters=tuple(
            Adapter(id=f"q{i}", vram_gib=0.0, load_s=q.switch_s) for i, q in enumerate(queues)
        ),
        switching=Switching(max_resident=1, price_per_s=0.0),
        service=StepsService(step_s=StepTime(base=TICK_S, per_sample=0.0)),
        latency_price_per_s=1.0,
        requests=tuple(
            Request(
                id=f"r{i}",
                arrival_s=float(at),
                adapter=f"q{q}",
                demand={"vram_gib": 1.0},
                options=(Option(steps=round(s / TICK_S), quality=1.0),),
            )
            for i, (at, q, s) in enumerate(zip(arrivals, queue, service_s, strict=True))
        ),
    )


@pytest.mark.parametrize("queues", [TWO, THREE])
@pytest.mark.parametrize("discipline", ["exhaustive", "gated"])
def test_pseudo_conservation_law(discipline: str, queues: tuple[Queue, ...]) -> None:
    """The law lies in the interval, and without any one of its terms it would not."""
    run = played(f"{discipline}:route=cyclic", queues, COUNT)
    assert run.visits_a_cycle == pytest.approx(len(queues), rel=0.003), "queues were found empty"
    law = terms(queues, gated=discipline == "gated")
    mean, half = weighted_waits(run, queues)
    assert abs(mean - sum(law)) < half + TICK_S
    for term in law:
        assert abs(mean - (sum(law) - term)) > half + TICK_S, f"{term} would not be missed"


@pytest.mark.parametrize("queues", [TWO, THREE])
@pytest.mark.parametrize("discipline", ["exhaustive", "gated"])
def test_the_other_discipline_breaks_the_law(discipline: str, queues: tuple[Queue, ...]) -> None:
    """Gated service is refused by the law of exhaustive service, and the other way round."""
    run = played(f"{discipline}:route=cyclic", queues, COUNT)
    mean, half = weighted_waits(run, queues)
    other = sum(terms(queues, gated=discipline != "gated"))
    assert abs(mean - other) > half + TICK_S


def test_shortest_first_gives_the_waits_of_priorities() -> None:
    """Cobham 1954: two classes, no preemption, the short ones first.

    E W_1 = W_0 / (1 - rho_1), E W_2 = W_0 / ((1 - rho_1) (1 - rho)), with W_0 = sum lambda_i
    E B_i^2 / 2. One adapter that takes no time to load; ``pats`` without waiting and cosine scores
    1 / service, so the short ones go first, each class in order of arrival.
    """
    short, long = Queue(0.9, 0.0, 0.3, 0.3, 0.0), Queue(0.25, 0.0, 1.6, 1.6, 0.0)
    both = Queue(short.rate + long.rate, 0.0, 0.3, 1.6, long.rate / (short.rate + long.rate))
    run = played("pats:gamma=0:use_cosine=false:followers=false", (both,), COUNT)
    work = both.rate * both.second_moment / 2
    expected = work / (1 - short.load), work / ((1 - short.load) * (1 - both.load))
    is_long = run.service_s > 1
    control = run.work - both.load
    found = [regressed(run.mean_waits(chosen), control) for chosen in (~is_long, is_long)]
    for (mean, half), law in zip(found, expected, strict=True):
        assert abs(mean - law) < half + TICK_S
    in_order = work / (1 - both.load)  # first come, first served
    assert all(abs(mean - in_order) > half + TICK_S for mean, half in found)
