"""Interface of online policies (PROBLEM.md section 7): parameters, and a decision at each event.

One policy object drives the simulator and the live executor. It never sees the future: it knows
the :class:`~pats_opt.model.problem.Site` from the start, and at each event a :class:`State` with
the jobs that have arrived. Jobs are numbered by arrival, so not even an index reveals what is to
come.

Events are arrivals, batch ends, ends of prefetching switches and of loads, withdrawals, and timers.
All events of one tick are applied before one decision; a second one at the same tick follows only a
:class:`SwitchTo` or :class:`StartLoad` that takes no time.

Where loads run beside serving (section 5a, ``Site.channels`` is a number), a :class:`StartLoad` may
come at any event for any GPU with a free channel, busy or not; nothing else makes an adapter
resident.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, Protocol, runtime_checkable

from msgspec import Struct

from pats_opt.core.solver import Capabilities, Kind
from pats_opt.model.problem import Adapters, Job, Site


class GpuState(Struct, frozen=True):
    """State of one GPU.

    Attributes:
        index: Its place in ``Site.gpus``.
        resident: Adapters resident now (after a switch in progress).
        active: Adapters of its last batch, or None before its first.
        free_at: Tick at which it becomes idle; at most the current tick while it is.
        before: Residents before a prefetch (:class:`SwitchTo`) that no batch has used yet, else
            None. Until one has, the GPU must serve as it is: a schedule has one switch a batch.
        loading: Its loads in progress beside serving, each as adapter and end tick. These adapters
            are resident already, and a batch can use one from the end of its load on.
        taken: Memory that all members of its last batch take together, in quanta. While the GPU is
            busy a load must fit beside them.
    """

    index: int
    resident: Adapters
    active: Adapters | None = None
    free_at: int = 0
    before: Adapters | None = None
    loading: tuple[tuple[int, int], ...] = ()
    taken: int = 0

    def switch_ticks(self, site: Site, resident: Adapters, active: Adapters) -> int:
        """Ticks of switching still due before a batch that uses ``active`` among ``resident``.

        A prefetch has done its loads; the activations are left. So they are where loads run beside
        serving.
        """
        if site.channels is not None:
            return site.activation(active, self.active).ticks
        before = self.resident if self.before is None else self.before
        switch = site.switch(before, resident, active, self.active)
        if self.before is None:
            return switch.ticks
        return site.switch(resident, resident, switch.activate, frozenset()).ticks


class State(Struct, frozen=True):
    """State at an event: read-only, and valid during that decision only.

    Attributes:
        tick: The current tick.
        waiting: Arrived jobs that are not served yet, by job index, in order of arrival.
        arrived: The jobs that arrived since the last decision, in order of arrival.
        withdrawn: The jobs that can no longer be served by the hard horizon and have left
            ``waiting`` since the last decision.
        gpus: Every GPU.
    """

    tick: int
    waiting: Mapping[int, Job]
    arrived: Sequence[Job]
    withdrawn: Sequence[Job]
    gpus: Sequence[GpuState]

    @property
    def idle(self) -> list[GpuState]:
        """GPUs that can start a batch or a switch at this tick."""
        return [gpu for gpu in self.gpus if gpu.free_at <= self.tick]


class Start(Struct, frozen=True):
    """Start a batch on an idle GPU, switching to ``resident`` first where that differs.

    ``members`` are ``(job index, option)``; ``resident`` holds at least their adapters. The members
    are committed at once, and the batch starts when the switch ends. Types are exact: an integer
    of numpy, or a list instead of a tuple, is refused.

    Where loads run beside serving it loads nothing: ``resident`` is what stays of the GPU's
    residents, among them all that are being loaded. The members' adapters are loaded by the time
    the switch, which only activates, ends. Within a tick it comes before the GPU's loads if it
    evicts.
    """

    gpu: int
    members: tuple[tuple[int, int], ...]
    resident: Adapters


class SwitchTo(Struct, frozen=True):
    """Switch an idle GPU to ``resident`` now, ahead of the batch that will need it."""

    gpu: int
    resident: Adapters


class StartLoad(Struct, frozen=True):
    """Start to load an adapter beside serving, on a GPU with a free channel, busy or not.

    What it evicts leaves at once: residents that are not being loaded and that no batch in progress
    uses. A batch counts as in progress from its :class:`Start` on, its switch included.
    """

    gpu: int
    adapter: int
    evict: Adapters = frozenset()


class WakeAt(Struct, frozen=True):
    """Ask again at this later tick, whatever else happens."""

    tick: int


Action = Start | SwitchTo | StartLoad | WakeAt

#: Gives the next actions of GPUs at an event; an idle one without any waits for the next event.
#: A request that may be rejected is rejected by leaving it waiting to the end.
Decide = Callable[[State], Iterable[Action]]


@runtime_checkable
class Policy(Protocol):
    """An online policy: an immutable struct of parameters with these class attributes."""

    name: ClassVar[str]
    kind: ClassVar[Kind]
    capabilities: ClassVar[Capabilities]

    def start(self, site: Site, seed: int) -> Decide:
        """A fresh decision function, with its own memory, for one run on ``site``."""
        ...
