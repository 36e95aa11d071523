"""The report's pictures: inline SVG made of the table, one module a picture.

Each module has a function that draws into given axes, for notebooks and papers, and one that makes
the report's picture of it, or None where the table lacks the numbers.
"""

from __future__ import annotations

from pats_opt.report.collect import Table
from pats_opt.report.figures import anytime, instances, intervals, latency, profile, terms, tradeoff
from pats_opt.report.figures.looks import Picture, looks
from pats_opt.views import style

__all__ = ["Picture", "pictures"]

#: What makes each picture, by its name.
MAKERS = {
    "intervals": intervals.picture,
    "profile": profile.picture,
    "times": profile.times_picture,
    "anytime": anytime.picture,
    "latency": latency.picture,
    "instances": instances.picture,
    "terms": terms.picture,
    "tradeoff": tradeoff.picture,
}


def pictures(table: Table) -> dict[str, Picture]:
    """The pictures that the table has the numbers for, by name."""
    shown = looks(table.solvers)
    with style.drawing():
        made = {name: make(table, shown) for name, make in MAKERS.items()}
    return {name: picture for name, picture in made.items() if picture is not None}
