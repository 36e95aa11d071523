"""PATS-opt: scheduling multi-LoRA diffusion serving, exactly, heuristically and online.

Five lines do the main job::

    import pats_opt

    instance = pats_opt.read_instance("instance.json")
    result = pats_opt.solve(instance, "milp", time_limit=60)
    assert pats_opt.check(instance, result.schedule).ok
    pats_opt.write_schedule(result.schedule, "schedule.json")

Names are imported when first used, so that ``import pats_opt`` is quick.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # importing it from typing would take most of the time of this module
if TYPE_CHECKING:
    from pats_opt.errors import (
        CapabilityError,
        InfeasibleError,
        InputError,
        NoScheduleError,
        PatsError,
        SolverError,
    )
    from pats_opt.generate.builder import Model
    from pats_opt.model.checker import Verdict, Violation, check
    from pats_opt.model.files import read_instance, read_schedule, write_instance, write_schedule
    from pats_opt.model.instance import Instance
    from pats_opt.model.problem import Problem
    from pats_opt.model.schedule import Schedule
    from pats_opt.solving.budget import solve_within
    from pats_opt.solving.result import BudgetResult, Result
    from pats_opt.solving.solve import solve

_HOMES = {
    "BudgetResult": "solving.result",
    "CapabilityError": "errors",
    "InfeasibleError": "errors",
    "InputError": "errors",
    "Instance": "model.instance",
    "Model": "generate.builder",
    "NoScheduleError": "errors",
    "PatsError": "errors",
    "Problem": "model.problem",
    "Result": "solving.result",
    "Schedule": "model.schedule",
    "SolverError": "errors",
    "Verdict": "model.checker",
    "Violation": "model.checker",
    "check": "model.checker",
    "read_instance": "model.files",
    "read_schedule": "model.files",
    "solve": "solving.solve",
    "solve_within": "solving.budget",
    "write_instance": "model.files",
    "write_schedule": "model.files",
}

__all__ = [
    "BudgetResult",
    "CapabilityError",
    "InfeasibleError",
    "InputError",
    "Instance",
    "Model",
    "NoScheduleError",
    "PatsError",
    "Problem",
    "Result",
    "Schedule",
    "SolverError",
    "Verdict",
    "Violation",
    "__version__",
    "check",
    "read_instance",
    "read_schedule",
    "solve",
    "solve_within",
    "write_instance",
    "write_schedule",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'pats_opt' has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(f"pats_opt.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
