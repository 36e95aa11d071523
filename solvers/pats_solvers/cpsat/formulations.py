"""The models CP-SAT may be given, and which one states a problem best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_solvers.cpsat import circuit, packing
from pats_solvers.cpsat.build import Var
from pats_solvers.cpsat.hint import add_hint
from pats_solvers.cpsat.model import Model
from pats_solvers.cpsat.scaling import Losses


class CpModel(Protocol):
    """A problem as a CP-SAT model."""

    cp: Any  #: the ``CpModel``
    losses: Losses
    exact: bool  #: whether durations are the clock's own in every case

    def plan(self, value: Callable[[Var], int]) -> Plan:
        """The plan of a solution's values."""
        ...


@dataclass(frozen=True, slots=True)
class Formulation:
    """One way to state a problem.

    Attributes:
        unfit: Why it cannot state a problem, or None.
        size: What the model's size grows with.
        bytes_per_size: Memory per unit of ``size``, once for the model and once per worker.
        build: The model of the schedules of at most a known loss; asks whether to stop.
        hint: Hints a plan for every variable of the model.
        linearization: CP-SAT's ``linearization_level`` that suits it.
        probing: CP-SAT's ``cp_model_probing_level``; on a large flow it costs more than it gives.
        quick_plan: A good plan at once, or None.
    """

    unfit: Callable[[Problem], str | None]
    size: Callable[[Problem], int]
    bytes_per_size: int
    build: Callable[[Problem, float | None, Callable[[], object]], CpModel]
    hint: Callable[[Any, Plan], None]
    linearization: int
    probing: int
    quick_plan: Callable[[Problem, Callable[[], object]], Plan | None] = lambda *_: None


def choices(problem: Problem) -> int:
    """How many (job, option, GPU, position) there are at most."""
    hosts = [problem.hosts(job) for job in problem.jobs]
    positions = [sum(1 for h in hosts if gpu.index in h) for gpu in problem.site.gpus]
    return sum(len(job.options) * positions[g] for job in problem.jobs for g in hosts[job.index])


#: By name, the most special first. Bytes were measured as peaks of 40 s with 60 to 300 requests.
FORMULATIONS: dict[str, Formulation] = {
    "packing": Formulation(
        unfit=packing.unfit,
        size=packing.arcs,
        bytes_per_size=5_000,
        build=packing.Packing,
        hint=packing.Packing.hint,
        linearization=2,
        probing=0,
        quick_plan=packing.quick_plan,
    ),
    "circuit": Formulation(
        unfit=circuit.unfit,
        size=circuit.arcs,
        bytes_per_size=8_000,
        build=circuit.Circuit,
        hint=circuit.Circuit.hint,
        linearization=2,
        probing=2,
    ),
    "positions": Formulation(
        unfit=lambda _: None,
        size=choices,
        bytes_per_size=12_000,
        build=Model,
        hint=add_hint,
        linearization=0,
        probing=2,
    ),
}


def chosen(problem: Problem) -> str:
    """The name of the first formulation that can state a problem."""
    return next(name for name, f in FORMULATIONS.items() if f.unfit(problem) is None)


def leads(problem: Problem) -> bool:
    """Whether a problem's structure lets CP-SAT prove optima where other methods do not.

    That is so where it is a packing, and where it is a sequence that only switching makes dear.
    Where waiting costs, the circuit's bound is poor.
    """
    name = chosen(problem)
    site = problem.site
    waiting = site.latency_price_per_s > 0 or site.late_price > 0
    return name == "packing" or (name == "circuit" and not waiting)
