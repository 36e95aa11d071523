"""Small problems with levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pats_opt.core.registry import make
from pats_opt.core.solver import Solver
from pats_opt.model.files import parse_instance
from pats_opt.model.problem import Problem
from pats_opt.simulate import simulate

#: Steps left out, and relative quality.
LEVELS = ((0, 1.0), (2, 0.9), (4, 0.7))

#: Steps of a request at level 0.
STEPS = 6


def request(index: int, arrival_s: float, **changes: Any) -> dict[str, Any]:
    """A request at every level of :data:`LEVELS`."""
    level = changes.pop("cache_level", None)
    lookup = {"approximate_cache": {"level": level, "similarity": 0.9}}
    made: dict[str, Any] = {
        "id": f"r{index}",
        "arrival_s": arrival_s,
        "adapter": "base",
        "demand": {"vram_gib": 1.0},
        "options": [{"steps": STEPS - k, "skip": k, "quality": q} for k, q in LEVELS],
    }
    if level is not None:
        made["extra"] = lookup
    return made | changes


def problem(requests: Sequence[dict[str, Any]], gpus: int = 1, **changes: Any) -> Problem:
    """Requests on GPUs that hold four at a time; a step takes 0.5 s and 0.5 s a member."""
    document: dict[str, Any] = {
        "format": "pats-opt/instance",
        "version": 1,
        "name": "levels",
        "tick_s": 0.5,
        "base_vram_gib": 1.0,
        "gpus": [{"id": f"gpu-{g}", "capacity": {"vram_gib": 5.0}} for g in range(gpus)],
        "adapters": [{"id": "base", "vram_gib": 0.0, "load_s": 0.0}],
        "switching": {"max_resident": 1, "max_per_batch": 1, "activate_s": 0.0, "price_per_s": 0.0},
        "service": {"kind": "steps", "step_s": {"base": 0.5, "per_sample": 0.5}},
        "latency_price_per_s": 0.1,
        "requests": list(requests),
    }
    return Problem(parse_instance(msgspec.json.encode(document | changes)))


#: GPU, start tick and members of a batch, each member as job index and level.
Served = tuple[int, int, tuple[tuple[int, int], ...]]


def served(given: Problem, spec: str, seed: int = 0) -> list[Served]:
    """The batches that a policy makes, by start."""
    policy = make(spec)
    assert not isinstance(policy, Solver)
    plan = simulate(given, policy, seed=seed).plan
    assert plan is not None
    return sorted(
        (
            (g, b.start, tuple((j, given.jobs[j].options[o].skip) for j, o in b.members))
            for g, batches in enumerate(plan.gpus)
            for b in batches
        ),
        key=lambda batch: (batch[1], batch[0]),
    )
