"""The waiting requests at the price of GPU time, for ``price-index``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job, Site
from pats_opt.model.timing import to_ticks
from pats_solvers.online.arrivals import ArrivalMemory
from pats_solvers.online.common.context import RunContext, RunSetup
from pats_solvers.online.common.options import priced
from pats_solvers.online.pricing import MOST_MEMBERS, BatchPricing, Choice, JobTable, PricedJob
from pats_solvers.online.worth import LiveJobs

#: Load up to which the delay of later requests is reckoned with.
MOST_LOAD = 0.9

#: Share of what is reckoned that is sure to be below it.
SURE = 1.0 - 1e-9


class PlannedOptions:
    """Options of the planned batch; for other jobs the one that costs least alone.

    Attributes:
        option: Option of each planned job, by its index.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self.option: dict[int, int] = {}

    def __call__(self, job: Job) -> int:
        """Return the option of a job."""
        found = self.option.get(job.index)
        return priced(self._site, job) if found is None else found


class PriceIndexRun(RunContext):
    """The waiting jobs with their prices, past arrivals, and the planned batch.

    Attributes:
        jobs: The live jobs, priced.
        live: The waiting jobs that may yet be worth serving.
        pricing: Makes batches.
        plan: Options of the planned batch.
        members: The planned batch; empty where none is.
        past: The last arrivals.
        patience: For each queue that gathers requests, the ticks to the next arrival from which on
            it no longer does.
    """

    def __init__(self, setup: RunSetup, plan: PlannedOptions, memory: int) -> None:
        super().__init__(setup)
        self.jobs = JobTable(self.site)
        self.live = LiveJobs(self.site, self.waiting, self.jobs)
        self.pricing = BatchPricing(self.site)
        self.plan = plan
        self.members: list[Choice] = []
        self.past = ArrivalMemory(self.site, memory)
        self.patience = list[float]()
        self._price, self._count = 0.0, 0
        self._least, self._most = self.waiting.least, 1
        self._quickest: dict[tuple[int, int], tuple[int, int]] = {}

    @property
    def mean_price(self) -> float:
        """Loss per tick of one job's latency, the mean of all so far."""
        return self._price / self._count

    def arrived(self, job: Job) -> None:
        """Count an arrival."""
        priced = self.jobs.priced[job.index]
        self.past.add(job.arrival, priced.steps, job.adapter)
        self._price += priced.price
        self._count += 1

    def gap_ticks(self) -> float:
        """Mean ticks between arrivals."""
        return self.past.gap_ticks(self.tick)

    def worthwhile(self, jobs: Sequence[Job], forecast: float) -> tuple[list[Job], list[Job]]:
        """Part jobs into those worth serving at the price of GPU time, and the others.

        ``forecast`` of the arrivals meanwhile are held up too; loads are left out.
        """
        if not self.jobs.rejectable:
            return list(jobs), []
        gpus = len(self.site.gpus)
        a_second = forecast * self.mean_price / self.site.tick_s / gpus / self.gap_ticks()
        return self.jobs.worthwhile(jobs, self.tick, a_second, gpus)

    def expected_arrivals(self, gpu: GpuState, jobs: Sequence[Job]) -> float:
        """Arrivals while ``jobs`` are served, one after another with their fewest steps."""
        site, priced = self.site, self.jobs.priced
        loads = {job.adapter for job in jobs} - gpu.resident
        seconds = sum([priced[job.index].service_s for job in jobs])
        seconds += sum([site.load_s[a] for a in sorted(loads)])
        return seconds / site.tick_s / len(site.gpus) / self.gap_ticks()

    def switch_ticks(self, seconds: float) -> int:
        """Ticks of a switch of so many seconds."""
        return 0 if self.site.clock.slotted else to_ticks(seconds, self.site.tick_s)

    def most_members(self) -> int:
        """Largest number of members of any batch of the jobs so far."""
        if self.waiting.least != self._least:
            self._least, self._most = self.waiting.least, self._most_of_least()
        return self._most

    def _most_of_least(self) -> int:
        largest = self.site.clock.largest
        most = MOST_MEMBERS if largest is None else min(MOST_MEMBERS, largest)
        return max(1, *[min([most, *self._fitting(gpu.index)]) for gpu in self.site.gpus])

    def _fitting(self, gpu: int) -> list[int]:
        """Number of the least demands that fit each limited resource of a GPU."""
        room = self.site.room(gpu, frozenset())
        return [
            there // need
            for there, need in zip(room, self.waiting.least or (), strict=True)
            if there is not None and need > 0
        ]

    def quickest(self, steps: int, most: int) -> tuple[int, int]:
        """Return ticks and members of the quickest batch per member.

        No batch of at most ``most`` members that run ``steps`` at least takes less per member.
        """
        if (steps, most) not in self._quickest:
            duration = self.site.clock.duration
            batches = [(duration(((steps, k),)), k) for k in range(1, most + 1)]
            self._quickest[steps, most] = min(batches, key=lambda batch: batch[0] / batch[1])
        return self._quickest[steps, most]


class Backlog:
    """The waiting jobs that an idle GPU can serve, at the price of its time.

    Args:
        run: The run.
        gpu: The GPU.
        jobs: The jobs, one at least.
        forecast: Share of the arrivals meanwhile that a delay holds up besides them.

    Attributes:
        price: Loss for each tick of the GPU's time.
        queues: The jobs by adapter: those worth serving at the price, the most urgent first, then
            the others likewise.
    """

    def __init__(
        self, run: PriceIndexRun, gpu: GpuState, jobs: Sequence[Job], forecast: float
    ) -> None:
        self._run, self._gpu, self._site = run, gpu, run.site
        gpus, priced = len(run.site.gpus), run.jobs.priced
        counted, others = run.worthwhile(jobs, forecast)
        arriving = forecast * run.mean_price * run.expected_arrivals(gpu, counted)
        waiting = sum([priced[job.index].price for job in counted])
        urgent = run.jobs.by_urgency(counted, run.tick, (waiting + arriving) / gpus)
        self.price = sum([job.price for job in urgent], arriving) / gpus
        if others:
            urgent += run.jobs.by_urgency(others, run.tick, self.price)
        self.queues: dict[int, list[PricedJob]] = {}
        for job in urgent:
            self.queues.setdefault(job.adapter, []).append(job)
        self._prices = {a: sum([job.price for job in queue]) for a, queue in self.queues.items()}
        self._most = run.most_members()
        self._victim = self._next_to_go()
        self._back = self._back_ticks()

    @cached_property
    def _next_arrival(self) -> float | None:
        """Ticks to the next arrival, if one is expected."""
        return self._run.past.next_arrival(self._run.tick)

    def best_batch(self) -> list[Choice]:
        """Return the batch of the adapter with the highest index; empty where none is worth it.

        Ties go to the adapter of the most urgent job. Adapters are tried from the highest bound on
        their index on, so that few batches are made.
        """
        best, members = (math.inf, 0), list[Choice]()
        for bound, place, adapter in self._ranked():
            if (bound, place) > best:
                break
            batch, ticks = self.batch(adapter)
            if batch:
                rank = -self.index(adapter, ticks, len(batch)), place
                if rank < best:
                    best, members = rank, batch
        return members

    def _ranked(self) -> list[tuple[float, int, int]]:
        """Adapters from the highest bound on, each with its bound, negative, and its place."""
        places = enumerate(self.queues)
        return sorted((-self.bound(a), place, a) for place, a in places if not self._gathers(a))

    def _gathers(self, adapter: int) -> bool:
        """Whether the switch to an adapter waits until more requests share its price.

        To gather n requests before each trip, they wait for n (n - 1) / 2 gaps in all. One more is
        waited for while the n (n + 1) / 2 gaps of its trip lose less than the trip costs: the
        economic lot size, for whole requests. The trip is the switch there and, as far as the
        adapter that must go comes more often, the one back. A tick in which the GPU idles delays
        also those who come until it has caught up, 1 / (1 - load) ticks in all. For a load beside
        serving it does not idle.
        """
        run, site, queue = self._run, self._site, self.queues[adapter]
        price = run.switching_s(adapter, self._gpu) * site.switch_price_per_s
        if price <= 0.0 or self._victim is None or self._urgent(queue):
            return False
        share, back = run.past.share(adapter), run.past.share(self._victim)
        if share <= 0.0 or back <= 0.0 or (gap := self._next_arrival) is None:
            return False
        ticks, size = run.quickest(min([job.steps for job in queue]), self._most)
        load = min(MOST_LOAD, ticks / size / run.gap_ticks() / len(site.gpus))
        if self._gpu.free_at > run.tick:
            load = 0.0
        lost = self._prices[adapter] * (len(queue) + 1) / 2.0 * gap / share / (1.0 - load)
        saved = 2.0 * price * back / (back + share)
        if lost >= saved:
            return False
        run.patience.append(SURE * gap * saved / lost if lost > 0.0 else math.inf)
        return True

    def _next_to_go(self) -> int | None:
        """The resident that goes when another adapter is loaded; None where there is room."""
        resident = self._gpu.resident
        if len(resident) < min(self._site.max_resident, len(self._site.adapter_ids)):
            return None
        return self._run.eviction(self._gpu.index, resident)[0]

    def _urgent(self, queue: Sequence[PricedJob]) -> bool:
        """Whether waiting may cost more than latency: a deadline, or the end of all."""
        return self._site.horizon is not None or any(job.choices[0].late > 0.0 for job in queue)

    def index(self, adapter: int, ticks: int, size: int) -> float:
        """Return Smith's ratio of a run through an adapter's queue.

        That is the loss per tick of those served, for each tick of GPU time: the switch there, the
        batches, and the switch back to what is left behind. The price of a switch counts as the GPU
        time that it is worth.

        Args:
            adapter: The adapter.
            ticks: Ticks of a batch.
            size: Its members.
        """
        queue, switch_s = self.queues[adapter], self._run.switching_s(adapter, self._gpu)
        took = self._run.switch_ticks(switch_s) + self._worth_ticks(switch_s)
        took += ticks * len(queue) / size
        if switch_s > 0.0:
            took += self._back
        return self._prices[adapter] / max(took, 1e-9)

    def bound(self, adapter: int) -> float:
        """Return an upper bound on the index: with the quickest batches there could be."""
        queue = self.queues[adapter]
        steps = min([job.steps for job in queue])
        return self.index(adapter, *self._run.quickest(steps, min(self._most, len(queue))))

    def batch(self, adapter: int) -> tuple[list[Choice], int]:
        """Return the batch that an adapter would make, and its ticks.

        Empty where none fits, or where serving it gains less over rejection than its switch costs.
        Where some of the queue must be served, they make one without the others then.
        """
        found = self._batch_of(adapter, self.queues[adapter])
        if not found[0]:
            owed = [job for job in self.queues[adapter] if job.job.reject_loss is None]
            found = self._batch_of(adapter, owed)
        return found

    def _batch_of(self, adapter: int, queue: Sequence[PricedJob]) -> tuple[list[Choice], int]:
        run, price = self._run, self.price
        switch_s = run.switching_s(adapter, self._gpu)
        waits = run.switch_ticks(switch_s)
        for room in self._rooms(adapter):
            members = run.pricing.select(queue, room, run.tick + waits, price, self._most)
            if members:
                break
        else:
            return [], 0
        loss, ticks = run.pricing.improve(members, run.jobs.priced, run.tick + waits, price)
        others = max(0.0, price - sum([c.price for c in members]))
        gain = sum([c.reject for c in members]) - loss - others * ticks
        if gain < switch_s * self._site.switch_price_per_s + others * waits:
            return [], 0
        return members, ticks

    def _worth_ticks(self, seconds: float) -> float:
        """Ticks of GPU time that the price of so many seconds of switching is worth."""
        return seconds * self._site.switch_price_per_s / self.price if self.price > 0.0 else 0.0

    def _back_ticks(self) -> float:
        """Ticks to load what must go again, if that leaves requests behind."""
        if self._victim is None or self._victim not in self.queues:
            return 0.0
        seconds = self._site.load_s[self._victim]
        return self._run.switch_ticks(seconds) + self._worth_ticks(seconds)

    def _rooms(self, adapter: int) -> Iterator[tuple[int | None, ...]]:
        """Room for a batch of one adapter: beside other residents, or else without them."""
        site, gpu = self._site, self._gpu
        held = gpu.resident
        if adapter not in held:
            held = (held if self._victim is None else held - {self._victim}) | {adapter}
        yield site.room(gpu.index, held)
        if site.max_resident > 1:
            yield site.room(gpu.index, frozenset((adapter,)))
