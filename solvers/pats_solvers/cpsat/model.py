"""The model of positions: on each GPU a row of positions, the first ones filled with a batch each.

Its size depends on requests, options, GPUs and adapters, never on ticks. It states every problem.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from typing_extensions import override

from pats_opt.model.loss import switching_loss
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_solvers.cpsat.base import CpSatModel, Var
from pats_solvers.cpsat.constraints import PositionConstraints
from pats_solvers.cpsat.hint import PositionHint
from pats_solvers.cpsat.layout import OrderedBatch, normal, timed
from pats_solvers.cpsat.variables import PositionVariables


class PositionsModel(CpSatModel):
    """A problem as a CP-SAT model of positions.

    Attributes:
        variables: Its variables.
    """

    name: ClassVar[str] = "positions"
    bytes_per_size: ClassVar[int] = 12_000
    linearization: ClassVar[int] = 0

    @override
    def __init__(
        self,
        problem: Problem,
        known_loss: float | None = None,
        stop: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(problem, known_loss, stop)
        self.variables = PositionVariables(self.cp, problem, known_loss, self._go_on)
        self.exact = self.variables.exact
        PositionConstraints(self.cp, self.variables).add()
        self._objective()

    def _objective(self) -> None:
        """Price switches, rejections, options, latency and lateness."""
        v, site = self.variables, self.problem.site
        for row in v.rows:
            for p in row:
                for seconds, part in p.switch_parts:
                    self._pay(switching_loss(site, seconds), part)
        for job in self.problem.jobs:
            if job.reject_loss is not None:
                self._pay(job.reject_loss, v.rejected[job.index])
            for o, _, x in v.places(job):
                self._pay(job.options[o].quality_loss, x)
            price = site.latency_price_per_s * job.weight * site.tick_s
            self._pay(price, v.delay[job.index], v.longest_delay(job))
            if job.index in v.late:
                self._pay(site.late_price * job.weight, v.late[job.index])
        self._minimise()

    @classmethod
    @override
    def size(cls, problem: Problem) -> int:
        """Upper bound on the number of (job, option, GPU, position)."""
        hosts = [problem.hosts(job) for job in problem.jobs]
        positions = [sum(1 for h in hosts if gpu.index in h) for gpu in problem.site.gpus]
        return sum(
            len(job.options) * positions[g] for job in problem.jobs for g in hosts[job.index]
        )

    @override
    def plan(self, value: Callable[[Var], int]) -> Plan:
        gpus = [
            [
                OrderedBatch(
                    tuple(key for key, v in p.x.items() if value(v)),
                    frozenset(a for a, v in p.resident.items() if value(v)),
                )
                for p in row
                if value(p.used)
            ]
            for row in self.variables.rows
        ]
        return timed(self.problem, gpus)

    @override
    def hint(self, plan: Plan) -> None:
        """Hint a plan in the model's order, timed as early as possible, for every variable."""
        hint = PositionHint(self.variables)
        hint.set_plan(timed(self.problem, normal(self.problem, plan, self.variables.kept)))
        for variable, value in hint.values.values():
            self.cp.add_hint(variable, value)
