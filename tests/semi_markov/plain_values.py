"""The decision process once more, in plain Python: every policy's rules from the simulator's own.

Values are iterated tick by tick on dictionaries. A decision is whatever ``admit_start`` and
``admit_switch`` allow, and its time and cost are theirs and those of ``serving_loss``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, product

from msgspec.structs import replace

from pats_opt.core.policy import GpuState, Start, StartLoad, State, SwitchTo
from pats_opt.model.loss import serving_loss, switching_loss
from pats_opt.model.problem import Job, Site
from pats_opt.simulate.rules import BrokenRuleError, admit_load, admit_start, admit_switch
from pats_solvers.semi_markov.arrivals import RequestKind

#: Tick of the epoch that is looked at; jobs have arrived at it.
NOW = 0

Queues = tuple[int, ...]
Epoch = tuple[Queues, GpuState]
Branch = tuple[float, int, Queues, GpuState]  # cost, ticks, queues left, GPU afterwards


class PlainProcess:
    """The decision process of a site with limited queues; arrivals beyond cost ``over`` each."""

    def __init__(self, site: Site, kinds: Sequence[RequestKind], limit: int, over: float) -> None:
        self.site, self.kinds, self.limit, self.over = site, kinds, limit, over
        self.prices = [kind.price(site) for kind in kinds]

    def branches(self, queues: Queues, gpu: GpuState) -> Iterator[Branch]:
        """Yield the decisions at an epoch, but for the wait."""
        jobs = self._jobs(queues)
        state = State(NOW, {job.index: job for job in jobs}, (), (), (gpu,))
        adapters = range(len(self.site.adapter_ids))
        sets = [
            frozenset(chosen)
            for size in range(self.site.max_resident + 1)
            for chosen in combinations(adapters, size)
        ]
        for resident in sets:
            for members in self._members(queues, jobs):
                try:
                    admitted = admit_start(self.site, state, Start(0, members, resident))
                except BrokenRuleError:
                    continue
                cost = switching_loss(self.site, self._seconds(gpu, resident, admitted.active))
                cost += self.served(state, members, admitted.start)
                after = GpuState(0, resident, admitted.active)
                yield cost, admitted.end - NOW, self.left(state, members, queues), after
            try:
                after_switch, end = admit_switch(self.site, state, SwitchTo(0, resident))
            except BrokenRuleError:
                continue
            if end > NOW:
                seconds = self.site.switch(gpu.resident, resident, frozenset(), None).seconds
                after = GpuState(0, after_switch, gpu.active, before=gpu.resident)
                yield switching_loss(self.site, seconds), end - NOW, queues, after

    def later(self, gpu: GpuState) -> GpuState:
        """The GPU a tick later, where nothing is decided."""
        return gpu

    def served(self, state: State, members: Sequence[tuple[int, int]], start: int) -> float:
        """Loss of the members of a batch that starts at a tick."""
        steps = tuple(state.waiting[j].options[o].steps for j, o in members)
        ends = self.site.clock.ends(steps)[0]
        return sum(
            serving_loss(self.site, state.waiting[j], o, start + ends[s])
            for (j, o), s in zip(members, steps, strict=True)
        )

    def left(self, state: State, members: Sequence[tuple[int, int]], queues: Queues) -> Queues:
        """The queues without the members of a batch."""
        gone = [state.waiting[j].position for j, _ in members]
        return tuple(n - gone.count(i) for i, n in enumerate(queues))

    def _seconds(self, gpu: GpuState, resident: frozenset[int], active: frozenset[int]) -> float:
        """Seconds that a batch's switch pays; a switch ahead has paid its loads."""
        before = gpu.resident if gpu.before is None else gpu.before
        switch = self.site.switch(before, resident, active, gpu.active)
        if gpu.before is None:
            return switch.seconds
        return len(switch.activate) * self.site.activate_s

    def _jobs(self, queues: Queues) -> list[Job]:
        """One job for each that waits; ``position`` is its kind."""
        chosen = [i for i, n in enumerate(queues) for _ in range(n)]
        return [replace(self.kinds[i].job(), index=j, position=i) for j, i in enumerate(chosen)]

    def _members(self, queues: Queues, jobs: list[Job]) -> Iterator[tuple[tuple[int, int], ...]]:
        """Yield batches: of each kind the first of its jobs, with every choice of options."""
        first = {i: [job.index for job in jobs if job.position == i] for i in range(len(queues))}
        for counts in product(*[range(min(n, 3) + 1) for n in queues]):
            chosen = [j for i, n in enumerate(counts) for j in first[i][:n]]
            for options in product(*[range(len(jobs[j].options)) for j in chosen]):
                if chosen:
                    yield tuple(zip(chosen, options, strict=True))

    def stays(self, gpu: GpuState) -> int:  # noqa: ARG002 - a hook
        """Ticks after a decision's own for which an arrival stays that finds its queue full."""
        return 0

    def meanwhile(self, left: Queues, ticks: int, after: GpuState) -> float:
        """Loss until the next epoch of those that are left, and of those that arrive."""
        loss = 0.0
        for n, price, kind in zip(left, self.prices, self.kinds, strict=True):
            loss += n * price * ticks
            loss += sum(kind.rate * price * (ticks - k) for k in range(1, ticks + 1))
            loss += (self.over + price * self.stays(after)) * sum(
                (n + a - self.limit) * self.chance(kind.rate * ticks, a)
                for a in range(self.limit - n + 1, 60)
            )
        return loss

    @staticmethod
    def chance(mean: float, count: int) -> float:
        """Probability of a count of arrivals."""
        return math.exp(-mean) * mean**count / math.factorial(count)

    def next_queues(self, left: Queues, ticks: int) -> Iterator[tuple[Queues, float]]:
        """Yield the queues after the arrivals, each with its probability."""
        ways = []
        for n, kind in zip(left, self.kinds, strict=True):
            shares = [self.chance(kind.rate * ticks, a) for a in range(self.limit - n)]
            ways.append([*enumerate(shares, n), (self.limit, 1.0 - sum(shares))])
        for chosen in product(*ways):
            yield tuple(n for n, _ in chosen), math.prod(share for _, share in chosen)


class PlainLoader(PlainProcess):
    """The same with loads beside serving, tick by tick; ``free_at`` and ends are from now on."""

    def branches(self, queues: Queues, gpu: GpuState) -> Iterator[Branch]:
        """Yield what can be started at a tick: a batch, a load, or a batch and a load."""
        jobs = self._jobs(queues)
        state = State(NOW, {job.index: job for job in jobs}, (), (), (gpu,))
        starts = [(0.0, queues, gpu)]
        for members in self._members(queues, jobs):
            try:
                admitted = admit_start(self.site, state, Start(0, members, gpu.resident))
            except BrokenRuleError:
                continue
            cost, left = self.served(state, members, NOW), self.left(state, members, queues)
            busy = replace(gpu, active=admitted.active, free_at=admitted.end)
            starts.append((cost, left, busy))
        for cost, left, now in starts:
            if now is not gpu:
                yield cost, 1, left, self.later(now)
            for price, loading in self._loads(now):
                yield cost + price, 1, left, self.later(loading)

    def _loads(self, gpu: GpuState) -> Iterator[tuple[float, GpuState]]:
        """Yield the price of each load that may start, and the GPU then."""
        state = State(NOW, {}, (), (), (gpu,))
        for adapter in range(len(self.site.adapter_ids)):
            for size in range(len(gpu.resident) + 1):
                for evict in combinations(sorted(gpu.resident), size):
                    try:
                        resident, end = admit_load(
                            self.site, state, StartLoad(0, adapter, frozenset(evict))
                        )
                    except BrokenRuleError:
                        continue
                    price = switching_loss(self.site, self.site.load_s[adapter])
                    yield price, replace(gpu, resident=resident, loading=((adapter, end),))

    def stays(self, gpu: GpuState) -> int:
        """Ticks until something can be decided; it leaves then."""
        if gpu.free_at and gpu.loading:
            return min(gpu.free_at, gpu.loading[0][1])
        return 0 if any(self._loads(gpu)) else gpu.free_at

    def later(self, gpu: GpuState) -> GpuState:
        """The GPU a tick later."""
        busy = max(0, gpu.free_at - 1)
        return replace(
            gpu,
            active=gpu.active if busy else None,
            free_at=busy,
            loading=tuple((a, end - 1) for a, end in gpu.loading if end > 1),
        )


def plain_optimum(process: PlainProcess, sweeps: int) -> tuple[float, float]:
    """Return bounds on the least loss per tick by value iteration, one tick at a time (Odoni)."""
    start = GpuState(0, process.site.gpus[0].resident)
    queues = list(product(range(process.limit + 1), repeat=len(process.kinds)))
    todo, known = [start], {start}
    table: dict[Epoch, list[tuple[float, int, list[tuple[Epoch, float]]]]] = {}
    for gpu in todo:  # grows
        for counts in queues:
            found = []
            wait = (0.0, 1, counts, process.later(gpu))
            for cost, ticks, left, after in (wait, *process.branches(counts, gpu)):
                if after not in known:
                    known.add(after)
                    todo.append(after)
                loss = cost + process.meanwhile(left, ticks, after)
                ahead = [((q, after), p) for q, p in process.next_queues(left, ticks)]
                found.append((loss, ticks, ahead))
            table[counts, gpu] = found
    values = dict.fromkeys(table, 0.0)
    low = high = 0.0
    for _ in range(sweeps):
        rates = {
            epoch: min(
                (loss + sum(p * values[s] for s, p in ahead) - values[epoch]) / ticks
                for loss, ticks, ahead in found
            )
            for epoch, found in table.items()
        }
        low, high = min(rates.values()), max(rates.values())
        first = rates[next(iter(rates))]
        for epoch in values:
            values[epoch] += 0.9 * (rates[epoch] - first)
    return low, high
