"""The ``dp`` solver: passes with wider and wider beams, until one cuts nothing."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from pats_opt.errors import InputError
from pats_opt.plan import Plan, PlannedBatch
from pats_opt.problem import Problem
from pats_opt.schedule import Stop
from pats_opt.solver import ALL_FEATURES, Capabilities, Feature, Kind, Outcome, Run

#: How much wider each pass's beam is than the last one's.
WIDER = 8

#: Bytes a label takes, its share of the layers still growing included.
LABEL_BYTES = 250


class Dp(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exact dynamic program over batch sequences, for one GPU with one resident adapter.

    Jobs that differ in arrival only are served first come, first served, so a state is a count
    per class of jobs and the adapter held; sequences that reach it are compared by time and loss.
    Passes with a beam give good schedules early; each is eight times wider than the last one, and
    the one that cuts nothing proves the optimum. The time does not depend on ticks. It grows with
    the number of states, the product of the classes' sizes: dozens of requests are proven, not
    hundreds.

    Args:
        first: Labels a layer in the first pass.
        beam: The widest beam, in labels a layer; the default widens until the optimum is proven.
        memory_gib: Memory for labels, in GiB.
    """

    name: ClassVar[str] = "dp"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=ALL_FEATURES
        - {Feature.GPUS, Feature.RESIDENT, Feature.MIXED_BATCH, Feature.ACTIVATE},
        bound=True,
        warm_start=True,
    )

    first: Annotated[int, Meta(ge=1, le=10**9)] = 200
    beam: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    memory_gib: Annotated[float, Meta(gt=0, le=1e6)] = 4.0

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Widen the beam until the optimum is proven or a limit is reached."""
        from pats_solvers.dp.search import Search

        if not problem.jobs or not problem.site.gpus:
            # Without a GPU everything is rejected; with nothing to serve there is nothing to lose.
            empty = Plan(tuple(() for _ in problem.site.gpus))
            bound = math.fsum(job.reject_loss or 0.0 for job in problem.jobs)
            return Outcome(Stop.OPTIMAL, empty, bound)
        search = Search(problem)
        if not search.encodable:
            raise InputError(
                f"{search.states:.3g} states are more than {self.name!r} can tell apart",
                mend="solve fewer requests at a time, or use --solver milp",
            )
        plan, known = run.start if run.start is not None else (None, math.inf)
        most = max(1, int(self.memory_gib * 2**30 / LABEL_BYTES))
        widest = most if self.beam is None else min(most, self.beam)
        beam, bound, expanded = min(self.first, widest), 0.0, []
        stop = run.stop()
        while stop is None:
            done = search.run(known, beam, most, run.stop)
            expanded.append(done.labels)
            if done.batches is not None:
                plan, known = _plan(done.batches), done.loss
            bound = max(bound, done.bound)
            run.progress(bound, known if plan is not None else None)
            if done.complete or bound >= known:
                stop = Stop.INFEASIBLE if plan is None else Stop.OPTIMAL
            elif done.stop is not None:
                stop = done.stop
            elif beam >= widest:
                stop = Stop.COMPLETE if self.beam is not None else Stop.MEMORY_LIMIT
            else:
                beam = min(beam * WIDER, widest)
        details = {
            "states": search.states,
            "moves": sum(len(table.moves) for table in search.tables),
            "labels": expanded,
        }
        finite = bound if math.isfinite(bound) else None
        return Outcome(stop, plan, finite, details)


def _plan(batches: tuple[PlannedBatch, ...]) -> Plan:
    return Plan((batches,))
