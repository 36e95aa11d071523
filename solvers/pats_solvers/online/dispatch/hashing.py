"""Routers by consistent hashing: an adapter has a home on a ring of GPUs."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Sequence
from hashlib import blake2b

from typing_extensions import override

from pats_opt.model.problem import Job
from pats_solvers.online.common.queue import Hosts
from pats_solvers.online.dispatch.routers import Router
from pats_solvers.online.dispatch.workload import Workload

#: Points of a GPU on a ring.
NODES = 128

#: Multiple of the average load that no GPU exceeds.
BALANCE = 1.25


def digest(text: str) -> int:
    """Return a number of 64 bits, the same on every machine and in every run."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


class HashRing:
    """Points of GPUs on a circle; a key belongs to the GPU whose point comes next, clockwise.

    With a GPU more or less, only the keys that it gets or had move. Source: Karger et al. (1997),
    "Consistent hashing and random trees".

    Args:
        names: Names of the GPUs, which alone place them.
        salt: Tells several rings apart.
    """

    def __init__(self, names: Sequence[str], salt: str = "") -> None:
        points = sorted(
            (digest(f"{salt}{name}#{node}"), gpu)
            for gpu, name in enumerate(names)
            for node in range(NODES)
        )
        self._salt = salt
        self._at = [at for at, _ in points]
        self._gpu = [gpu for _, gpu in points]
        self._orders: dict[str, tuple[int, ...]] = {}

    def order(self, key: str) -> tuple[int, ...]:
        """Return every GPU once, clockwise from the key."""
        if key not in self._orders:
            first = bisect(self._at, digest(f"{self._salt}{key}"))
            self._orders[key] = tuple(dict.fromkeys(self._gpu[first:] + self._gpu[:first]))
        return self._orders[key]


class HashRouter(Router):
    """The home of the request's adapter: the first GPU clockwise that can hold the request."""

    def __init__(self, workload: Workload, seed: int) -> None:
        super().__init__(workload, seed)
        self._names = workload.site.adapter_ids
        self._ring = HashRing([gpu.id for gpu in workload.site.gpus])

    def clockwise(self, job: Job, hosts: Hosts) -> list[int]:
        """Return ``hosts`` clockwise from the job's adapter."""
        order = self._ring.order(self._names[job.adapter])
        return [g for g in order if g in hosts] if len(hosts) < len(order) else list(order)

    @override
    def __call__(self, job: Job, hosts: Hosts, tick: int) -> int:
        return self.clockwise(job, hosts)[0]


class BoundedHash(HashRouter):
    """The first GPU clockwise whose load is below 1.25 times the average, rounded up.

    Loads count requests that wait or run, and the average the new one too; both are taken over the
    GPUs that can hold it. Source: Mirrokni, Thorup and Zadimoghaddam (2018), "Consistent hashing
    with bounded loads".
    """

    @override
    def __call__(self, job: Job, hosts: Hosts, tick: int) -> int:
        loads = (self.workload.waiting + self.workload.running).tolist()
        most = math.ceil(BALANCE * (sum([loads[g] for g in hosts]) + 1) / len(hosts))
        return next(g for g in self.clockwise(job, hosts) if loads[g] < most)
