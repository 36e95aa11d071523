"""Bounds by pricing GPU time: one dynamic program an adapter."""

from pats_solvers.lagrangian.solver import Lagrangian

__all__ = ["Lagrangian"]
