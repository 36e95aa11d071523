"""The rules of dispatch in plain words: what they may choose, from what a fleet looks like."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b

from pats_opt.model.problem import Job, Site


@dataclass
class PlainGpu:
    """A GPU as a job finds it.

    Attributes:
        waiting: Jobs bound to it that no batch has started with.
        running: Members of its batch in progress.
        left_s: Seconds until its batch ends.
        resident: Adapters that it holds.
    """

    index: int
    name: str
    waiting: list[Job] = field(default_factory=list)
    running: int = 0
    left_s: float = 0.0
    resident: frozenset[int] = frozenset()


def nanoseconds(seconds: float) -> int:
    """Seconds as whole nanoseconds, so that sums are exact."""
    return round(seconds * 1e9)


def share(site: Site, job: Job, gpu: int) -> int:
    """Nanoseconds of a job's share of the time of a full batch of its like on a GPU."""
    count = 1
    while count < 1000 and site.fits(gpu, frozenset((job.adapter,)), [job] * (count + 1)):
        count += 1
    steps = best(job)
    return nanoseconds(site.clock.duration(((steps, count),)) * site.tick_s / count)


def best(job: Job) -> int:
    """Steps of the option of best quality, of several the fewest."""
    return min((-o.quality, o.steps) for o in job.options)[1]


def work(site: Site, gpu: PlainGpu) -> int:
    """Nanoseconds of work of a GPU."""
    return sum(share(site, job, gpu.index) for job in gpu.waiting) + nanoseconds(gpu.left_s)


def load(site: Site, gpu: PlainGpu, adapter: int) -> int:
    """Nanoseconds to load an adapter that a GPU has nothing of, else 0."""
    if adapter in gpu.resident or any(job.adapter == adapter for job in gpu.waiting):
        return 0
    return nanoseconds(site.load_seconds(adapter, gpu.resident))


def objective(site: Site, job: Job) -> int:
    """Nanoseconds in which a job is to be served."""
    if job.deadline is not None:
        return nanoseconds(job.deadline * site.tick_s)
    alone_s = site.clock.duration(((best(job), 1),)) * site.tick_s
    return nanoseconds(3 * (alone_s + site.load_s[job.adapter]))


def hash_of(text: str) -> int:
    """64 bits of BLAKE2b."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


@cache
def clockwise(names: tuple[str, ...], key: str, salt: str) -> list[str]:
    """Names in the order in which their nearest points follow a key."""
    at = hash_of(salt + key)

    def distance(name: str) -> int:
        points = [hash_of(f"{salt}{name}#{k}") for k in range(128)]
        return min((point - at - 1) % 2**64 for point in points)

    return sorted(names, key=distance)


def crowds(gpus: Sequence[PlainGpu]) -> list[tuple[float, ...]]:
    """Jobs waiting, and members running."""
    return [(len(gpu.waiting), gpu.running) for gpu in gpus]


def least(gpus: Sequence[PlainGpu], value: list[tuple[float, ...]]) -> set[int]:
    """The first GPU of the least value."""
    return {gpus[value.index(min(value))].index}


def allowed(rule: str, site: Site, gpus: Sequence[PlainGpu], job: Job, last: int) -> set[int]:
    """GPUs that a rule may bind a job to.

    Args:
        rule: The rule.
        site: The fleet.
        gpus: The GPUs that can hold the job.
        job: The job.
        last: The GPU of the job before it.
    """
    if rule == "round-robin":
        return {min(gpus, key=lambda gpu: (gpu.index <= last, gpu.index)).index}
    return RULES[rule](site, gpus, job)


def shortest(site: Site, gpus: Sequence[PlainGpu], job: Job) -> set[int]:
    """The first GPU with the fewest waiting, then the fewest running."""
    return least(gpus, crowds(gpus))


def better_of_two(site: Site, gpus: Sequence[PlainGpu], job: Job) -> set[int]:
    """All but the worst GPU, unless it has company or is alone."""
    crowd = crowds(gpus)
    if len(gpus) > 1 and crowd.count(max(crowd)) == 1:
        gpus = [gpu for gpu, at in zip(gpus, crowd, strict=True) if at < max(crowd)]
    return {gpu.index for gpu in gpus}


def least_work(site: Site, gpus: Sequence[PlainGpu], job: Job) -> set[int]:
    """The first GPU of the least work."""
    return least(gpus, [(work(site, gpu),) for gpu in gpus])


def earliest(site: Site, gpus: Sequence[PlainGpu], job: Job) -> set[int]:
    """The first GPU of the least work and load."""
    return least(gpus, [(work(site, gpu) + load(site, gpu, job.adapter),) for gpu in gpus])


def home(site: Site, gpus: Sequence[PlainGpu], job: Job, salt: str = "") -> PlainGpu:
    """The GPU whose point comes next."""
    order = clockwise(tuple(g.id for g in site.gpus), site.adapter_ids[job.adapter], salt)
    return min(gpus, key=lambda gpu: order.index(gpu.name))


def hashed(site: Site, gpus: Sequence[PlainGpu], job: Job) -> set[int]:
    """The home."""
    return {home(site, gpus, job).index}


def bounded(site: Site, gpus: Sequence[PlainGpu], job: Job) -> set[int]:
    """The home of those that hold at most 1.25 times the average with the job."""
    loads = {gpu.index: len(gpu.waiting) + gpu.running for gpu in gpus}
    most = math.ceil(1.25 * (sum(loads.values()) + 1) / len(gpus) - 1e-9)
    return hashed(site, [gpu for gpu in gpus if loads[gpu.index] + 1 <= most], job)


def dualmap(site: Site, gpus: Sequence[PlainGpu], job: Job) -> set[int]:
    """The one or two GPUs that DualMap may choose."""
    if len(gpus) == 1:
        return {gpus[0].index}
    one, two = home(site, gpus, job, "first:"), home(site, gpus, job, "second:")
    if one is two:
        two = gpus[(gpus.index(one) + 1) % len(gpus)]

    def has(gpu: PlainGpu) -> int:
        there = sum(waiting.adapter == job.adapter for waiting in gpu.waiting)
        return there + (job.adapter in gpu.resident)

    def estimate(gpu: PlainGpu) -> tuple[int, int]:
        own = share(site, job, gpu.index) + load(site, gpu, job.adapter)
        return work(site, gpu) + own, gpu.running

    if has(one) != has(two):
        first = max(one, two, key=has)
        if estimate(first)[0] <= objective(site, job) / 2:
            return {first.index}
    smaller = min(estimate(one), estimate(two))
    return {gpu.index for gpu in (one, two) if estimate(gpu) == smaller}


RULES: dict[str, Callable[[Site, Sequence[PlainGpu], Job], set[int]]] = {
    "join-shortest-queue": shortest,
    "power-of-two": better_of_two,
    "least-work": least_work,
    "earliest-completion": earliest,
    "hash": hashed,
    "bounded-hash": bounded,
    "dualmap": dualmap,
}
