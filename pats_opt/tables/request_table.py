"""A replayed schedule as columns, so that the figures of a million requests take seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from pats_opt.model.checker import ReplayedBatch
from pats_opt.model.problem import Job, Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Played:
    """One entry a served request, in the order of the batches, unless it says otherwise.

    Ticks are floats: exact up to 2 ** 53, and without a largest value above that.

    Attributes:
        jobs: The requests.
        options: The option that each is run with.
        batch: Place of its batch in the replayed schedule.
        sizes: Members of each batch, one entry a batch.
        job: Index of the request.
        adapter: Index of its adapter.
        arrival: Tick at which it arrives.
        start: Tick at which its batch starts.
        completion: Tick at which it is done.
        loaded: Whether the switch right before its batch loads its adapter.
        makespan: Ticks from 0 to the last batch's end, one for the schedule.
    """

    jobs: list[Job]
    options: list[int]
    batch: Ints
    sizes: Ints
    job: Ints
    adapter: Ints
    arrival: Floats
    start: Floats
    completion: Floats
    loaded: Flags
    makespan: int

    @property
    def wait(self) -> Floats:
        """Ticks from a request's arrival to the start of its batch."""
        return self.start - self.arrival

    @property
    def latency(self) -> Floats:
        """Ticks from a request's arrival to its completion."""
        return self.completion - self.arrival


def played(problem: Problem, batches: Sequence[ReplayedBatch]) -> Played:
    """The columns of a replayed schedule (see :func:`pats_opt.model.checker.check`)."""
    import numpy as np

    members = list(chain.from_iterable([b.members for b in batches]))
    jobs = [job for job, _, _ in members]
    sizes = _column([len(b.members) for b in batches], np.int64)
    batch = np.repeat(np.arange(len(batches)), sizes)
    job = _column([job.index for job in jobs], np.int64)
    adapter_of = _column([job.adapter for job in problem.jobs], np.int64)
    arrival_of = _column([job.arrival for job in problem.jobs], np.float64)
    adapter = adapter_of[job]
    loads = [b.switch.load for b in batches]
    own = zip(adapter.tolist(), batch.tolist(), strict=True)
    return Played(
        jobs=jobs,
        options=[option for _, option, _ in members],
        batch=batch,
        sizes=sizes,
        job=job,
        adapter=adapter,
        arrival=arrival_of[job],
        start=_column([b.batch.start for b in batches], np.float64)[batch],
        completion=_column([completion for _, _, completion in members], np.float64),
        loaded=_column([a in loads[b] for a, b in own], np.bool_),
        makespan=max([b.end for b in batches], default=0),
    )


def _column(values: Sequence[Any], kind: type[Any]) -> Any:
    """An array of this kind, of nothing too."""
    import numpy as np

    return np.array(values, dtype=kind)
