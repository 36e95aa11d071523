"""Loads beside serving: how busy the loaders are, what is hidden, and what GPUs wait for.

A load is hidden while its GPU serves a batch: then it costs no time, only its price.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pats_opt.tables.schedule_table import ScheduleTable

if TYPE_CHECKING:
    from pats_opt.tables.statistics import Floats, Ints


def hidden(table: ScheduleTable) -> Floats:
    """Return of each load the time in which its GPU serves a batch, on the table's clock."""
    import numpy as np

    loads, batches = table.loads, table.batches
    assert loads is not None
    served = np.zeros(len(loads.gpu))
    for gpu in np.unique(loads.gpu).tolist():
        mine, rows = loads.gpu == gpu, batches.gpu == gpu
        # Batches of a GPU follow each other; of an invalid schedule, what overlaps counts once.
        start = np.sort(batches.start[rows])
        end = np.maximum.accumulate(batches.end[rows][np.argsort(batches.start[rows])])
        begin = np.maximum(start, np.append([0.0], end)[:-1])
        edges = np.column_stack((begin, np.maximum(begin, end))).ravel()
        done = np.repeat(np.append([0.0], np.cumsum(edges[1::2] - edges[::2])), 2)[1:-1]
        if len(edges):
            left, right = (np.interp(at[mine], edges, done) for at in (loads.start, loads.end))
            served[mine] = right - left
    return served


def waits(table: ScheduleTable) -> Floats:
    """Return the time that a GPU waits for loads before each batch, on the table's clock.

    It waits from when the batch could have begun, had its adapters been loaded (its members have
    arrived, and the batch before it and its own switch have taken their time), until the last load
    of an adapter that it uses has ended.
    """
    import numpy as np

    loads, batches, requests = table.loads, table.batches, table.requests
    assert loads is not None
    ready = _free(table) + (batches.switch_end - batches.switch_start)
    np.maximum.at(ready, requests.batch, requests.arrival)
    loaded = np.zeros(len(ready))
    batch, adapter = table.used.T
    last = table.last_load(batch, adapter)
    np.maximum.at(loaded, batch[last >= 0], loads.end[last[last >= 0]])
    return np.maximum(0.0, np.minimum(loaded, batches.start) - ready)


def _free(table: ScheduleTable) -> Floats:
    """End of the batch before each batch on its GPU; 0 before the first."""
    import numpy as np

    batches = table.batches
    order = np.lexsort((batches.start, batches.gpu))
    gpu, free = batches.gpu[order], np.zeros(len(order))
    same = gpu[1:] == gpu[:-1]
    free[order[1:][same]] = batches.end[order[:-1][same]]
    return free


def loader_figures(table: ScheduleTable) -> dict[str, Any]:
    """Return the metrics of the loaders; nothing where no loads run beside serving."""
    site, loads = table.problem.site, table.loads
    if loads is None or site.channels is None:
        return {}
    import numpy as np

    span = table.makespan * len(site.gpus) * site.channels
    within = np.minimum(loads.end, table.makespan) - np.minimum(loads.start, table.makespan)
    taken = float((loads.end - loads.start).sum())
    return {
        "loader_busy_share": float(within.sum()) / span if span else 0.0,
        "hidden_load_share": float(hidden(table).sum()) / taken if taken else None,
        "load_wait_s": float(waits(table).sum()) * table.unit_s,
    }


def memory_steps(table: ScheduleTable, gpu: int) -> tuple[Floats, Ints]:
    """Return the memory that section 5a counts on a GPU: rising times, and quanta from each on.

    Adapters count from their load's start until they are evicted, and all members of a batch
    until its end. Several changes at one time have an entry each, in the order in which they
    happen: a batch ends, a batch evicts, a load starts, a batch starts.
    """
    import numpy as np

    site, batches, loads = table.problem.site, table.batches, table.loads
    assert loads is not None
    demand = np.zeros(len(batches.gpu), dtype=np.int64)
    jobs = table.problem.jobs
    taken = np.array([jobs[j].demand[0] for j in table.requests.job.tolist()], dtype=np.int64)
    np.add.at(demand, table.requests.batch, taken)

    def held(some: frozenset[int]) -> int:
        return sum(site.adapter_vram[a] for a in some)

    rows, mine = np.flatnonzero(batches.gpu == gpu), np.flatnonzero(loads.gpu == gpu)
    leaving = np.array([held(batches.evict[k]) for k in rows.tolist()], dtype=np.int64)
    change = [
        site.adapter_vram[a] - held(loads.evict[k])
        for k, a in zip(mine.tolist(), loads.adapter[mine].tolist(), strict=True)
    ]
    before = site.base_vram + held(site.gpus[gpu].resident)
    time = np.concatenate(
        (
            [0.0],
            batches.end[rows],
            batches.switch_start[rows],
            loads.start[mine],
            batches.start[rows],
        )
    )
    level = np.concatenate(
        ([before], -demand[rows], -leaving, np.array(change, dtype=np.int64), demand[rows])
    )
    kind = np.repeat(np.arange(5), (1, len(rows), len(rows), len(mine), len(rows)))
    order = np.lexsort((kind, time))
    return time[order], np.cumsum(level[order])
