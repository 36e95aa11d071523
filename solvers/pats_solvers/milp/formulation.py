"""A problem stated as a MILP: what all formulations have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import numpy as np

from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_solvers.milp.batches import BatchColumns
from pats_solvers.milp.family import TimeWindows
from pats_solvers.milp.model import Floats, ModelSize


class Formulation(ABC):
    """Adds a problem's columns and rows to a model, and keeps the columns by meaning.

    Attributes:
        problem: The problem.
        rejected: Column by job: whether the job is rejected.
    """

    problem: Problem
    rejected: dict[int, int]

    @abstractmethod
    def __init__(
        self, problem: Problem, windows: TimeWindows, model: ModelSize, margin: float = 0.0
    ) -> None:
        """State a problem.

        Args:
            problem: The problem.
            windows: Ticks worth considering.
            model: The model to add to.
            margin: Share of the room, and of a tick, that batches and switches leave unused, so
                that a solver's tolerance cannot break a rule. With 0 the bound is a bound.
        """

    @abstractmethod
    def plan(self, x: Floats) -> Plan:
        """Return the plan of an integral point."""

    @abstractmethod
    def point(self, plan: Plan, columns: int) -> Floats | None:
        """Return the point of a plan, or None where the model has no column for it.

        Args:
            plan: A valid plan.
            columns: How many columns the model has.
        """

    def _serve_once(self, parts: Iterable[BatchColumns], model: ModelSize) -> dict[int, int]:
        """Add rule 1, every job joins once or is rejected; return the rejection column by job."""
        row = model.add_rows(len(self.problem.jobs), 1.0, 1.0)
        for batches in parts:
            for j in batches.joins:
                model.add(row[j.way.job.index], j.columns)
        rejected = {}
        for job in self.problem.jobs:
            if job.reject_loss is not None:
                column = model.add_columns(1, cost=job.reject_loss)
                model.add(row[job.index], column)
                rejected[job.index] = int(column[0])
        return rejected

    def _rejections(self, plan: Plan, columns: int) -> Floats:
        """Return the point of a plan with nothing set but the rejections."""
        x = np.zeros(columns)
        served = {j for gpu in plan.gpus for b in gpu for j, _ in b.members}
        for job, column in self.rejected.items():
            x[column] = job not in served
        return x
