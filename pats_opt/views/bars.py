"""Colours of bars: by adapter; by level where requests have levels and share one adapter.

Where adapters outnumber colours, bars have the colours of batches by cache hit and size.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

from pats_opt.tables import ScheduleTable, level_counts, levels_of
from pats_opt.tables.levels import batch_levels, request_levels
from pats_opt.views import style
from pats_opt.views.style import BarLegend, LegendEntry
from pats_opt.wording import label

if TYPE_CHECKING:
    from pats_opt.tables.statistics import Ints

#: Least size of each class of batches, and the names of the classes.
SIZES = (1, 2, 4)
SIZE_NAMES = ("batch of 1", "batch of 2 or 3", "batch of 4 or more")

#: Colours of the classes of batches: hits from pale to dark blue, then misses in orange.
BATCH_COLOURS = ("#A6CEE8", "#3F97CE", "#0B4F80", "#FAD28C", "#E69F00", "#9C5700")

#: Names of the classes of batches.
BATCH_NAMES = tuple(f"{result}, {size}" for result in ("hit", "miss") for size in SIZE_NAMES)


class BarStyle(NamedTuple):
    """Colours of the bars of one schedule.

    Attributes:
        of: What they mean.
        names: Names of the adapters, levels or classes of batches.
        colours: A colour for each of them.
        requests: Index of each served request among them.
        batches: The same of each batch, that of most members; -1 where it has none.
    """

    of: Literal["adapters", "levels", "batches"]
    names: list[str]
    colours: list[str]
    requests: Ints
    batches: Ints

    @property
    def by_level(self) -> bool:
        """Whether colours mean levels."""
        return self.of == "levels"

    @property
    def by_adapter(self) -> bool:
        """Whether colours mean adapters."""
        return self.of == "adapters"


def bar_style(table: ScheduleTable) -> BarStyle:
    """Return the colours of a schedule's bars.

    With one adapter, a colour would say nothing of it, so that levels have the colours. With more
    adapters than colours, none would identify an adapter, so that batches have them.
    """
    import numpy as np

    problem = table.problem
    levels, asked = levels_of(problem), style.adapter_colours(problem)
    if len(asked) > style.MOST_COLOURS:
        classes = batch_classes(table)
        members = classes[table.requests.batch]
        return BarStyle("batches", [*BATCH_NAMES], [*BATCH_COLOURS], members, classes)
    if not levels or len(asked) > 1:
        return BarStyle(
            "adapters",
            [label(name) for name in problem.site.adapter_ids],
            style.colour_list(problem),
            table.requests.adapter,
            table.main_adapter,
        )
    main = batch_levels(table)
    return BarStyle(
        "levels",
        [style.level_name(level) for level in levels],
        style.level_colours(levels),
        np.searchsorted(levels, request_levels(table)),
        np.where(main < 0, -1, np.searchsorted(levels, main)),
    )


def bar_legend(table: ScheduleTable, most: int = style.MOST_KEYS) -> BarLegend:
    """Return the legend of a schedule's bars."""
    bars = bar_style(table)
    if bars.by_level:
        return served_legend(table, most)
    if bars.of == "batches":
        counts = Counter(bars.requests.tolist())
        entries = enumerate(zip(bars.colours, bars.names, strict=True))
        keys = tuple(LegendEntry(colour, name, counts[k]) for k, (colour, name) in entries)
        return BarLegend(keys, more=0, repeat=False, others=False, of="batches")
    return style.adapter_legend(table.problem, most)


def batch_classes(table: ScheduleTable) -> Ints:
    """Return the class of each batch among :data:`BATCH_NAMES`; -1 where it has no members."""
    import numpy as np

    size = table.batches.size
    found = np.searchsorted(SIZES, size, "right") - 1 + len(SIZES) * table.missed
    return np.where(size > 0, found, -1)


def served_legend(table: ScheduleTable, most: int = style.MOST_KEYS) -> BarLegend:
    """Return the legend of the levels of a schedule, with the requests served at each."""
    counts = dict(level_counts(table))
    return style.level_legend({k: counts.get(k, 0) for k in levels_of(table.problem)}, most)
