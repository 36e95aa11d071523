"""A problem as arrays for the compiled search."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_opt.model.loss import switching_loss
from pats_opt.model.problem import Problem
from pats_solvers.common.arrays import UNLIMITED, fields, single_switches
from pats_solvers.common.bounds import largest_batch
from pats_solvers.common.classes import classes

#: Jobs, their options, adapters and sizes of batches: the columns of :class:`SearchArrays`.
JOBS = fields("arrival adapter kind options deadline longest", "price late reject least")
MODES = fields("level ticks", "quality")
ADAPTERS = fields("vram slowest", "load_s")
SIZES = fields("", "step_s overhead_s")


class SearchArrays(NamedTuple):
    """A problem as arrays.

    Attributes:
        jobs: By job: arrival tick, adapter, class of interchangeable jobs, number of options,
            largest latency that is not late, ticks of its longest option alone; loss of a tick of
            latency, of being late, of rejection (infinite where it must be served), and the least
            loss of serving it with its arrival counted in.
        modes: By job and option: place in ``levels``, ticks to completion alone, loss of quality.
        demand: Quanta by job and resource.
        hosts: Whether a job fits alone, by job and GPU.
        levels: Different step counts, rising.
        sizes: By members of a batch: seconds a step, seconds of overhead.
        capacity: Quanta by GPU and resource.
        adapters: By adapter: memory, ticks of the slowest switch to it, seconds to load.
        switches: Loads, by the single resident before (last row, or -1: none) and adapter.
        initial: Residents by GPU, filled up with -1.
        base_vram: Memory of the base model.
        tick_s: Seconds a tick.
        activate_ticks: Ticks of an activation.
        activate_loss: What it costs.
        max_resident: Most residents, no more than there are adapters.
        max_per_batch: Most adapters in a batch.
        channels: Most loads in progress beside serving (section 5a), or 0 where loads stop the GPU.
        several: Whether residents follow from a rule: there may be several, or loads run beside
            serving.
        horizon: Last tick at which anything may end.
        last: Last arrival.
        slotted: Whether batches take a tick and complete at their start.
        any_late: Whether any deadline is priced.
    """

    jobs: Any
    modes: Any
    demand: Any
    hosts: Any
    levels: Any
    sizes: Any
    capacity: Any
    adapters: Any
    switches: Any
    initial: Any
    base_vram: int
    tick_s: float
    activate_ticks: int
    activate_loss: float
    max_resident: int
    max_per_batch: int
    channels: int
    several: bool
    horizon: int
    last: int
    slotted: bool
    any_late: bool


def data_of(problem: Problem) -> SearchArrays:
    """Return a problem as arrays."""
    site = problem.site
    jobs, modes, demand, hosts, levels = _jobs(problem)
    adapters = np.zeros(len(site.adapter_ids), dtype=ADAPTERS)
    adapters["vram"], adapters["load_s"] = site.adapter_vram, site.load_s
    switches = single_switches(problem)
    adapters["slowest"] = switches["ticks"].max(axis=0, initial=0)
    members = max((largest_batch(problem, gpu.index) for gpu in site.gpus), default=0)
    sizes = np.zeros(max(1, members) + 1, dtype=SIZES)
    for size in range(1, len(sizes)):
        sizes[size] = site.clock.step_s(size), site.clock.overhead_s(size)
    if (sizes["step_s"][1:] < sizes["step_s"][1]).any():  # a table may speed up with the size
        jobs["least"] = jobs["price"] * jobs["arrival"]
    room = max(1, min(site.max_resident, len(site.adapter_ids)))
    initial = np.full((len(site.gpus), room), -1, dtype=np.int64)
    capacity = np.full((len(site.gpus), len(site.resources)), UNLIMITED, dtype=np.int64)
    for gpu in site.gpus:
        initial[gpu.index, : len(gpu.resident)] = sorted(gpu.resident)
        for r, most in enumerate(gpu.capacity):
            capacity[gpu.index, r] = UNLIMITED if most is None else most
    return SearchArrays(
        jobs=jobs,
        modes=modes,
        demand=demand,
        hosts=hosts,
        levels=levels,
        sizes=sizes,
        capacity=capacity,
        adapters=adapters,
        switches=switches,
        initial=initial,
        base_vram=site.base_vram,
        tick_s=site.tick_s,
        activate_ticks=site.switching_ticks(site.activate_s),
        activate_loss=switching_loss(site, site.activate_s),
        max_resident=room,
        max_per_batch=min(site.max_per_batch, room),
        channels=site.channels or 0,
        several=room > 1 or site.channels is not None,
        horizon=UNLIMITED if site.horizon is None else site.horizon,
        last=int(jobs["arrival"].max(initial=0)),
        slotted=site.clock.slotted,
        any_late=bool((jobs["late"] > 0).any()),
    )


def _jobs(problem: Problem) -> tuple[Any, Any, Any, Any, Any]:
    """Return jobs, their options, demands, GPUs that can serve them, and all step counts."""
    site, n = problem.site, len(problem.jobs)
    steps = sorted({o.steps for job in problem.jobs for o in job.options})
    place = {s: i for i, s in enumerate(steps)}
    most = max((len(job.options) for job in problem.jobs), default=1)
    jobs, modes = np.zeros(n, dtype=JOBS), np.zeros((n, most), dtype=MODES)
    demand = np.zeros((n, len(site.resources)), dtype=np.int64)
    hosts = np.zeros((n, len(site.gpus)), dtype=np.bool_)
    fitting: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for j, job in enumerate(problem.jobs):
        key = job.adapter, job.demand
        if key not in fitting:
            fitting[key] = problem.hosts(job)
        demand[j], hosts[j, fitting[key]] = job.demand, True
        for o, option in enumerate(job.options):
            ticks = site.clock.completions(((option.steps, 1),))[0]
            modes[j, o] = place[option.steps], ticks, option.quality_loss
        own = modes[j, : len(job.options)]
        priced = site.late_price > 0 and job.deadline is not None
        row = jobs[j]
        row["arrival"], row["adapter"], row["options"] = job.arrival, job.adapter, len(own)
        row["deadline"] = UNLIMITED if job.deadline is None else job.deadline
        row["longest"] = own["ticks"].max()
        row["price"] = site.latency_price_per_s * job.weight * site.tick_s
        row["late"] = site.late_price * job.weight if priced else 0.0
        row["reject"] = np.inf if job.reject_loss is None else job.reject_loss
        row["least"] = (own["quality"] + row["price"] * (own["ticks"] + job.arrival)).min()
    for i, found in enumerate(classes(problem)):
        jobs["kind"][[job.index for job in found.jobs]] = i
    return jobs, modes, demand, hosts, np.array(steps, dtype=np.int64)
