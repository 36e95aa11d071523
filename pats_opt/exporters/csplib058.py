"""A schedule of an imported lot-sizing problem as a production plan."""

from __future__ import annotations

import itertools

from pats_opt.exporters import Exported
from pats_opt.importers.csplib058 import FORMAT, Source
from pats_opt.importers.slots import source_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule

#: What stands in a plan where nothing is made.
IDLE = 0


def export(problem: Problem, schedule: Schedule) -> Exported:
    """The number of the item made in each period, first to last; 0 where the machine is idle."""
    instance = problem.instance
    source = source_of(instance, Source)
    periods = source.periods
    request = {r.id: r for r in instance.requests}
    item = {a.id: number for number, a in enumerate(instance.adapters, 1)}
    plan, kept = [IDLE] * periods, 0
    for batch in schedule.gpus[0].batches:
        for member in batch.requests:
            made, due = periods - batch.start, periods - round(request[member.id].arrival_s)
            plan[made - 1] = item[request[member.id].adapter]
            kept += due - made
    stocking = kept * instance.latency_price_per_s
    cost = {
        (item[str(pair.target)], item[str(pair.source)]): pair.load_s
        for pair in instance.switching.pairs
    }
    made_items = [number for number in plan if number != IDLE]
    changeover = sum(cost[pair] for pair in itertools.pairwise(made_items) if pair[0] != pair[1])
    lines = [
        f"# {source.name}: cost {stocking + changeover:g}, "
        f"stocking {stocking:g} and changeovers {changeover:g}; item by period, 0 idle",
        " ".join(map(str, plan)),
    ]
    document = {
        "format": FORMAT,
        "name": source.name,
        "objective": stocking + changeover,
        "best_known": source.best_known,
        "stocking": stocking,
        "changeover": changeover,
        "plan": plan,
    }
    return Exported("\n".join(lines) + "\n", document)
