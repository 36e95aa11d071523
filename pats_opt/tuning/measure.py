"""One run of a trial: a policy with some parameters on one instance, in a thread or in workers."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType
from typing import Any

from msgspec import Struct

from pats_opt.errors import InputError, PatsError
from pats_opt.model.files import read_instance
from pats_opt.model.problem import Problem
from pats_opt.solving.result import require_schedule
from pats_opt.solving.solve import solve
from pats_opt.tuning.plan import Plan
from pats_opt.tuning.space import Target
from pats_opt.tuning.split import Case

log = logging.getLogger(__name__)

#: Seconds between looks at whether the user wants to stop.
LOOK_S = 0.1

#: Problems kept at hand in each process.
KEPT = 256


class Measured(Struct, frozen=True):
    """What a run gave: the checked loss, or why there is none, and the seconds it took."""

    loss: float | None
    error: str | None
    seconds: float


class Stopped(Exception):  # noqa: N818 - no error: the user's wish
    """The user wants to stop."""


def measure(
    target: Target, params: Mapping[str, Any], case: Case, time_limit: float | None, seed: int
) -> Measured:
    """Run once. Whatever goes wrong in the run is a result, so that no trial ends a search.

    Raises:
        InputError: the instance's file is gone or has changed.
    """
    problem = _problem(case.file, case.sha256)
    began = time.perf_counter()
    loss = error = None
    try:
        result = solve(problem, target.make(params), time_limit=time_limit, seed=seed)
        require_schedule(result)
        loss = result.loss
    except PatsError as failure:
        error = str(failure)
    except Exception as failure:
        log.debug("%s on %s", target.name, case.name, exc_info=True)
        error = f"{type(failure).__name__}: {failure}"
    return Measured(loss, error, time.perf_counter() - began)


@lru_cache(maxsize=KEPT)
def _problem(file: str, sha256: str) -> Problem:
    instance = read_instance(file)
    if instance.sha256 != sha256:
        raise InputError(
            "the file has changed since the search began", file=file, hint="begin a new search"
        )
    return Problem(instance)


class Crew:
    """Runs trials: with one job in a thread of this process, else in that many processes.

    A thread leaves Ctrl-C to this process's main thread. Results come in the order asked for,
    whatever the number of jobs, so that the jobs cannot change what a search finds.
    """

    def __init__(self, plan: Plan, jobs: int) -> None:
        self._plan, self._jobs = plan, jobs
        self._pool = self._new()

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
        if self._jobs == 1:
            _problem.cache_clear()
        elif kind is not None:
            for child in multiprocessing.active_children():
                child.kill()

    def run(
        self, params: Mapping[str, Any], side: Sequence[Case], stopped: Callable[[], bool]
    ) -> Generator[Measured, None, None]:
        """Measure on each instance in order; the rest is dropped when the iteration is left.

        Raises:
            Stopped: as soon as ``stopped()`` is true.
            InputError: an instance's file is gone or has changed.
        """
        ahead: deque[tuple[Case, Future[Measured]]] = deque()
        to_come = iter(side)
        try:
            while True:
                while len(ahead) < self._jobs and (case := next(to_come, None)) is not None:
                    ahead.append((case, self._submit(params, case)))
                if not ahead:
                    return
                yield self._result(params, *ahead.popleft(), stopped)
        finally:
            for _, future in ahead:
                future.cancel()

    def _submit(self, params: Mapping[str, Any], case: Case) -> Future[Measured]:
        config = self._plan.config
        task = (self._plan.target, dict(params), case, config.time_limit, config.seed)
        with _deaf():
            try:
                return self._pool.submit(measure, *task)
            except BrokenProcessPool:  # a worker died since the last result
                self._pool = self._new()
                return self._pool.submit(measure, *task)

    def _result(
        self,
        params: Mapping[str, Any],
        case: Case,
        future: Future[Measured],
        stopped: Callable[[], bool],
    ) -> Measured:
        """A run's result. A worker's death breaks all its pool's runs: each is tried once alone."""
        for _ in range(2):
            while not wait([future], LOOK_S).done and not stopped():
                pass
            if stopped():
                raise Stopped
            try:
                return future.result()
            except BrokenProcessPool:
                self._pool = self._new()
                future = self._submit(params, case)
        future.cancel()
        return Measured(None, "its process died (killed, or out of memory)", 0.0)

    def _new(self) -> Executor:
        if self._jobs == 1:
            return ThreadPoolExecutor(1)
        # Spawned, since a fork copies this process's threads' locks as they happen to be.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._jobs, context, initializer=_begin_worker)


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes started meanwhile never hear Ctrl-C, which is the parent's; it hears it after."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker() -> None:
    """End with the parent, however it ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
