"""The systems, and the policies that run on each.

One GPU, two adapters on the grid, full images of 60 steps of 0.06 s, and where there are two
options also 20 steps at less quality. Step time is the same for every batch (profile
``documents``). Loads are offered loads: full batches at full steps with a switch each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from msgspec.structs import replace

from pats_opt.generate import Recipe
from pats_opt.generate.config import Mix
from pats_opt.generate.recipe import (
    AdapterCache,
    Arrivals,
    Complexity,
    GpuSettings,
    Popularity,
    StepCounts,
)
from pats_opt.limits.stationary import StationaryLoad, stationary_load

#: Full steps, fewer steps, and seconds of a full image alone.
FULL, FEWER, SERVICE_S = 60.0, 20, 3.6

LOADS = (0.5, 0.8, 1.1)
RATIOS = (0.3, 3.0, 30.0)
SKEWS = (0.0, 1.5)
OPTIONS = (1, 2)
BATCHES = (1, 4)
#: Adapters of the systems that are too large for the online optimum; all else is as in the grid.
MANY, MANY_LOAD, MANY_SKEW = (4, 8, 16), 0.8, 0.8
#: Coefficient of variation of the gaps between bursty arrivals.
BURSTY_CV = 3.0

#: The policy that the page is about.
OURS = "price-index"

#: All at the documents' fewest steps, which loses least of the step rules; some with others.
POLICIES = (
    OURS,
    "exhaustive:option=fewest",
    "exhaustive:option=priced",
    "exhaustive",
    "cost-aware:option=fewest",
    "family-index:option=fewest",
    "patient:option=fewest",
    "amortized:option=fewest",
    "gated:option=fewest",
    "k-limited:option=fewest",
    "credits:option=fewest",
    "affinity:option=fewest",
    "srpt:option=fewest",
    "polar:option=fewest",
    "pats",
    "pats:threshold=1",
    "fifo:option=fewest",
    "fifo",
)

#: Policies whose decisions are compared with the best ones.
EXPLAINED = (OURS, "exhaustive:option=fewest", "cost-aware:option=fewest", "pats")


@dataclass(frozen=True)
class Cell:
    """A system of the grid.

    Attributes:
        load: Offered load.
        ratio: Seconds of a switch for each second of a full image alone.
        skew: Zipf exponent of the adapters' popularity.
        options: Step counts of a request.
        batch: Largest batch.
        adapters: Number of adapters.
    """

    load: float
    ratio: float
    skew: float
    options: int
    batch: int
    adapters: int = 2

    @property
    def name(self) -> str:
        """The cell in a table."""
        return (
            f"load {self.load:g}, switch {self.ratio:g}, skew {self.skew:g}, "
            f"options {self.options}, batch {self.batch}"
        )

    def recipe(self) -> Recipe:
        """Return the recipe of its Poisson arrivals."""
        return Recipe(
            popularity=Popularity(adapters=self.adapters, zipf=self.skew),
            complexity=Complexity(levels=Mix(values=(0.5,))),
            steps=StepCounts(full=Mix(values=(FULL,)), pruned=(FEWER,) * (self.options - 1)),
            gpus=GpuSettings(batch=self.batch),
            switching=AdapterCache(load_s=(SERVICE_S * self.ratio,)),
            arrivals=Arrivals(load=self.load, batch=self.batch),
        )


def cells() -> Iterator[Cell]:
    """Return the grid."""
    for values in product(LOADS, RATIOS, SKEWS, OPTIONS, BATCHES):
        yield Cell(*values)


def large() -> Iterator[Cell]:
    """Return the systems with many adapters."""
    for adapters, ratio in product(MANY, RATIOS):
        yield Cell(MANY_LOAD, ratio, MANY_SKEW, max(OPTIONS), max(BATCHES), adapters)


def bursty(load: StationaryLoad) -> StationaryLoad:
    """Return a load with the same requests and rate, whose arrivals come in bursts."""
    arrivals = replace(load.recipe.arrivals, process="bursty", cv=BURSTY_CV)
    return StationaryLoad(
        replace(load.recipe, arrivals=arrivals), load.site, load.kinds, load.rate_per_s
    )


def load_of(cell: Cell) -> StationaryLoad:
    """Return the Poisson load of a cell."""
    return stationary_load(cell.recipe())
