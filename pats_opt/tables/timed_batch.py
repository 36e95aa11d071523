"""A batch on a clock in seconds, as comparisons with executions store it."""

from __future__ import annotations

from msgspec import Struct


class TimedMember(Struct, frozen=True, kw_only=True):
    """One request of a batch on a clock; ``completion_s`` is None where it has no image."""

    id: str
    option: int
    completion_s: float | None


class TimedBatch(Struct, frozen=True, kw_only=True):
    """One batch on a clock, with the switch before it.

    Attributes:
        gpu: Id of its GPU.
        index: Its place in the GPU's list of batches.
        adapters: Ids of the adapters that its members use.
        load: Ids of the adapters that its switch loads.
        paid_s: Seconds of loading and activation, which the loss prices.
        switch_start_s: When its switch begins; the switch ends at ``switch_end_s``, which may be
            well before the batch starts.
        start_s: When its members begin.
        end_s: When the GPU is done with it.
        members: Its requests.
        estimated: Whether its duration is not its own but estimated from its prediction.
    """

    gpu: str
    index: int
    adapters: tuple[str, ...]
    load: tuple[str, ...] = ()
    paid_s: float = 0.0
    switch_start_s: float
    switch_end_s: float
    start_s: float
    end_s: float
    members: tuple[TimedMember, ...]
    estimated: bool = False
