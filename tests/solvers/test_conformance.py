"""The conformance suite on every built-in solver."""

from __future__ import annotations

import json
from functools import cache

from pats_opt.core import registry
from pats_opt.core.policy import Policy
from pats_opt.core.solver import Kind, Solver
from pats_opt.model.files import encode
from pats_opt.model.instance import Instance
from pats_opt.testing.solvers import SolverConformance
from tests.support import scale
from tests.support.brute_force import brute_force


@cache
def optimum_of(document: bytes) -> float | None:
    return brute_force(json.loads(document))


class Conformance(SolverConformance):
    """The suite with optima by exhaustive search."""

    spec: str
    seeds = scale.seeds(12)

    def make(self) -> Solver | Policy:
        """The built-in solver or policy that ``spec`` names."""
        return registry.make(self.spec)

    def optimum(self, instance: Instance) -> float | None:
        """The optimum by exhaustive search."""
        return optimum_of(encode(instance))


class TestAuto(Conformance):
    """``auto``."""

    spec = "auto"


class TestExact(Conformance):
    """``exact``."""

    spec = "exact"


class TestDp(Conformance):
    """``dp``."""

    spec = "dp"


class TestMilp(Conformance):
    """``milp``."""

    spec = "milp"


class TestCpSat(Conformance):
    """``cpsat``."""

    spec = "cpsat"


class TestLocalSearch(Conformance):
    """``local-search``."""

    spec = "local-search"


class TestBelady(Conformance):
    """``belady``."""

    spec = "belady"


class TestLagrangian(Conformance):
    """``lagrangian``."""

    spec = "lagrangian"


def test_every_built_in_has_its_suite() -> None:
    """Policies have theirs in ``tests/online``, and ``served`` in ``tests/report``."""
    covered = {suite.spec for suite in Conformance.__subclasses__()}
    offline = {n for n in registry.BUILT_IN if registry.load(n).kind is not Kind.ONLINE}
    assert covered >= offline - {"served"}
