"""The problem that kernels are compiled on."""

from __future__ import annotations

from functools import cache

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


@cache
def small_problem(gpus: int = 1) -> Problem:
    """Return a problem that is solved at once: solvers compile their kernels by solving it.

    Args:
        gpus: How many GPUs it has.
    """
    options = Option(steps=1, quality=0.8), Option(steps=2, quality=1.0)
    return Problem(
        Instance(
            name="small",
            tick_s=1.0,
            base_vram_gib=0.0,
            gpus=tuple(Gpu(id=f"gpu-{g}", capacity={"vram_gib": 3.0}) for g in range(gpus)),
            adapters=tuple(Adapter(id=a, vram_gib=1.0, load_s=1.0) for a in "ab"),
            switching=Switching(max_resident=1, price_per_s=1.0),
            service=StepsService(step_s=StepTime(base=1.0, per_sample=0.0)),
            latency_price_per_s=1.0,
            requests=tuple(
                Request(
                    id=f"r{i}",
                    arrival_s=i,
                    adapter=a,
                    demand={"vram_gib": 1.0},
                    options=options,
                    weight=1.0 + i,
                )
                for i, a in enumerate("abab")
            ),
        )
    )
