"""The simulator against queueing theory: one server, Poisson arrivals, mean waits known exactly."""

from __future__ import annotations

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

#: Batches of consecutive waits whose means are close to independent.
GROUPS = 20
#: Two-sided 99.9 % point of Student's t with 19 degrees of freedom.
T_19 = 3.883


@pytest.mark.parametrize(("service_s", "load"), [((1.0,), 0.6), ((1.0,), 0.3), ((0.4, 1.6), 0.5)])
def test_mean_wait_of_one_server(service_s: tuple[float, ...], load: float) -> None:
    """Pollaczek and Khinchine: E W = lambda E S^2 / (2 (1 - rho)), deterministic and mixed S."""
    rng = np.random.default_rng(7)
    count, tick_s = 12_000, 0.004
    second = float(np.mean(np.square(service_s)))
    rate = load / float(np.mean(service_s))
    expected = rate * second / (2 * (1 - load))

    arrivals = np.cumsum(rng.exponential(1 / rate, count))
    steps = rng.choice([round(s / tick_s) for s in service_s], count)
    problem = Problem(_single_server(arrivals, steps, tick_s))
    fifo = make("fifo")
    assert not isinstance(fifo, Solver)
    done = simulate(problem, fifo)
    assert done.plan is not None
    starts = np.array([batch.start for batch in done.plan.gpus[0]])
    waits = (starts - [job.arrival for job in problem.jobs]) * tick_s

    means = waits.reshape(GROUPS, -1).mean(axis=1)
    half = T_19 * means.std(ddof=1) / np.sqrt(GROUPS)
    assert half < 0.35 * expected, "an interval this wide would prove nothing"
    assert abs(means.mean() - expected) < half + tick_s


def _single_server(arrivals: np.ndarray, steps: np.ndarray, tick_s: float) -> Instance:
    """One GPU that holds one request at a time; a step takes a tick, nothing is ever loaded."""
    return Instance(
        name="single server",
        tick_s=tick_s,
        base_vram_gib=0.0,
        gpus=(Gpu(id="gpu", capacity={"vram_gib": 1.0}, resident=("base",)),),
        adapters=(Adapter(id="base", vram_gib=0.0, load_s=0.0),),
        switching=Switching(max_resident=1, price_per_s=0.0),
        service=StepsService(step_s=StepTime(base=tick_s, per_sample=0.0)),
        latency_price_per_s=1.0,
        requests=tuple(
            Request(
                id=f"r{i}",
                arrival_s=float(arrival),
                adapter="base",
                demand={"vram_gib": 1.0},
                options=(Option(steps=int(s), quality=1.0),),
            )
            for i, (arrival, s) in enumerate(zip(arrivals, steps, strict=True))
        ),
    )
