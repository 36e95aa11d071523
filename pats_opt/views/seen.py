"""A schedule as it is looked at: checked, replayed, measured, in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pats_opt.model.checker import ReplayedBatch, Verdict, check
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule
from pats_opt.tables import Metrics, bound_on_waiting, measure
from pats_opt.views.columns import Columns, columns_of
from pats_opt.wording import label


@dataclass(frozen=True)
class Seen:
    """A schedule as it is looked at: checked, replayed, measured."""

    problem: Problem
    schedule: Schedule
    verdict: Verdict

    @classmethod
    def of(cls, problem: Problem, schedule: Schedule) -> Seen:
        """Check and replay a schedule.

        Raises:
            InputError: It was made for another instance.
        """
        return cls(problem, schedule, check(problem, schedule))

    @property
    def batches(self) -> Sequence[ReplayedBatch]:
        """Its batches as the rules make them."""
        return self.verdict.replayed

    @cached_property
    def columns(self) -> Columns:
        """What is drawn."""
        return columns_of(self.problem, self.batches, self.schedule)

    @cached_property
    def metrics(self) -> Metrics:
        """Its figures."""
        bound = bound_on_waiting(self.schedule.solver.params)
        return measure(self.problem, self.batches, max_wait_s=bound)

    @property
    def told(self) -> str:
        """One line: who made it, its loss, and that it is wrong where it is."""
        wrong = len(self.verdict.violations)
        return f"{label(self.schedule.solver.name)}: loss {self.verdict.loss:.6g}" + (
            f", NOT VALID ({wrong} violations)" if wrong else ""
        )

    @property
    def heading(self) -> str:
        """The same, with the instance's name before it."""
        return f"{label(self.schedule.instance.name, 60)}, {self.told}"
