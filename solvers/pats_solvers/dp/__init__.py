"""Exact dynamic program over batch sequences, widened from a beam until it proves."""

from pats_solvers.dp.solver import Dp, alone

__all__ = ["Dp", "alone"]
