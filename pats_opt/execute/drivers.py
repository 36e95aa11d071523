"""What drives a run: a schedule or a policy, as :mod:`pats_opt.execute.run` sees them."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any, Protocol

from msgspec import Struct

from pats_opt.execute.orders import Translator
from pats_opt.execute.record import GpuRun
from pats_opt.execute.supervisor import Supervisor
from pats_opt.execute.work import Member, Shape
from pats_opt.model.schedule import SolverRef


class Outset(Struct, frozen=True, kw_only=True):
    """What one GPU's worker starts with.

    Attributes:
        needed: Whether it has anything to do; a GPU without gets no worker.
        resident: Adapters it holds.
        slots: Adapters it has to be able to hold.
        requests: Requests it may be given.
        prime: Members whose latents must be at hand.
        warm: Shapes that it will run.
    """

    needed: bool
    resident: tuple[str, ...]
    slots: int
    requests: tuple[str, ...]
    prime: tuple[Member, ...]
    warm: tuple[Shape, ...]


class Driver(Protocol):
    """Says what workers start with, and gives them their orders.

    Attributes:
        live: Whether a policy decides while it runs.
        maker: The schedule's solver, or the policy.
        sha256: Digest of the schedule; None for a policy.
        key: What of it decides the images and measures.
        wanted: Requests that are to get an image, as far as that is known.
        rejected: Those that are not served, as far as that is known.
        adapters: Adapters that may be needed.
        notes: What else the execution's document tells.
    """

    live: bool
    maker: SolverRef
    sha256: str | None
    key: dict[str, str]
    wanted: Set[str]
    rejected: tuple[str, ...]
    adapters: Set[str]
    notes: dict[str, Any]

    def set_up(
        self, translator: Translator, made: Set[str], past: Sequence[GpuRun]
    ) -> list[Outset]:
        """What each GPU's worker starts with.

        Args:
            translator: Of the instance.
            made: Requests that have their image from earlier sittings.
            past: What each GPU did in them.
        """
        ...

    def drive(self, supervisor: Supervisor) -> None:
        """Give the orders; workers may still be at the last ones when this returns.

        Raises:
            PatsError: A worker, or the policy, cannot go on.
        """
        ...
