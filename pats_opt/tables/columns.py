"""Columns of a schedule's table: per served request, per batch, per switch and per load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pats_opt.model.problem import Adapters

if TYPE_CHECKING:
    from pats_opt.tables.statistics import Flags, Floats, Ints


@dataclass(frozen=True, slots=True)
class RequestTable:
    """One entry per served request, in the order of the batches; times on the table's clock.

    Attributes:
        job: Index of the request; ``option`` and ``adapter`` are indices too.
        batch: Row of its batch in :class:`BatchTable`.
        arrival: Its arrival on the tick grid.
        start: Start of its batch.
        late: Whether it misses its deadline.
    """

    job: Ints
    option: Ints
    batch: Ints
    adapter: Ints
    arrival: Floats
    start: Floats
    completion: Floats
    late: Flags


@dataclass(frozen=True, slots=True)
class BatchTable:
    """One entry per batch; times on the table's clock.

    Attributes:
        gpu: Index of its GPU.
        size: Its served members.
        switch_start: Start of the switch before it.
        switch_end: End of that switch, which may be well before the batch starts.
        start: Start of its members.
        end: When the GPU is free again.
        switch_s: Seconds of loading and activation paid, before rounding to ticks.
        load: Adapters that its switch loads.
        evict: Adapters that its switch evicts; not known of an execution.
        activate: Adapters that its switch activates; not known of an execution.
        resident: Adapters resident while it runs; not known of an execution.
    """

    gpu: Ints
    size: Ints
    switch_start: Floats
    switch_end: Floats
    start: Floats
    end: Floats
    switch_s: Floats
    load: list[Adapters]
    evict: list[Adapters]
    activate: list[Adapters]
    resident: list[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class SwitchTable:
    """One entry per switch that loads, evicts or costs time, by start; columns as of its batch.

    ``batch`` is the row of that batch. A switch that takes no time starts with it.
    """

    batch: Ints
    gpu: Ints
    start: Floats
    end: Floats
    seconds: Floats
    load: list[Adapters]
    evict: list[Adapters]


@dataclass(frozen=True, slots=True)
class LoadTable:
    """One entry per load beside serving, on each GPU in the order in which they take place.

    Attributes:
        gpu: Index of its GPU.
        adapter: Index of the adapter that it loads.
        start: When the adapter becomes resident.
        end: From when on batches can use it.
        seconds: Seconds of loading paid, before rounding to ticks.
        evict: Adapters that leave at its start.
    """

    gpu: Ints
    adapter: Ints
    start: Floats
    end: Floats
    seconds: Floats
    evict: list[Adapters]
