"""The thread that runs the policy: requests and messages of workers in, events out.

Everything that happens in it comes through one mailbox, so that nothing is locked and nothing is
polled. A policy that fails begins again with fresh memory, and what waits arrives again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar

from msgspec.structs import replace

from pats_opt.core.policy import GpuState, Policy
from pats_opt.errors import PatsError, one_line
from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.orders import OrderBuilder
from pats_opt.execute.work import ClockStart
from pats_opt.execute.worker import (
    AdapterReady,
    AdaptersRead,
    BatchMeasured,
    Broken,
    EngineReady,
    Idle,
    ImageReady,
    LoadMeasured,
    StepReport,
)
from pats_opt.model.instance import Request
from pats_opt.model.problem import Problem
from pats_opt.serving.adapters import AdapterChange
from pats_opt.serving.events import (
    AdapterAdmitted,
    AdapterFailure,
    GpuStatus,
    GpuWork,
    ImageExpired,
    ImageFinished,
    ImageStarted,
    SchedulerEnded,
    ServerEvent,
    StepProgress,
)
from pats_opt.serving.fleet import WorkerFleet, WorkerMessage
from pats_opt.serving.gpus import Members, ServedClock, ServedGpus
from pats_opt.serving.ready import ReadyAdapters
from pats_opt.serving.requests import RequestStore
from pats_opt.serving.run import ServedRun
from pats_opt.simulate.policy_run import start
from pats_opt.solving.preparing import prepare
from pats_opt.solving.solve import runnable

log = logging.getLogger(__name__)

T = TypeVar("T")

#: A policy that fails so often within so many seconds ends the server.
MOST_FAILURES, WITHIN_S = 3, 60.0

#: Seconds that workers get at the end.
END_S = 10.0


class RequestScheduler:
    """Runs a policy on GPUs, for requests that come and go.

    Args:
        problem: The instance on the grid, without requests.
        policy: The policy.
        seed: Seed of its random choices.
        adapters: The adapters that workers have at first.
        builder: Of the workers' orders.
        fleet: The workers; their messages come into ``mailbox``.
        mailbox: Where everything comes in.
        notify: Told of every event, in the scheduler's thread.
    """

    def __init__(
        self,
        problem: Problem,
        policy: Policy,
        seed: int,
        *,
        adapters: AdapterSet,
        builder: OrderBuilder,
        fleet: WorkerFleet,
        mailbox: SimpleQueue[object],
        notify: Callable[[ServerEvent], None],
    ) -> None:
        self._site = problem.site
        self._policy, self._seed = policy, seed
        self._fleet, self._mailbox, self._notify = fleet, mailbox, notify
        self._requests = RequestStore(builder.requests)
        self._deaths = [0 for _ in self._site.gpus]
        self._draining = self._stopping = False
        gpus = len(self._site.gpus)
        self._ready = ReadyAdapters(problem, adapters)
        # GPUs whose worker is started again, with the change that it has to read, and its device.
        self._opening: dict[int, tuple[int, str]] = {}
        self._is_changed = False  # whether the policy is to begin again with other adapters
        self._gpus = ServedGpus(
            self._site,
            self._requests.names,
            builder,
            fleet.send,
            residents=[gpu.resident for gpu in self._site.gpus],
            numbers=[0] * gpus,
            loads=[0] * gpus,
        )
        self._gpus.started = self._started
        self._clock = ServedClock(
            self._gpus,
            fleet.clock,
            self._site.tick_s,
            receive=self._receive,
            expire=self._expire,
            ended=lambda: self._is_changed or self._ended(),
        )
        self._run: ServedRun | None = None
        self._thread = threading.Thread(target=self._main, name="scheduler", daemon=True)

    @property
    def now_s(self) -> float:
        """Seconds on the server's clock."""
        return max(0.0, self._fleet.clock())

    def start(self, first_arrival: float | None = None) -> None:
        """Compile the policy, open all engines, and begin.

        Args:
            first_arrival: When the earliest request arrived that will be submitted, Unix seconds;
                the clock counts from then. None for now.

        Raises:
            InputError: The model or an adapter is not fit.
            UnfinishedError: A worker cannot start.
        """
        prepare(runnable(self._policy), self._ready.problem)
        devices = self._fleet.open([gpu.id for gpu in self._site.gpus])
        now = time.time()
        elapsed_s = 0.0 if first_arrival is None else max(0.0, now - first_arrival)
        self._fleet.clock.set(ClockStart(now, elapsed_s))
        for gpu, device in devices.items():
            self._fleet.begin(gpu)
            self._notify(GpuStatus(gpu=gpu, device=device))
        self._thread.start()

    def submit(self, requests: Iterable[Request]) -> None:
        """Let requests arrive, all at once; any thread may call this."""
        self._mailbox.put(partial(_each, self._arrive, tuple(requests)))

    def cancel(self, ids: Iterable[str]) -> None:
        """Take out requests that wait; those that run go on. Any thread may call this."""
        self._mailbox.put(partial(_each, self._withdraw, tuple(ids)))

    def change_adapters(self, change: AdapterChange) -> None:
        """Serve other adapters from now on. Any thread may call this.

        The policy begins again. Those that images wait for, or that a GPU holds, stay.
        """
        self._mailbox.put(partial(self._change, change))

    def drain(self) -> None:
        """End once all that was submitted is done. Any thread may call this."""
        self._mailbox.put(partial(setattr, self, "_draining", True))

    def stop(self) -> None:
        """End at once, and wait until it has."""
        self._mailbox.put(partial(setattr, self, "_stopping", True))
        if self._thread.is_alive():
            self._thread.join(3 * END_S)

    def _main(self) -> None:
        failures: list[float] = []
        error: str | None = None
        while error is None:
            try:
                self._serve()
                if self._ended():
                    break
            except PatsError as failure:
                log.error("%s; it begins again", failure)
                now = time.monotonic()
                failures = [*[at for at in failures if at > now - WITHIN_S], now]
                if len(failures) >= MOST_FAILURES:
                    error = str(failure)
            except BaseException as failure:
                log.exception("the scheduler failed")
                error = one_line(f"{type(failure).__name__}: {failure}")
        self._fleet.finish(END_S) if error is None and not self._stopping else self._fleet.close()
        self._notify(SchedulerEnded(error=error))

    def _serve(self) -> None:
        """Run the policy with fresh memory; what waits arrives again."""
        self._is_changed = False
        decide = start(self._policy, self._site, self._seed)
        self._run = ServedRun(
            self._site, (), self._policy.name, decide, clock=self._clock, gpus=self._gpus
        )
        self._run.open()
        _each(self._arrive, self._requests.take_waiting())
        self._run.run()

    def _ended(self) -> bool:
        return self._stopping or (self._draining and self._requests.is_empty)

    def _receive(self, timeout_s: float) -> bool:
        """Take a message and act on it; whether there was one in time."""
        try:
            item = self._mailbox.get(timeout=timeout_s) if timeout_s else self._mailbox.get_nowait()
        except Empty:
            return False
        if not isinstance(item, WorkerMessage):
            assert callable(item)
            item()
        elif self._fleet.is_current(item):
            self._hear(item)
        return True

    def _arrive(self, request: Request) -> None:
        self._requests.add(self._ready.problem, request, self._clock.tick)
        self._enter(request.id)

    def _enter(self, name: str) -> None:
        """Let a request that is held arrive in the run, once every worker has its adapter."""
        assert self._run is not None
        adapter = self._requests.adapter(name)
        if adapter in self._ready.refused:
            self._fail(name, self._ready.refused[adapter])
        elif self._ready.is_ready(adapter):
            self._requests.held.remove(name)
            self._run.arrive(self._requests.jobs[name])
            self._clock.notify()

    def _change(self, change: AdapterChange) -> None:
        """Serve other adapters; those that something still needs stay."""
        at_first = [gpu.resident for gpu in self._ready.problem.instance.gpus]
        self._give_up(change.lost)
        self._ready.change(change, self._gpus.held.union(self._requests.adapters, *at_first))
        self._site = self._ready.problem.site
        self._gpus.renumber(self._site)
        self._fleet.change_adapters(self._ready.command)
        self._is_changed = True

    def _read(self, gpu: int, message: AdaptersRead) -> None:
        """Note that a worker has read adapters, or could not."""
        self._refuse(message.errors)
        self._note_ready(self._ready.read(gpu, message.number))
        if gpu in self._opening and message.number >= self._opening[gpu][0]:
            _, device = self._opening.pop(gpu)
            self._gpus.restore(gpu, self._site.gpus[gpu].resident)
            self._notify(GpuStatus(gpu=gpu, device=device))

    def _note_ready(self, adapters: Iterable[str]) -> None:
        """Let requests of adapters that every worker has read arrive in the run."""
        _each(self._enter, tuple(self._requests.held))
        for name in adapters:
            self._notify(AdapterAdmitted(id=name))

    def _refuse(self, errors: Mapping[str, str]) -> None:
        """Serve adapters no more that a worker cannot load."""
        known = {name: why for name, why in errors.items() if name in self._ready.adapters}
        for name, why in known.items():
            if name not in self._ready.refused:
                self._notify(AdapterFailure(id=name, error=why))
        self._give_up(known)

    def _give_up(self, adapters: Mapping[str, str]) -> None:
        """Fail all that waits for these adapters."""
        self._ready.refused |= adapters
        for name, why in adapters.items():
            for job in self._requests.waiting_for(name):
                if self._withdraw(job):
                    self._notify(ImageFinished(id=job, error=why))

    def _fail(self, name: str, why: str) -> None:
        self._requests.forget(name)
        self._notify(ImageFinished(id=name, error=why))

    def _withdraw(self, name: str) -> bool:
        """Take out a request that waits; whether it did."""
        assert self._run is not None
        job = self._requests.jobs.get(name)
        if job is None or not (name in self._requests.held or self._run.withdraw(job.index)):
            return False
        self._requests.forget(name)
        self._clock.notify()
        return True

    def _expire(self, tick: int) -> int | None:
        """Withdraw what can no longer end by its deadline; the tick of the next."""
        deadlines = self._requests.deadlines
        while (name := deadlines.take(tick, self._requests.jobs)) is not None:
            self._withdraw(name)
            self._notify(ImageExpired(id=name))
        return deadlines.next

    def _started(self, gpu: GpuState, members: Members) -> None:
        known = self._ready.problem.instance.adapters
        now, resident = time.time(), tuple([known[a] for a in sorted(gpu.resident)])
        for index, option in members:
            self._notify(
                ImageStarted(
                    id=self._requests.start(index, gpu.index),
                    gpu=gpu.index,
                    option=option,
                    members=len(members),
                    at=now,
                    resident=resident,
                )
            )

    def _hear(self, item: WorkerMessage) -> None:
        gpu, message = item.gpu, item.message
        match message:
            case Idle():
                self._gpus.end(gpu)
            case AdapterReady(index):
                self._gpus.end_load(gpu, index)
            case ImageReady(id=name, image=image, error=error):
                self._deaths[gpu] = 0
                self._finish(name, image, error)
            case StepReport(steps):
                self._notify(StepProgress(steps=steps))
            case BatchMeasured(batch):
                self._notify(GpuWork(gpu=gpu, batch=batch))
            case LoadMeasured(load):
                self._notify(GpuWork(gpu=gpu, load=load))
            case AdaptersRead():
                self._read(gpu, message)
            case EngineReady(device):
                self._fleet.begin(gpu)
                command = self._ready.command
                self._opening[gpu] = command.number, device  # it may have begun with others
                intact = self._fleet.intact(command.adapters)
                lost = [name for name in command.adapters if name not in intact]
                self._fleet.send(gpu, replace(command, adapters=intact))
                self._refuse(dict.fromkeys(lost, "its file is not what it was, and a worker died"))
            case Broken(error=error):
                self._lose(gpu, error)

    def _finish(self, name: str, image: bytes | None, error: str | None) -> None:
        if name in self._requests.running:
            self._requests.forget(name)
            self._notify(ImageFinished(id=name, image=image, error=error))

    def _lose(self, gpu: int, why: str) -> None:
        """Start a GPU's worker again; what it had is served again, once."""
        assert self._run is not None
        log.error("GPU %r: %s; its worker is started again", self._site.gpus[gpu].id, why)
        self._notify(GpuStatus(gpu=gpu, error=why))
        self._run.lose(gpu)
        self._gpus.lose(gpu, self._clock.tick)
        self._opening.pop(gpu, None)
        self._refuse(self._ready.blame(gpu))
        self._note_ready(self._ready.lose(gpu))
        again, twice = self._requests.take_lost(gpu)
        for name in twice:
            self._fail(name, "the worker died twice while it made this image")
        _each(self._arrive, again)
        self._deaths[gpu] += 1
        self._fleet.start(gpu, self._deaths[gpu])


def _each(act: Callable[[T], object], items: Iterable[T]) -> None:
    for item in items:
        act(item)
