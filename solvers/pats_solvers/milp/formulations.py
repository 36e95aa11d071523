"""The formulations of the MILP, and which of them suits a problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pats_opt.errors import CapabilityError
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_solvers.milp.counting import write_counting
from pats_solvers.milp.extract import flow_plan, flow_point
from pats_solvers.milp.flow import write_flow
from pats_solvers.milp.indicator import indicator_plan, indicator_point, write_indicator
from pats_solvers.milp.model import Floats

Formulation = Literal["auto", "flow", "counting", "indicator"]


@dataclass(frozen=True, slots=True)
class Written:
    """One formulation.

    Attributes:
        write: Writes the model to a sheet; returns its columns by meaning.
        plan: The plan of a whole-numbered point.
        point: The point of a plan, or None where the model has no place for it.
    """

    write: Callable[..., Any]
    plan: Callable[[Problem, Any, Floats], Plan]
    point: Callable[[Problem, Any, Plan, int], Floats | None]


_FLOW = Written(write_flow, flow_plan, flow_point)
_COUNTING = Written(write_counting, flow_plan, flow_point)
_INDICATOR = Written(write_indicator, indicator_plan, indicator_point)


def chosen(problem: Problem, formulation: Formulation) -> Written:
    """The formulation asked for; ``auto`` is counting with one resident adapter, else indicators.

    Raises:
        CapabilityError: It cannot state this problem.
    """
    if formulation == "auto":
        formulation = "counting" if problem.site.max_resident == 1 else "indicator"
    if formulation != "indicator" and problem.site.max_resident > 1:
        raise CapabilityError(
            f"formulation {formulation!r} cannot handle max_resident above 1",
            hint="leave 'formulation' out, or set it to indicator",
        )
    if formulation == "indicator" and problem.site.pairs:
        raise CapabilityError(
            "formulation 'indicator' cannot handle pairwise switching times",
            hint="leave 'formulation' out, or set it to flow",
        )
    return {"flow": _FLOW, "counting": _COUNTING, "indicator": _INDICATOR}[formulation]
