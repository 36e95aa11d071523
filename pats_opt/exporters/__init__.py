"""Export of checked schedules to other formats.

An exporter is a function from a problem and a valid schedule to an :class:`Exported`. It raises
:class:`~pats_opt.errors.InputError` where the instance is not of its kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pats_opt.errors import InputError
from pats_opt.model.checker import check
from pats_opt.model.instance import Instance
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule, SolutionStatus

#: Format -> ("module:function" of its exporter, one-line help), in the order they are listed.
FORMATS: dict[str, tuple[str, str]] = {
    "bin-packing": ("pats_opt.exporters.formats:export_bins", "bins with their items and loads"),
    "tsplib": ("pats_opt.exporters.formats:export_tour", "a TSPLIB .tour file"),
    "csplib058": ("pats_opt.exporters.formats:export_plan", "the item made in each period"),
    "graph": ("pats_opt.exporters.formats:export_graph", "the adapters' changeovers as GraphML"),
}


@dataclass(frozen=True, slots=True)
class Exported:
    """A schedule in another format.

    Attributes:
        text: The file of that format.
        document: The same for JSON, with at least ``format`` and ``objective``, the value in the
            terms of the format (None where it has none).
    """

    text: str
    document: dict[str, Any]


def checked(instance: Instance, schedule: Schedule) -> Problem:
    """Check a schedule and return its problem.

    Raises:
        InputError: The schedule is invalid or missing.
    """
    problem = Problem(instance)
    if schedule.status.point is SolutionStatus.NONE:
        raise InputError("there is no schedule in it", place="status.point", hint="solve again")
    check(problem, schedule).require_valid()
    return problem


def export(name: str, problem: Problem, schedule: Schedule) -> Exported:
    """Export a checked schedule in the format ``name``, a key of :data:`FORMATS`.

    Raises:
        InputError: The instance is not of this format's kind.
    """
    module, _, attribute = FORMATS[name][0].partition(":")
    exporter: Callable[[Problem, Schedule], Exported] = getattr(import_module(module), attribute)
    return exporter(problem, schedule)
