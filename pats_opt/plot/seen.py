"""A schedule as it is looked at: checked, replayed, measured, in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pats_opt.checker import Replayed, Verdict, check
from pats_opt.metrics import Metrics, bound_on_waiting, measure
from pats_opt.plot import style
from pats_opt.plot.columns import Columns, columns_of
from pats_opt.problem import Problem
from pats_opt.schedule import Schedule


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
    def batches(self) -> Sequence[Replayed]:
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
        return f"{style.label(self.schedule.solver.name)}: loss {self.verdict.loss:.6g}" + (
            f", NOT VALID ({wrong} violations)" if wrong else ""
        )

    @property
    def heading(self) -> str:
        """The same, with the instance's name before it."""
        return f"{style.label(self.schedule.instance.name, 60)}, {self.told}"
