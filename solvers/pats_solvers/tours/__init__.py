"""Tours: problems in which only the order of the adapters costs, by branch and cut."""

from pats_solvers.tours.solver import TourSearch
from pats_solvers.tours.tour import is_tour

__all__ = ["TourSearch", "is_tour"]
