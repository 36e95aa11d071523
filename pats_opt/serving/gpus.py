"""GPUs whose workers may die, and the clock of a policy that serves a network."""

from __future__ import annotations

import math
from collections.abc import Callable

from msgspec.structs import replace
from typing_extensions import override

from pats_opt.core.policy import GpuState
from pats_opt.execute.policy_driver import LONG_S, LiveGpus
from pats_opt.model.problem import Adapters, Site
from pats_opt.simulate.gpus import Clock

#: Members of a batch: the index of a job and its option, each.
Members = tuple[tuple[int, int], ...]


class ServedGpus(LiveGpus):
    """GPUs that may be lost and come back; see :class:`LiveGpus` for the arguments.

    Attributes:
        started: Called with a GPU and the members of the batch that it was given.
    """

    started: Callable[[GpuState, Members], None]

    @override
    def occupy(self, gpu: GpuState, tick: int, members: Members) -> None:
        super().occupy(gpu, tick, members)
        self.served.clear()  # nobody asks for it, and it would grow for ever
        if members:
            self.started(gpu, members)

    def lose(self, g: int, tick: int) -> None:
        """Note that a GPU's worker is dead: it is busy, and its residents and loads are gone."""
        self._ended.pop(g, None)
        for key in [key for key in self._loading if key[0] == g]:
            self._loading.pop(key)
            self._loaded.pop(key, None)
        self._earliest[g] = tick + 1
        self._gpus[g] = GpuState(g, frozenset(), None, free_at=tick + 1)

    def restore(self, g: int, resident: Adapters) -> None:
        """Note that a GPU has a worker again."""
        self._gpus[g] = replace(self._gpus[g], resident=resident)
        self.end(g)

    @property
    def held(self) -> frozenset[str]:
        """Adapters that a GPU holds, or held before a switch that no batch has used yet."""
        sets = [gpu.resident | (gpu.before or frozenset()) for gpu in self._gpus]
        return frozenset(self._site.adapter_ids[a] for a in frozenset[int]().union(*sets))

    def renumber(self, site: Site) -> None:
        """Number the adapters as another site does, which has all that are held."""
        places = enumerate(self._site.adapter_ids)
        new = {a: site.adapter_index[name] for a, name in places if name in site.adapter_index}

        def moved(adapters: Adapters) -> Adapters:
            return frozenset(new[a] for a in adapters if a in new)

        self._gpus = [
            replace(
                gpu,
                resident=moved(gpu.resident),
                active=None if gpu.active is None else moved(gpu.active),
                before=None if gpu.before is None else moved(gpu.before),
                loading=tuple([(new[a], end) for a, end in gpu.loading]),
            )
            for gpu in self._gpus
        ]
        self._loading = {key: (new[a], end) for key, (a, end) in self._loading.items()}
        self._loaded = {key: (new[a], end) for key, (a, end) in self._loaded.items()}
        self._site = site

    @property
    def at_work(self) -> int:
        """Number of GPUs that are busy."""
        return len(self._earliest)


class ServedClock(Clock):
    """A clock that waits for messages of workers and of clients alike.

    Args:
        gpus: The GPUs.
        clock: Seconds since the start.
        tick_s: Seconds per tick.
        receive: Takes a message, waited for so many seconds, and acts on it; whether there was
            one.
        expire: Withdraws what is overdue at a tick, and gives the next tick at which to ask again.
        ended: Whether the run is over.
    """

    def __init__(
        self,
        gpus: ServedGpus,
        clock: Callable[[], float],
        tick_s: float,
        *,
        receive: Callable[[float], bool],
        expire: Callable[[int], int | None],
        ended: Callable[[], bool],
    ) -> None:
        self._gpus, self._clock, self._tick_s = gpus, clock, tick_s
        self._receive, self._expire, self._ended = receive, expire, ended
        self._news = False

    @property
    def tick(self) -> int:
        """The tick that the clock is in."""
        return max(0, math.floor(self._clock() / self._tick_s + 1e-9))

    def notify(self) -> None:
        """Note that something came from outside, so that the policy is asked at once."""
        self._news = True

    @override
    def wait(self, due: int | None) -> int | None:
        while True:
            while self._receive(0.0):
                pass
            if self._ended():
                return None
            tick = self.tick
            expiry = self._expire(tick)
            known = [t for t in (due, self._gpus.next_end, expiry) if t is not None]
            if self._news or (known and min(known) <= tick):
                self._news = False
                return tick
            left = min(known) * self._tick_s - self._clock() if known else LONG_S
            self._receive(min(max(left, 0.0), LONG_S))
