"""Runs of a trial: a policy with some parameters on each instance, here or in workers."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any, Self

from msgspec import Struct

from pats_opt.errors import PatsError
from pats_opt.model.problem import Problem
from pats_opt.runs.engine import RunEngine, open_pool
from pats_opt.runs.instances import read_unchanged
from pats_opt.runs.pool import RunPool, WorkerCrashError
from pats_opt.solving.result import require_schedule
from pats_opt.solving.solve import solve
from pats_opt.tuning.instances import TuneInstance
from pats_opt.tuning.plan import TunePlan
from pats_opt.tuning.space import Target

log = logging.getLogger(__name__)

#: Seconds between checks for an interrupt.
POLL_S = 0.1

#: Problems kept in memory by each process.
KEPT = 256


class TrialRun(Struct, frozen=True):
    """One run: the checked loss or the error, and the seconds it took."""

    loss: float | None
    error: str | None
    seconds: float


class SearchInterruptedError(Exception):
    """The user interrupted the search."""


def perform(
    target: Target,
    params: Mapping[str, Any],
    instance: TuneInstance,
    time_limit: float | None,
    seed: int,
) -> TrialRun:
    """Run once. A failure of the run is a result, so that no trial ends a search.

    Raises:
        InputError: the instance's file is gone or has changed.
    """
    problem = _problem(instance.file, instance.sha256)
    began = time.perf_counter()
    loss = error = None
    try:
        result = solve(problem, target.make(params), time_limit=time_limit, seed=seed)
        require_schedule(result)
        loss = result.loss
    except PatsError as failure:
        error = str(failure)
    except Exception as failure:
        log.debug("%s on %s", target.name, instance.name, exc_info=True)
        error = f"{type(failure).__name__}: {failure}"
    return TrialRun(loss, error, time.perf_counter() - began)


@lru_cache(maxsize=KEPT)
def _problem(file: str, sha256: str) -> Problem:
    return Problem(read_unchanged(file, sha256, "the search began"))


class TrialRunner:
    """Runs trials in workers; one job here is a thread, which leaves Ctrl-C to the main one.

    Results come in the order of the instances, whatever the number of jobs, so that it does not
    change what a search finds.
    """

    def __init__(
        self, plan: TunePlan, jobs: int | None, engine: RunEngine = RunEngine.PROCESS
    ) -> None:
        here = jobs == 1 and engine is RunEngine.PROCESS
        self._plan = plan
        self._pool = ThreadPoolExecutor(1) if here else open_pool(engine, jobs)
        self._jobs = self._pool.jobs if isinstance(self._pool, RunPool) else 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: Any) -> None:
        if isinstance(self._pool, RunPool):
            self._pool.__exit__(kind, *details)
        else:
            self._pool.shutdown(wait=kind is None, cancel_futures=True)
            _problem.cache_clear()

    def run(
        self,
        params: Mapping[str, Any],
        instances: Sequence[TuneInstance],
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Generator[TrialRun, None, None]:
        """Run on each instance in order; leaving the iteration cancels the rest.

        Raises:
            SearchInterruptedError: as soon as ``interrupted()`` is true.
            InputError: an instance's file is gone or has changed.
        """
        config = self._plan.config
        ahead: deque[Future[TrialRun]] = deque()
        to_come = iter(instances)
        try:
            while True:
                while len(ahead) < self._jobs and (one := next(to_come, None)) is not None:
                    task = (self._plan.target, dict(params), one, config.time_limit, config.seed)
                    ahead.append(self._submit(one.file, *task))
                if not ahead:
                    return
                yield _result(ahead.popleft(), interrupted)
        finally:
            for future in ahead:
                future.cancel()

    def _submit(self, file: str, *task: Any) -> Future[TrialRun]:
        if isinstance(self._pool, RunPool):
            return self._pool.submit(perform, *task, reads=[file])
        return self._pool.submit(perform, *task)


def _result(future: Future[TrialRun], interrupted: Callable[[], bool]) -> TrialRun:
    while not wait([future], POLL_S).done and not interrupted():
        pass
    if interrupted():
        future.cancel()
        raise SearchInterruptedError
    try:
        return future.result()
    except WorkerCrashError:
        return TrialRun(None, "its process died (killed, or out of memory)", 0.0)
