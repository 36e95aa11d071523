"""Exact dynamic program over batch sequences, widened from a beam until it proves."""

from pats_solvers.dp.passes import alone
from pats_solvers.dp.solver import Dp

__all__ = ["Dp", "alone"]
