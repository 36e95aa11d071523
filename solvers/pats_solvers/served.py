"""The schedule of a server, rebuilt from the record of its log."""

from __future__ import annotations

from collections import defaultdict
from typing import ClassVar

from msgspec import Struct

from pats_opt.core.solver import Capabilities, Kind, Outcome, Run
from pats_opt.errors import InputError
from pats_opt.model.plan import Members, Plan, PlannedBatch
from pats_opt.model.problem import Adapters, Problem
from pats_opt.model.schedule import StopReason
from pats_opt.model.served import served_record
from pats_opt.model.timing import to_ticks


class ServedSchedule(Struct, frozen=True, kw_only=True):
    """The batches that a server ran, on the grid of the instance made of its log.

    Batches, members, options, order and residents are those of the log. A batch starts when it
    did, or later where the batch before it and the switch take longer in the instance than they
    took in truth. So times are those of the instance's profile, as for all other solvers.

    ``details``: ``batches``, how many were ``moved`` to a later tick, and the longest such move in
    seconds (``longest_move_s``).
    """

    name: ClassVar[str] = "served"
    kind: ClassVar[Kind] = Kind.HEURISTIC
    capabilities: ClassVar[Capabilities] = Capabilities()

    def solve(self, problem: Problem, run: Run) -> Outcome:  # noqa: ARG002 - nothing takes time
        """Return the server's schedule."""
        batches: dict[tuple[str, float], list[tuple[int, int]]] = defaultdict(list)
        residents: dict[tuple[str, float], Adapters] = {}
        index = problem.site.adapter_index
        for job in problem.jobs:
            record = served_record(problem.instance.requests[job.position])
            if record is None:
                if job.reject_loss is None:
                    raise InputError(
                        f"request {job.id!r} has no record of its serving",
                        hint="'served' is for the instances that gap-report --log makes",
                    )
                continue
            key = record.gpu, record.start_s
            batches[key].append((job.index, record.option))
            residents[key] = frozenset(index[name] for name in record.resident)
        plans, moves = [], list[float]()
        for gpu in problem.site.gpus:
            ran = [key for key in sorted(batches) if key[0] == gpu.id]
            kept = [(key[1], tuple(batches[key]), residents[key]) for key in ran]
            plans.append(_timed(problem, gpu.index, kept, moves))
        details = {
            "batches": len(moves),
            "moved": sum(move > 0 for move in moves),
            "longest_move_s": max(moves, default=0.0),
        }
        return Outcome(StopReason.COMPLETE, Plan(tuple(plans)), details=details)


def _timed(
    problem: Problem, gpu: int, ran: list[tuple[float, Members, Adapters]], moves: list[float]
) -> tuple[PlannedBatch, ...]:
    """Start each batch when it did, or as soon after it as the rules allow; note the moves."""
    site, jobs, free, planned = problem.site, problem.jobs, 0, []
    used = [frozenset([jobs[j].adapter for j, _ in members]) for _, members, _ in ran]
    switches = site.switches(gpu, zip([held for *_, held in ran], used, strict=True))
    for (start_s, members, resident), switch in zip(ran, switches, strict=True):
        least = max([to_ticks(start_s, site.tick_s), *[jobs[j].arrival for j, _ in members]])
        start = max(least, free + switch.ticks)
        moves.append(round((start - least) * site.tick_s, 6))
        planned.append(PlannedBatch(start, members, resident))
        steps = tuple([jobs[j].options[o].steps for j, o in members])
        free = start + site.clock.ends(steps)[1]
    return tuple(planned)
