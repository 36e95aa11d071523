"""The batch under construction: which jobs and residents fit on a GPU together, and until when.

Policies decide which jobs to serve; this keeps what they put together feasible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heapreplace

from pats_opt.core.policy import GpuState, Start
from pats_opt.model.problem import Adapters, Amounts, Job, Site
from pats_opt.model.timing import shape_of

#: Residents of a GPU in the order in which they are to go: ``evict(gpu, residents)``.
EvictionOrder = Callable[[int, Adapters], Sequence[int]]


def make_room(
    site: Site, gpu: GpuState, jobs: Sequence[Job], evict: EvictionOrder
) -> Adapters | None:
    """Return the residents of ``gpu`` when ``jobs`` start: as they are, plus what the jobs need.

    Residents that the jobs do not need are evicted one after another until the jobs fit. None
    where they do not even then, or where the GPU has switched ahead and cannot switch again.
    """
    if gpu.before is not None:
        return gpu.resident if site.fits(gpu.index, gpu.resident, jobs) else None
    needed = frozenset([job.adapter for job in jobs])
    if needed <= gpu.resident and site.fits(gpu.index, gpu.resident, jobs):
        return gpu.resident
    if site.max_resident == 1 and not gpu.loading and needed != gpu.resident:  # nothing to choose
        return needed if site.fits(gpu.index, needed, jobs) else None
    resident = gpu.resident | needed
    if len(resident) <= site.max_resident and site.fits(gpu.index, resident, jobs):
        return resident
    keep = needed.union([a for a, _ in gpu.loading]) if gpu.loading else needed
    for victim in evict(gpu.index, gpu.resident - keep):
        resident = resident.difference((victim,))
        if len(resident) <= site.max_resident and site.fits(gpu.index, resident, jobs):
            return resident
    return None


def switching_seconds(site: Site, adapter: int, gpu: GpuState) -> float:
    """Seconds of loading or activation that a batch of ``adapter`` on ``gpu`` pays now."""
    if adapter not in gpu.resident:  # as Site.switch, without sets: decisions spend time here
        return site.load_seconds(adapter, gpu.resident)
    return 0.0 if gpu.active is None or adapter in gpu.active else site.activate_s


def loaded_at(site: Site, gpu: GpuState, tick: int, adapters: Adapters) -> int:
    """Return the tick from which ``gpu`` can use ``adapters`` where loads run beside serving.

    Those that are absent are loaded from ``tick`` on, in order, as channels become free.
    """
    done, ends = tick, dict(gpu.loading)
    channels = [tick] * min((site.channels or 0) - len(ends), len(adapters)) + sorted(ends.values())
    for a in sorted(adapters):
        if a in ends:
            done = max(done, ends[a])
        elif a not in gpu.resident and (ticks := site.load_ticks(a)):
            done = max(done, channels[0] + ticks)
            heapreplace(channels, channels[0] + ticks)
    return done


class BatchBuilder:
    """A batch under construction on an idle GPU; what is added keeps every rule.

    Args:
        site: Where it runs.
        gpu: The GPU.
        resident: Adapters that are resident while it runs.
        tick: The current tick.
        evict: Which residents go when a member's adapter is loaded; None: none is loaded.
        least: The least that any waiting job needs of each resource: a batch without room for it
            is full. None where that is not known.

    Attributes:
        resident: Adapters that are resident while it runs, so far.
        jobs: Its members, the leader first.
        members: ``(job index, option)`` of each.
        active: Adapters that they use.
        free: What is left of each resource of the site; None where it is unlimited.
        full: Whether no job can join: the step-time table ends here, or there is no room for the
            least of demands, not even with all idle residents evicted.
    """

    def __init__(
        self,
        site: Site,
        gpu: GpuState,
        resident: Adapters,
        *,
        tick: int,
        evict: EvictionOrder | None = None,
        least: Amounts | None = None,
    ) -> None:
        self._site, self._tick, self._evict, self._least = site, tick, evict, least
        self.gpu = gpu
        self.resident = resident
        self.jobs: list[Job] = []
        self.members: list[tuple[int, int]] = []
        self.active: Adapters = frozenset()
        self.free = list(site.room(gpu.index, resident))
        self.full = False
        self._steps: list[int] = []

    def _is_full(self) -> bool:
        largest = self._site.clock.largest
        if largest is not None and len(self.jobs) >= largest:
            return True
        least = self._least
        if least is None or self._could_hold(least, 0):
            return False
        return not self._could_hold(least, self._idle_vram())

    def _idle_vram(self) -> int:
        """Memory of the residents that no member uses."""
        site = self._site
        return site.resident_vram(self.resident) - site.resident_vram(self.active)

    def admits(self, job: Job, *, load: bool = False) -> bool:
        """Whether adapters and resources allow ``job``, idle residents evicted where it is loaded.

        The horizon may still forbid it, and so may a GPU that has switched ahead.
        """
        if self.full or (
            job.adapter not in self.active and len(self.active) == self._site.max_per_batch
        ):
            return False
        if job.adapter in self.resident:
            return self._could_hold(job.demand, 0)
        if not load or self._evict is None:
            return False
        spare = self._idle_vram() - self._site.adapter_vram[job.adapter]
        return self._could_hold(job.demand, spare)

    def _could_hold(self, demand: Amounts, vram: int) -> bool:
        """Whether there is room for ``demand`` with so much more memory free."""
        for need, room in zip(demand, self.free, strict=True):
            if room is not None and need > room + vram:
                return False
            vram = 0  # memory is the first resource
        return True

    def add(self, job: Job, option: int, *, load: bool = False) -> bool:
        """Add ``job``; False, and nothing changes, where a rule forbids it.

        Args:
            job: The new member.
            option: How it is run.
            load: Whether its adapter may be loaded for it, at the cost of a longer switch.
        """
        if not self.admits(job, load=load):
            return False
        if job.adapter not in self.resident:
            return self._load(job, option)
        active = self.active if job.adapter in self.active else self.active | {job.adapter}
        steps = job.options[option].steps
        if self._site.horizon is not None and self._end(active, steps) > self._site.horizon:
            return False
        self.active = active
        self._steps.append(steps)
        self.jobs.append(job)
        self.members.append((job.index, option))
        self.free = [
            None if room is None else room - need
            for need, room in zip(job.demand, self.free, strict=True)
        ]
        self.full = self._is_full()
        return True

    def _load(self, job: Job, option: int) -> bool:
        """Add a job whose adapter is loaded for it, where there is room for both."""
        assert self._evict is not None, "admitted only where adapters may be loaded"
        resident = make_room(self._site, self.gpu, [*self.jobs, job], self._evict)
        if resident is None:
            return False
        before = self.resident, self.free
        self.resident, self.free = resident, list(self._site.room(self.gpu.index, resident))
        for member in self.jobs:
            self.free = [
                None if room is None else room - need
                for need, room in zip(member.demand, self.free, strict=True)
            ]
        if self.add(job, option):
            return True
        self.resident, self.free = before
        return False

    def _end(self, active: Adapters, steps: int) -> int:
        return self._start(active) + self._site.clock.duration(shape_of((*self._steps, steps)))

    def _start(self, active: Adapters) -> int:
        site, ready = self._site, self._tick
        if site.channels is not None:
            ready = loaded_at(site, self.gpu, ready, active)
        return ready + self.gpu.switch_ticks(site, self.resident, active)

    @property
    def start_tick(self) -> int:
        """The tick at which it starts, its loads and its switch done."""
        return self._start(self.active)

    @property
    def ticks(self) -> int:
        """Ticks from its start to its end, its switch left out."""
        return self._site.clock.duration(shape_of(self._steps))

    @property
    def end_tick(self) -> int:
        """The tick at which its last member is done."""
        return self.start_tick + self.ticks

    def start(self) -> Start:
        """The batch as an action."""
        return Start(self.gpu.index, tuple(self.members), self.resident)


def open_batch(
    site: Site,
    gpu: GpuState,
    job: Job,
    options: Iterable[int],
    *,
    tick: int,
    evict: EvictionOrder,
    least: Amounts | None = None,
) -> BatchBuilder | None:
    """Open a batch on ``gpu`` led by ``job``, with the first of ``options`` that ends in time.

    None where none ends by the horizon, or where the job does not fit. The rest is as for
    :class:`BatchBuilder`.
    """
    resident = make_room(site, gpu, (job,), evict)
    if resident is None:
        return None
    batch = BatchBuilder(site, gpu, resident, tick=tick, evict=evict, least=least)
    for option in options:
        if batch.add(job, option):
            return batch
    return None
