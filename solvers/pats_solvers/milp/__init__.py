"""The ``milp`` solver: the documents' MILP over batch shapes, solved by HiGHS, SCIP or CBC."""

from pats_solvers.milp.solver import Milp

__all__ = ["Milp"]
