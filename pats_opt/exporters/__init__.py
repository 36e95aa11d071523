"""Exporters: a checked schedule in the terms of the problem that its instance was imported from.

An exporter is a function from a problem and a valid schedule to an :class:`Exported`. It may raise
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
    "bin-packing": ("pats_opt.exporters.bin_packing:export", "bins with their items and loads"),
    "tsplib": ("pats_opt.exporters.tsplib:export", "a TSPLIB .tour file"),
    "csplib058": ("pats_opt.exporters.csplib058:export", "the item made in each period"),
    "graph": ("pats_opt.exporters.graph:export", "the adapters' changeovers as GraphML"),
}


@dataclass(frozen=True, slots=True)
class Exported:
    """A schedule in another format.

    Attributes:
        text: The file of that format.
        document: The same for JSON: at least ``format`` and ``objective``, the value in the
            source's terms (None where the format has none).
    """

    text: str
    document: dict[str, Any]


def checked(instance: Instance, schedule: Schedule) -> Problem:
    """The problem, once the schedule has passed the checker.

    Raises:
        InputError: It has not, or it holds no schedule.
    """
    problem = Problem(instance)
    if schedule.status.point is SolutionStatus.NONE:
        raise InputError("there is no schedule in it", place="status.point", hint="solve again")
    verdict = check(problem, schedule)
    if not verdict.ok:
        first = verdict.violations[0]
        raise InputError(
            f"the schedule breaks rule {first.rule}: {first.message}",
            place=first.place,
            hint="'pats-opt check' lists all violations",
        )
    return problem


def export(name: str, problem: Problem, schedule: Schedule) -> Exported:
    """A checked schedule in the format ``name``, a key of :data:`FORMATS`.

    Raises:
        InputError: The instance is not of this format's kind.
    """
    module, _, attribute = FORMATS[name][0].partition(":")
    exporter: Callable[[Problem, Schedule], Exported] = getattr(import_module(module), attribute)
    return exporter(problem, schedule)
