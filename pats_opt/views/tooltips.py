"""Tooltips of a still picture: what each batch and each load is."""

from __future__ import annotations

from collections.abc import Iterable

from pats_opt.model.problem import Job, Problem, ids
from pats_opt.views import style
from pats_opt.views.gantt import MOST_BATCHES
from pats_opt.views.view import Chart
from pats_opt.wording import label

#: Members a tooltip lists.
MOST_LISTED = 12


def tooltips(chart: Chart) -> dict[str, str]:
    """Return the description of each batch and load by its gid; none of very many batches."""
    batches = chart.seconds.batches
    if len(batches.size) > MOST_BATCHES:
        return {}
    gpus, sizes = chart.problem.site.gpus, batches.size.tolist()
    columns = (batches.gpu.tolist(), batches.start, batches.end, sizes)
    texts = [
        [f"{gpus[gpu].id}: {start:g} s to {end:g} s, {size} served"]
        for gpu, start, end, size in zip(*columns, strict=True)
    ]
    for place, batch in enumerate(chart.table.requests.batch.tolist()):
        if len(texts[batch]) <= MOST_LISTED:
            texts[batch].append(_member(chart, place))
    for lines, size in zip(texts, sizes, strict=True):
        if size > MOST_LISTED:
            lines.append(f"and {size - MOST_LISTED} more")
    for batch, line in _changes(chart):
        texts[batch].insert(1, line)
    told = {f"batch-{k}": "\n".join(lines) for k, lines in enumerate(texts)}
    return told | {f"load-{k}": "\n".join(lines) for k, lines in enumerate(_loaded(chart))}


def _changes(chart: Chart) -> Iterable[tuple[int, str]]:
    """Description of each switch, with the row of the batch that it is for."""
    switches, site = chart.seconds.switches, chart.problem.site
    for batch, seconds, load, evict in zip(
        switches.batch.tolist(), switches.seconds, switches.load, switches.evict, strict=True
    ):
        changes = [
            f"{verb} {', '.join(ids(site, some))}"
            for verb, some in (("loads", load), ("evicts", evict))
            if some
        ]
        yield batch, f"switch {seconds:g} s {', '.join(changes)}".rstrip()


def _loaded(chart: Chart) -> Iterable[list[str]]:
    """Description of each load beside serving; none of very many."""
    loads, site = chart.seconds.loads, chart.problem.site
    if loads is None or len(loads.gpu) > MOST_BATCHES:
        return
    columns = (loads.gpu.tolist(), loads.adapter.tolist(), loads.start, loads.end, chart.hidden)
    for evict, (gpu, adapter, start, end, hidden) in zip(
        loads.evict, zip(*columns, strict=True), strict=True
    ):
        leaving = ", ".join(ids(site, evict))
        yield [
            f"{site.gpus[gpu].id}: loads {label(site.adapter_ids[adapter])}, {start:g} s to "
            f"{end:g} s",
            *([f"evicts {leaving}"] if leaving else []),
            f"{hidden:g} s hidden behind serving",
        ]


def _member(chart: Chart, place: int) -> str:
    """One line on a member."""
    problem, requests = chart.problem, chart.seconds.requests
    job, arrival = problem.jobs[requests.job[place]], requests.arrival[place]
    chosen, done = job.options[requests.option[place]], requests.completion[place]
    prompt = problem.instance.requests[job.position].prompt
    skipped = f"{style.level_name(chosen.skip)}, " if chart.levels else ""
    return (
        f"{label(job.id)}{_of_group(problem, job)}: "
        f"{label(problem.site.adapter_ids[job.adapter])}, {chosen.steps} steps, {skipped}"
        f"quality {chosen.quality:g}, done at {done:g} s, "
        f"latency {done - arrival:g} s" + (f": {label(prompt, 60)}" if prompt else "")
    )


def _of_group(problem: Problem, job: Job) -> str:
    """The user's request that an image belongs to, where it names one."""
    group = problem.instance.requests[job.position].group
    return f" of group {label(group)}" if group else ""
