"""The decision process once more, in plain Python: every policy's rules from the simulator's own.

Values are iterated tick by tick on dictionaries. A decision is whatever ``admit_start`` and
``admit_switch`` allow, and its time and cost are theirs and those of ``serving_loss``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, product

from pats_opt.core.policy import GpuState, Start, State, SwitchTo
from pats_opt.model.loss import serving_loss, switching_loss
from pats_opt.model.problem import Job, Site
from pats_opt.simulate.rules import BrokenRuleError, admit_start, admit_switch
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
                ends = self.site.clock.ends(
                    tuple(state.waiting[j].options[o].steps for j, o in members)
                )[0]
                for j, o in members:
                    job = state.waiting[j]
                    completion = admitted.start + ends[job.options[o].steps]
                    cost += serving_loss(self.site, job, o, completion)
                left = tuple(
                    n - sum(state.waiting[j].position == i for j, _ in members)
                    for i, n in enumerate(queues)
                )
                after = GpuState(0, resident, admitted.active)
                yield cost, admitted.end - NOW, left, after
            try:
                after_switch, end = admit_switch(self.site, state, SwitchTo(0, resident))
            except BrokenRuleError:
                continue
            if end > NOW:
                seconds = self.site.switch(gpu.resident, resident, frozenset(), None).seconds
                after = GpuState(0, after_switch, gpu.active, before=gpu.resident)
                yield switching_loss(self.site, seconds), end - NOW, queues, after

    def _seconds(self, gpu: GpuState, resident: frozenset[int], active: frozenset[int]) -> float:
        """Seconds that a batch's switch pays; a switch ahead has paid its loads."""
        before = gpu.resident if gpu.before is None else gpu.before
        switch = self.site.switch(before, resident, active, gpu.active)
        if gpu.before is None:
            return switch.seconds
        return len(switch.activate) * self.site.activate_s

    def _jobs(self, queues: Queues) -> list[Job]:
        """One job for each that waits; ``position`` is its kind."""
        from msgspec.structs import replace

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

    def meanwhile(self, left: Queues, ticks: int) -> float:
        """Loss until the next epoch of those that are left, and of those that arrive."""
        loss = 0.0
        for n, price, kind in zip(left, self.prices, self.kinds, strict=True):
            loss += n * price * ticks
            loss += sum(kind.rate * price * (ticks - k) for k in range(1, ticks + 1))
            loss += self.over * sum(
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


def plain_optimum(process: PlainProcess, sweeps: int) -> tuple[float, float]:
    """Return bounds on the least loss per tick by value iteration, one tick at a time (Odoni)."""
    start = GpuState(0, process.site.gpus[0].resident)
    queues = list(product(range(process.limit + 1), repeat=len(process.kinds)))
    todo, known = [start], {start}
    table: dict[Epoch, list[tuple[float, int, list[tuple[Epoch, float]]]]] = {}
    for gpu in todo:  # grows
        for counts in queues:
            found = []
            wait = (0.0, 1, counts, gpu)
            for cost, ticks, left, after in (wait, *process.branches(counts, gpu)):
                if after not in known:
                    known.add(after)
                    todo.append(after)
                loss = cost + process.meanwhile(left, ticks)
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
