"""Every exact solver and backend against exhaustive search on tiny instances of every feature.

``PATS_OPT_DEPTH=50 pytest tests/solvers/test_exact_against_brute_force.py`` tries more of them.
"""

from __future__ import annotations

import json

import pytest

from pats_opt.core.solver import Feature, features
from pats_opt.errors import CapabilityError, InfeasibleError
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.instance import Instance
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import SolutionStatus, StopReason
from pats_opt.solving.solve import runnable, solve
from pats_opt.testing.solvers import close
from tests.support import scale
from tests.support.overlap_zoo import OVERLAP_ZOO
from tests.support.tiny import tiny
from tests.support.zoo import ZOO, Solved

SOLVERS = (
    "dp",
    "dp:first=2",
    "milp:backend=highs",
    "milp:backend=scip",
    "milp:backend=cbc",
    "milp:formulation=flow",
    "milp:formulation=indicator",
    "cpsat",
    "cpsat:formulation=positions",
    "exact",
    "auto",
)

#: The hand-solved instances by name.
CASES = {make.__name__: make() for make in ZOO + OVERLAP_ZOO}

#: What a parameter takes away from a solver's record.
LACKS = {
    "milp:formulation=flow": frozenset(
        (Feature.RESIDENT, Feature.MIXED_BATCH, Feature.ACTIVATE, Feature.OVERLAP)
    ),
    "milp:formulation=indicator": frozenset((Feature.PAIRS,)),
}

#: Random instances per feature, and of random mixes of features, for each solver.
SEEDS = len(scale.seeds(10))

#: Far above what any of these takes; only a solver that never ends meets it.
TIME_LIMIT_S = 120.0


def agree(spec: str, instance: Instance, optimum: float | None) -> None:
    """The solver proves exactly the optimum, or refuses what its record says that it lacks."""
    able = runnable(spec).capabilities.features - LACKS.get(spec, frozenset())
    if not features(Problem(instance)) <= able:
        with pytest.raises(CapabilityError):
            solve(instance, spec, time_limit=TIME_LIMIT_S)
        return
    if optimum is None:
        with pytest.raises(InfeasibleError):
            solve(instance, spec, time_limit=TIME_LIMIT_S)
        return
    result = solve(instance, spec, time_limit=TIME_LIMIT_S)
    document = encode(instance).decode()
    assert result.status.stop is StopReason.OPTIMAL, document
    assert result.status.point is SolutionStatus.OPTIMAL
    assert result.loss is not None
    assert result.bound is not None
    assert close(result.loss, optimum), f"loss {result.loss}, optimum {optimum}: {document}"
    assert close(result.bound, optimum), f"bound {result.bound}, optimum {optimum}: {document}"


@pytest.mark.parametrize("feature", [*sorted(Feature), None], ids=lambda f: f.name if f else "MIX")
@pytest.mark.parametrize("spec", SOLVERS)
def test_random_instances(spec: str, feature: Feature | None) -> None:
    """The optimum of each random instance of one feature."""
    for seed in range(SEEDS if feature else 5 * SEEDS):
        agree(spec, *tiny(feature, seed))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("spec", SOLVERS)
def test_zoo(spec: str, case: Solved) -> None:
    """The optimum that was worked out by hand."""
    agree(spec, parse_instance(json.dumps(case.document)), case.loss)
