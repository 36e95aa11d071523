"""Where runs are done: in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

from enum import StrEnum

from pats_opt.memory import can_restart_peak
from pats_opt.runs.pool import RunPool, WorkerPool
from pats_opt.runs.record import cores


class RunEngine(StrEnum):
    """Where runs are done."""

    PROCESS = "process"  #: processes of this machine
    RAY = "ray"  #: tasks on the cluster that RAY_ADDRESS names


def run_engine(name: str) -> RunEngine:
    """The engine of a name.

    Raises:
        InputError: Its extra is not installed.
    """
    engine = RunEngine(name)
    if engine is RunEngine.RAY:
        from pats_opt.cluster import require

        require()
    return engine


def open_pool(engine: RunEngine, jobs: int | None = None, *, fresh: bool = False) -> RunPool:
    """The pool of an engine.

    Args:
        engine: Where runs are done.
        jobs: Runs at a time; None for all cores, of this machine or of the cluster.
        fresh: Whether each run has a process of its own, for measurements of memory. So it is
            anyway where the peak of a process cannot be measured again.

    Raises:
        InputError: The engine cannot be used.
    """
    fresh = fresh or not can_restart_peak()
    if engine is RunEngine.PROCESS:
        return WorkerPool(jobs or cores(), fresh=fresh)
    from pats_opt.runs.cluster import RayPool

    return RayPool(jobs, fresh=fresh)
