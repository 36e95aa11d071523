"""A schedule of an imported travelling salesman problem as a tour."""

from __future__ import annotations

import itertools

from pats_opt.exporters import Exported
from pats_opt.importers.slots import source_of
from pats_opt.importers.tsplib import FORMAT, Source
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule


def export(problem: Problem, schedule: Schedule) -> Exported:
    """The nodes in the order of service, from the start on, as a TSPLIB file of TYPE TOUR."""
    instance = problem.instance
    source = source_of(instance, Source)
    visits = [member.id for batch in schedule.gpus[0].batches for member in batch.requests]
    legs = [*instance.gpus[0].resident, *visits]  # a tour ends with its first node again
    distance = {(pair.source, pair.target): pair.load_s for pair in instance.switching.pairs}
    length = sum(distance[leg] for leg in itertools.pairwise(legs))
    tour = [source.nodes[name] for name in (legs[:-1] if source.closed else legs)]
    kind = "tour" if source.closed else "open path"
    lines = [
        f"NAME: {source.name}.tour",
        f"COMMENT: {kind} of length {length:g}",
        "TYPE: TOUR",
        f"DIMENSION: {len(tour)}",
        "TOUR_SECTION",
        *map(str, tour),
        "-1",
        "EOF",
    ]
    document = {
        "format": FORMAT,
        "name": source.name,
        "objective": length,
        "closed": source.closed,
        "tour": tour,
    }
    return Exported("\n".join(lines) + "\n", document)
