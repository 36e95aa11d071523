"""A schedule of an imported bin packing problem as bins."""

from __future__ import annotations

from pats_opt.exporters import Exported
from pats_opt.importers.bin_packing import FORMAT, Source
from pats_opt.importers.slots import source_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule


def export(problem: Problem, schedule: Schedule) -> Exported:
    """The bins in order of their slots; those that only hold a blank are empty and left out."""
    source = source_of(problem.instance, Source)
    sizes = {r.id: r.demand["vram_gib"] for r in problem.instance.requests if r.reject_loss is None}
    batches = [
        [m.id for m in batch.requests if m.id in sizes] for batch in schedule.gpus[0].batches
    ]
    capacity = problem.instance.gpus[0].capacity["vram_gib"]
    bins = [
        {"items": items, "sizes": [sizes[i] for i in items], "load": sum(sizes[i] for i in items)}
        for items in batches
        if items
    ]
    lines = [f"# {source.name}: {len(bins)} bins of capacity {capacity:g}"]
    lines += [
        f"bin {n} load {bin_['load']:g}: " + " ".join(i.removeprefix("item-") for i in items)
        for n, (bin_, items) in enumerate(zip(bins, filter(None, batches), strict=True), 1)
    ]
    document = {
        "format": FORMAT,
        "name": source.name,
        "objective": len(bins),
        "best_known": source.best_known,
        "capacity": capacity,
        "bins": bins,
    }
    return Exported("\n".join(lines) + "\n", document)
