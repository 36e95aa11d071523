"""A checked schedule with its table, metrics and chart, each computed on first use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pats_opt.model.checker import Verdict, check
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule
from pats_opt.tables import Metrics, ScheduleTable, bound_on_waiting, measure
from pats_opt.views.chart import Chart
from pats_opt.wording import counted, label


@dataclass(frozen=True)
class ScheduleView:
    """A checked schedule and everything that pages and pictures show of it."""

    problem: Problem
    schedule: Schedule
    verdict: Verdict

    @classmethod
    def of(cls, problem: Problem, schedule: Schedule) -> ScheduleView:
        """Check and replay a schedule.

        Raises:
            InputError: It was made for another instance.
        """
        return cls(problem, schedule, check(problem, schedule))

    @cached_property
    def table(self) -> ScheduleTable:
        """What the schedule does."""
        return ScheduleTable.from_replay(self.problem, self.verdict.replayed)

    @cached_property
    def chart(self) -> Chart:
        """Its drawing data."""
        return Chart.of(self.table, self.schedule)

    @cached_property
    def metrics(self) -> Metrics:
        """Its metrics."""
        return measure(self.table, max_wait_s=bound_on_waiting(self.schedule.solver.params))

    @property
    def title(self) -> str:
        """Solver and loss in one line, and a warning where the schedule is not valid."""
        wrong = len(self.verdict.violations)
        return f"{label(self.schedule.solver.name)}: loss {self.verdict.loss:.6g}" + (
            f", NOT VALID ({counted(wrong, 'violation')})" if wrong else ""
        )

    @property
    def heading(self) -> str:
        """The title, after the instance's name."""
        return f"{label(self.schedule.instance.name, 60)}, {self.title}"
