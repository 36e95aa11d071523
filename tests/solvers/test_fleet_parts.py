"""Parts of a fleet: problems of their own, planned anew one after another."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import combinations
from typing import ClassVar

import pytest

from pats_opt.core.solver import ALL_FEATURES, Capabilities, Feature, Kind, Outcome, Run
from pats_opt.generate import generate
from pats_opt.generate.recipe import GpuSettings, Recipe
from pats_opt.model.checker import valid_loss
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_opt.solving.starts import PolicyStarts
from pats_opt.testing.instances import random_features, random_instance
from pats_opt.testing.solvers import close
from pats_solvers.common.incumbent import Incumbent
from pats_solvers.fleet_parts import SHARE, FleetPart, PartSearch
from pats_solvers.guided import GuidedSearch

FLEET = Recipe(requests=12, gpus=GpuSettings(count=3))


@dataclass
class Listed:
    """A solver that finds nothing better, and notes the GPUs and the run of each part."""

    name: ClassVar[str] = "listed"
    kind: ClassVar[Kind] = Kind.HEURISTIC
    capabilities: ClassVar[Capabilities] = Capabilities()
    asked: list[tuple[str, ...]] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Return the plan to start from."""
        self.asked.append(tuple(gpu.id for gpu in problem.site.gpus))
        self.runs.append(run)
        return Outcome(StopReason.COMPLETE, run.start[0] if run.start else None)


def started(problem: Problem) -> Incumbent:
    """An incumbent with the schedule of a policy."""
    return Incumbent(problem, Run(start=PolicyStarts(problem, Run()).first()))


@pytest.mark.parametrize("seed", range(40))
def test_a_part_gains_what_the_whole_gains(seed: int) -> None:
    """With every feature, loads beside serving included: losses of GPUs add up."""
    rng = random.Random(seed)
    among = ALL_FEATURES | {Feature.OVERLAP}
    wanted = random_features(rng, 0.3, among) | {Feature.GPUS}
    problem = Problem(random_instance(rng, wanted - {Feature.SLOT}, requests=(3, 5)))
    incumbent = started(problem)
    assert incumbent.plan is not None
    part = FleetPart.of(problem, incumbent.plan, (1,))
    assert part.put_into(incumbent.plan, part.plan) == incumbent.plan
    before = valid_loss(part.problem, part.plan)
    better = GuidedSearch().solve(part.problem, Run(time_limit=20)).plan
    assert before is not None
    assert better is not None
    after, whole = valid_loss(part.problem, better), part.put_into(incumbent.plan, better)
    changed = valid_loss(problem, whole)
    assert after is not None
    assert changed is not None
    assert close(incumbent.loss - changed, before - after)


def test_each_part_once_while_nothing_changes() -> None:
    """First each GPU, then each two of them."""
    problem = Problem(generate(FLEET, seed=1))
    solver = Listed()
    search = PartSearch(started(problem), solver)
    while not search.ended:
        search.advance()
    ids = [gpu.id for gpu in problem.site.gpus]
    assert sorted(solver.asked[:3]) == [(name,) for name in ids]
    assert sorted(solver.asked[3:]) == list(combinations(ids, 2))


def test_what_has_changed_is_planned_again() -> None:
    problem = Problem(generate(FLEET, seed=1))
    incumbent, solver = started(problem), Listed()
    search = PartSearch(incumbent, solver)
    while not search.ended:
        search.advance()
    before, planned = incumbent.plan, len(solver.asked)
    best = GuidedSearch().solve(problem, Run(start=incumbent.start)).plan
    assert before is not None
    assert best is not None
    incumbent.offer(best)
    assert best != before
    while not search.ended:
        search.advance()
    same = [one == other for one, other in zip(before.gpus, best.gpus, strict=True)]
    changed = [parts for parts in _parts(3) if not all(same[g] for g in parts)]
    assert len(solver.asked) - planned == len(changed) > 0


def _parts(gpus: int) -> list[tuple[int, ...]]:
    return [part for size in (1, 2) for part in combinations(range(gpus), size)]


def test_parts_lower_the_loss() -> None:
    """From a policy's schedule, without any other search."""
    problem = Problem(generate(FLEET, seed=1))
    incumbent = started(problem)
    before, search = incumbent.loss, PartSearch(incumbent, GuidedSearch())
    while not search.ended:
        search.advance()
    assert incumbent.loss < before
    optimum = GuidedSearch().solve(problem, Run(start=incumbent.start))
    assert optimum.bound is not None
    assert incumbent.loss >= optimum.bound - 1e-9


def test_a_part_gets_its_share_of_the_time_and_the_interrupt() -> None:
    problem = Problem(generate(FLEET, seed=1))
    incumbent, solver = started(problem), Listed()
    incumbent.run.time_limit = 1e6
    PartSearch(incumbent, solver).advance()
    (run,) = solver.runs
    assert run.interrupted is incumbent.run.interrupted
    assert run.time_limit is not None
    assert run.time_limit == pytest.approx(SHARE / 3 * 1e6, rel=1e-3)
