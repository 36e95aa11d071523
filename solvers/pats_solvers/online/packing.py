"""What fits where and when: hosts, evictions and the batch under construction.

Policies decide whom to serve; these helpers keep what they put together feasible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pats_opt.policy import GpuState, Start
from pats_opt.problem import Adapters, Amounts, Job, Site
from pats_opt.timing import shape_of

#: Residents of a GPU in the order in which they are to go: ``victims(gpu, residents)``.
Victims = Callable[[int, Adapters], Sequence[int]]


class Hosts:
    """The GPUs that hold a job alone, with only its own adapter resident; answers are kept."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._known: dict[tuple[int, Amounts], tuple[int, ...]] = {}

    def __call__(self, job: Job) -> tuple[int, ...]:
        """Indices of the GPUs, rising."""
        kind = job.adapter, job.demand
        if kind not in self._known:
            resident, fits = frozenset((job.adapter,)), self._site.fits
            self._known[kind] = tuple(
                g.index for g in self._site.gpus if fits(g.index, resident, (job,))
            )
        return self._known[kind]


class LeastRecentlyUsed:
    """Evicts the resident that a batch on that GPU used longest ago.

    Residents that were never used go first; ties go by adapter index.
    """

    def __init__(self) -> None:
        self._count = 0
        self._last: dict[tuple[int, int], int] = {}

    def used(self, gpu: int, adapters: Iterable[int]) -> None:
        """Note that a batch on ``gpu`` uses these adapters now."""
        self._count += 1
        self._last.update(((gpu, a), self._count) for a in adapters)

    def __call__(self, gpu: int, residents: Adapters) -> list[int]:
        """``residents`` in the order in which they are to go."""
        return sorted(residents, key=lambda a: (self._last.get((gpu, a), 0), a))


def make_room(site: Site, gpu: GpuState, jobs: Sequence[Job], victims: Victims) -> Adapters | None:
    """The residents ``gpu`` holds when ``jobs`` start: as they are, plus what the jobs need.

    Residents that the jobs do not need are evicted one after another until the jobs fit. None
    where they do not even then, or where the GPU has switched ahead and cannot switch again.
    """
    needed = frozenset(job.adapter for job in jobs)
    if gpu.before is not None:
        return gpu.resident if site.fits(gpu.index, gpu.resident, jobs) else None
    resident = gpu.resident | needed
    evictable = iter(victims(gpu.index, gpu.resident - needed))
    while len(resident) > site.max_resident or not site.fits(gpu.index, resident, jobs):
        victim = next(evictable, None)
        if victim is None:
            return None
        resident -= {victim}
    return resident


def switching_seconds(site: Site, adapter: int, gpu: GpuState) -> float:
    """Seconds of loading or activation that a batch of ``adapter`` on ``gpu`` pays now."""
    active = frozenset((adapter,))
    return site.switch(gpu.resident, gpu.resident | active, active, gpu.active).seconds


class BatchBuilder:
    """A batch under construction on an idle GPU; what is added keeps every rule.

    Attributes:
        members: ``(job index, option)`` so far.
        free: What is left of each resource of the site; None where it is unlimited.
    """

    def __init__(self, site: Site, gpu: GpuState, resident: Adapters, tick: int) -> None:
        self._site, self._gpu, self._tick = site, gpu, tick
        self.resident = resident
        self.members: list[tuple[int, int]] = []
        self.free = list(site.room(gpu.index, resident))
        self._steps: list[int] = []
        self._active: Adapters = frozenset()

    @property
    def full(self) -> bool:
        """Whether the step-time table ends here."""
        largest = self._site.clock.largest
        return largest is not None and len(self.members) >= largest

    def add(self, job: Job, option: int) -> bool:
        """Add ``job``; False, and nothing changes, where a rule forbids it."""
        site = self._site
        active = self._active if job.adapter in self._active else self._active | {job.adapter}
        if self.full or job.adapter not in self.resident or len(active) > site.max_per_batch:
            return False
        for need, room in zip(job.demand, self.free, strict=True):
            if room is not None and need > room:
                return False
        steps = job.options[option].steps
        if site.horizon is not None and self._end(active, steps) > site.horizon:
            return False
        self._active = active
        self._steps.append(steps)
        self.members.append((job.index, option))
        self.free = [
            None if room is None else room - need
            for need, room in zip(job.demand, self.free, strict=True)
        ]
        return True

    def _end(self, active: Adapters, steps: int) -> int:
        start = self._tick + self._gpu.switch_ticks(self._site, self.resident, active)
        return start + self._site.clock.duration(shape_of((*self._steps, steps)))

    def start(self) -> Start:
        """The batch as an action."""
        return Start(self._gpu.index, tuple(self.members), self.resident)


def open_batch(
    site: Site,
    gpu: GpuState,
    job: Job,
    options: Iterable[int],
    *,
    tick: int,
    victims: Victims,
) -> BatchBuilder | None:
    """A batch on ``gpu`` led by ``job``, with the first of ``options`` that ends by the horizon.

    None where none does, or where the job does not fit.
    """
    resident = make_room(site, gpu, (job,), victims)
    if resident is None:
        return None
    batch = BatchBuilder(site, gpu, resident, tick)
    return batch if any(batch.add(job, option) for option in options) else None


def fewest_steps(job: Job) -> int:
    """The option with the fewest steps; of several, the one that looks best."""
    return min(
        range(len(job.options)), key=lambda o: (job.options[o].steps, -job.options[o].quality)
    )


def most_steps(job: Job) -> int:
    """The option with the most steps; of several, the one that looks best."""
    return max(
        range(len(job.options)), key=lambda o: (job.options[o].steps, job.options[o].quality)
    )


def best_quality(job: Job) -> int:
    """The option that looks best; of several, the one with the fewest steps."""
    return max(
        range(len(job.options)), key=lambda o: (job.options[o].quality, -job.options[o].steps)
    )
