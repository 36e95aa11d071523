"""Local search: adapters taken out and put back where GPU time is free, and moves of batches."""

from pats_solvers.local.solver import LocalSearch

__all__ = ["LocalSearch"]
