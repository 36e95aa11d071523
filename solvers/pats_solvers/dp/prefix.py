"""The label that the first batches of a plan lead to, to search on from there."""

from __future__ import annotations

from collections.abc import Sequence

from pats_opt.model.loss import serving_loss, switching_loss
from pats_opt.model.plan import PlannedBatch
from pats_opt.model.problem import Problem
from pats_opt.model.timing import shape_of
from pats_solvers.common.classes import JobClass
from pats_solvers.dp.search import StartLabel


def label_after(
    problem: Problem, kinds: Sequence[JobClass], batches: Sequence[PlannedBatch]
) -> StartLabel:
    """The label after batches of one GPU with one resident adapter, timed as early as they can be.

    Within each class jobs are taken first come, first served, whichever the batches name: that is
    no dearer. Jobs that the batches passed over are still to be dealt with.

    Args:
        problem: The problem.
        kinds: Its classes, in the search's order.
        batches: The first batches of a plan, in order.
    """
    site = problem.site
    class_of = {job.index: q for q, kind in enumerate(kinds) for job in kind.jobs}
    counts = [0] * len(kinds)
    resident, active, free, loss = site.gpus[0].resident, None, 0, 0.0
    for batch in batches:
        members = []
        for index, option in batch.members:
            q = class_of[index]
            members.append((kinds[q].jobs[counts[q]], option))
            counts[q] += 1
        switch = site.switch(resident, batch.resident, batch.resident, active)
        start = max(free + switch.ticks, *(job.arrival for job, _ in members))
        shape = shape_of(job.options[o].steps for job, o in members)
        ends = dict(zip((s for s, _ in shape), site.clock.completions(shape), strict=True))
        loss += switching_loss(site, switch.seconds)
        for job, o in members:
            loss += serving_loss(site, job, o, start + ends[job.options[o].steps])
        resident, active = batch.resident, batch.resident
        free = start + site.clock.duration(shape)
    return StartLabel(tuple(counts), next(iter(resident), None), free, loss)
