"""Exact dynamic program over batch sequences on one GPU, widened from a beam until it proves."""

from pats_solvers.dp.solver import Dp

__all__ = ["Dp"]
