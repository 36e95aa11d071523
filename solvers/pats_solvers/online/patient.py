"""Patient: at an empty queue, wait a little for the next request before switching away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar

from msgspec import Meta

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job
from pats_opt.model.timing import to_ticks
from pats_solvers.online.base import MaxWait, QueuePolicy
from pats_solvers.online.dispatch.packing import make_room
from pats_solvers.online.dispatch.rates import MemoryS, Rates
from pats_solvers.online.dispatch.rule import Desk, Rule
from pats_solvers.online.dispatch.visits import Draining, route


class Patient(QueuePolicy, frozen=True, kw_only=True):
    """``drain-first``, but at its empty queue a GPU waits for a timer when an arrival is likely.

    Rule: going to the longest queue would evict the GPU's own adapter, which takes C seconds to
    load again from there. So it waits ``patience`` x C seconds, from when it was idle and somebody
    else waited, where the chance of an arrival at its own queue in that time,
    1 - exp(-lambda ``patience`` C), is at least ``likely``; lambda is the adapter's arrival rate,
    an exponentially decaying count. Whoever arrives there is served at once; when the timer ends
    the GPU goes. It does not wait where the own adapter stays resident anyway, nor under a hard
    horizon, as the time might be missing in the end. Nobody waits for ever: the timer's start is
    fixed, and after it the longest queue is served. With several GPUs each waits at its own queue.
    Source: the llmux scheduling problem's question whether a timer helps; patient servers are known
    from polling systems (Boxma, Schlegel and Yechiali, Annals of Operations Research 112, 2002).

    Args:
        patience: How long to wait, as a multiple of the seconds of loading the adapter again.
        likely: Chance of an arrival in that time, from which on it waits, 0 to 1.
        memory_s: How long an arrival counts in the estimate of its adapter's rate, seconds.
    """

    name: ClassVar[str] = "patient"

    patience: Annotated[float, Meta(ge=0, le=1e6, extra={"search": [0.0, 4.0]})] = 0.5
    likely: Annotated[float, Meta(ge=0, le=1)] = 0.5
    memory_s: MemoryS = 120.0
    max_wait_s: MaxWait = 60.0

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return _Patient(desk, self)


class _Patient(Draining):
    def __init__(self, desk: Desk, policy: Patient) -> None:
        super().__init__(desk, route("longest", desk))
        self._policy = policy
        self._rates = Rates(desk.site, policy.memory_s)
        self._until: dict[int, int] = {}  # GPU -> end of its timer, as of its last decision

    def arrived(self, job: Job, tick: int) -> None:
        """An arrival."""
        self._rates.arrived(job.adapter, tick)

    def next_head(self, gpu: GpuState, tick: int) -> Job | None:
        """None while the timer runs."""
        self._until.pop(gpu.index, None)
        heads = self.free_heads(gpu)
        if not heads:
            return None
        head = heads[self.where(gpu, heads)]
        until = max(gpu.free_at, min(job.arrival for job in heads.values()))
        until += self._patience(gpu, head, tick)
        if until <= tick:
            return head
        self._until[gpu.index] = until
        return None

    def wake(self, idle: Sequence[GpuState], tick: int) -> int | None:  # noqa: ARG002
        """The first timer's end."""
        return min((self._until[g.index] for g in idle if g.index in self._until), default=None)

    def _patience(self, gpu: GpuState, head: Job, tick: int) -> int:
        """Ticks to wait before going to ``head``."""
        visit = self.visits.get(gpu.index)
        if visit is None or self.site.horizon is not None:
            return 0
        after = make_room(self.site, gpu, (head,), self.desk.evictions)
        if after is None or visit.adapter in after:
            return 0
        seconds = self._policy.patience * self.site.load_seconds(visit.adapter, after)
        chance = -math.expm1(-self._rates(visit.adapter, tick) * seconds)
        return to_ticks(seconds, self.site.tick_s) if chance >= self._policy.likely else 0
