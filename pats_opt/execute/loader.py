"""Loads beside serving: threads of a worker that fill slots while its batches run.

Orders and loads begin in the order they were given, whatever each takes: a load waits until the
orders before it have begun (or have ended, where it says so), an order until the loads before it
have started, and whoever needs or evicts an adapter until that is loaded. So memory, residents and
evictions are those of the schedule, and nothing waits in a circle.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

from pats_opt.execute.inbox import Inbox, StoppedError
from pats_opt.execute.record import LoadRun
from pats_opt.execute.work import Engine

#: Seconds between two checks whether a stop was commanded.
POLL_S = 0.1


class AdapterLoader:
    """The loader of one worker; a context in which its threads run.

    Leaving it waits for every load, or, after an error or a stop, for those that have started.

    Args:
        engine: Whose slots are filled.
        channels: Loads in progress at a time; 0 for none at all.
        inbox: Where the loads come from.
        clock: The run's clock.
        loaded: Called with the index and the record of each load that has ended, by its thread;
            the bare model's load, which is none, has no record: what it evicts is in the next one.
    """

    def __init__(
        self,
        engine: Engine,
        channels: int,
        inbox: Inbox,
        clock: Callable[[], float],
        loaded: Callable[[int, LoadRun | None], None],
    ) -> None:
        self._engine, self._inbox, self._clock, self._loaded = engine, inbox, clock, loaded
        self._changed = threading.Condition()  # guards the next five
        self._begun = self._ended = 0  # orders
        self._started = 0  # loads
        self._filling: set[str | None] = set()
        self._error: BaseException | None = None
        self._turn = threading.Lock()  # of the thread that starts the next load; guards the next
        self._left: tuple[str, ...] = ()  # evicted by the bare model's loads, not recorded yet
        self._threads = [
            threading.Thread(target=self._run, name=f"loader-{i}", daemon=True)
            for i in range(channels)
        ]

    def __enter__(self) -> AdapterLoader:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._fail(error)
        self._inbox.no_more_loads()
        for thread in self._threads:
            thread.join()
        if error is None and self._error is not None:
            raise self._error

    @contextmanager
    def order(self) -> Iterator[None]:
        """Around an order that is carried out: loads that come after it may start."""
        with self._changed:
            self._begun += 1
            self._changed.notify_all()
        yield
        with self._changed:
            self._ended += 1
            self._changed.notify_all()

    def await_started(self, count: int) -> None:
        """Wait until so many loads have started.

        Raises:
            StoppedError: A stop was commanded.
            Exception: A load failed.
        """
        self._await(lambda: self._started >= count)

    def await_loaded(self, adapters: Iterable[str | None]) -> None:
        """Wait until none of these adapters is being loaded. Raises as :meth:`await_started`."""
        some = frozenset(adapters)
        self._await(lambda: self._filling.isdisjoint(some))

    def _await(self, reached: Callable[[], bool]) -> None:
        with self._changed:
            while not reached():
                if self._error is not None:
                    raise self._error
                if self._inbox.stopped.is_set():
                    raise StoppedError
                self._changed.wait(POLL_S)

    def _run(self) -> None:
        try:
            while self._load():
                pass
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def _load(self) -> bool:
        """Carry out the next load; False where none comes."""
        with self._turn:
            found = self._inbox.take_load()
            if found is None:
                return False
            order, before = found
            if order.after_batch:
                self._await(lambda: self._ended >= before)
            else:
                self._await(lambda: self._begun >= before)
            self.await_loaded(order.evict)
            self._inbox.wait(order.start_at_s, self._clock)
            start = self._clock()
            self._engine.reserve(order.adapter, order.evict)
            evicted = (*self._left, *order.evict)
            self._left = evicted if order.adapter is None else ()
            with self._changed:
                self._started += 1
                self._filling.add(order.adapter)
                self._changed.notify_all()
        ran = None
        if order.adapter is not None:
            ran = self._fill(order.index, order.adapter, evicted, start)
        with self._changed:
            self._filling.discard(order.adapter)
            self._changed.notify_all()
        self._loaded(order.index, ran)
        return True

    def _fill(self, index: int, adapter: str, evicted: tuple[str, ...], start: float) -> LoadRun:
        """Fill the slot that was reserved at second ``start``."""
        span = self._engine.fill(adapter)
        return LoadRun(
            index=index,
            adapter=adapter,
            evict=evicted,
            start_s=start,
            seconds=span.end_s - start,
            tier=span.tier,
            mib=span.mib,
        )
