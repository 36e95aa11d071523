"""Colours of bars: by adapter, or by level where requests have levels and share one adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pats_opt.tables import ScheduleTable, level_counts, levels_of
from pats_opt.tables.levels import batch_levels, request_levels
from pats_opt.views import style
from pats_opt.views.style import BarLegend
from pats_opt.wording import label

if TYPE_CHECKING:
    from pats_opt.tables.statistics import Ints


class BarStyle(NamedTuple):
    """Colours of the bars of one schedule.

    Attributes:
        by_level: Whether they mean levels; else adapters.
        names: Names of the adapters or levels.
        colours: A colour for each of them.
        requests: Index of each served request among them.
        batches: The same of each batch, that of most members; -1 where it has none.
    """

    by_level: bool
    names: list[str]
    colours: list[str]
    requests: Ints
    batches: Ints

    @property
    def of(self) -> str:
        """Name of all of them."""
        return "levels" if self.by_level else "adapters"


def bar_style(table: ScheduleTable) -> BarStyle:
    """Return the colours of a schedule's bars.

    With one adapter, a colour would say nothing of it, so that levels have the colours.
    """
    import numpy as np

    problem = table.problem
    levels, asked = levels_of(problem), style.adapter_colours(problem)
    if not levels or len(asked) > 1:
        return BarStyle(
            False,
            [label(name) for name in problem.site.adapter_ids],
            style.colour_list(problem),
            table.requests.adapter,
            table.main_adapter,
        )
    main = batch_levels(table)
    return BarStyle(
        True,
        [style.level_name(level) for level in levels],
        style.level_colours(levels),
        np.searchsorted(levels, request_levels(table)),
        np.where(main < 0, -1, np.searchsorted(levels, main)),
    )


def bar_legend(table: ScheduleTable, most: int = style.MOST_KEYS) -> BarLegend:
    """Return the legend of a schedule's bars."""
    if bar_style(table).by_level:
        return served_legend(table, most)
    return style.adapter_legend(table.problem, most)


def served_legend(table: ScheduleTable, most: int = style.MOST_KEYS) -> BarLegend:
    """Return the legend of the levels of a schedule, with the requests served at each."""
    counts = dict(level_counts(table))
    return style.level_legend({k: counts.get(k, 0) for k in levels_of(table.problem)}, most)
