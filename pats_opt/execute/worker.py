"""A worker: one GPU's loop from orders to images, wherever it runs (a thread, a process, Ray).

It receives commands (:mod:`pats_opt.execute.inbox`) and sends each :data:`Message`; both are plain
data. It opens its engine, sends :class:`EngineReady`, waits for the command to begin, carries out
orders until it is to finish or stop, and sends :class:`WorkerEnded`. If anything goes wrong, it
sends :class:`Broken` instead.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from queue import Queue

from msgspec import Struct
from msgspec.structs import replace

from pats_opt import __version__
from pats_opt.errors import InputError, one_line
from pats_opt.execute.inbox import BeginCommand, Inbox, StoppedError
from pats_opt.execute.journal import JournalWriter, SessionStarted, SessionStopped
from pats_opt.execute.loader import AdapterLoader
from pats_opt.execute.output import ImageFolder
from pats_opt.execute.progress import progress_sent
from pats_opt.execute.reader import AdapterReader
from pats_opt.execute.record import BatchRun, LoadRun, MemberRun, ModelRef, Span, highest_gib
from pats_opt.execute.saver import WAITING, Saver, describe, encode
from pats_opt.execute.work import (
    Engine,
    EngineSettings,
    Finished,
    MeasuredRun,
    Order,
    RunClock,
)

log = logging.getLogger(__name__)

#: Opens an engine; it has to be a module's function, so that another process can find it.
OpenEngine = Callable[[EngineSettings, Callable[[], float]], Engine]


class WorkerJob(Struct, frozen=True, kw_only=True):
    """Everything that a worker needs besides its orders.

    Attributes:
        images: Folder of the images; None where they are sent, and nothing is written.
        journal: Its journal, which has its first line; None likewise.
        names: File name of each request's image.
        text: Texts of every image's file besides those of its request.
        model: The model as the journal states it; the engine adds its scheduler and rank.
        engine: Where workers run: ``thread``, ``process`` or ``ray``.
        channels: Loads in progress at a time beside batches; 0 where there are none.
    """

    gpu: int
    images: str | None
    journal: str | None
    settings: EngineSettings
    names: dict[str, str]
    text: dict[str, str]
    model: ModelRef
    engine: str
    session: int
    channels: int = 0


class EngineReady(Struct, frozen=True):
    """The engine is open, on a device of this name."""

    device: str = ""


class Idle(Struct, frozen=True):
    """The GPU is done with an order; its last images may still be being saved."""


class AdapterReady(Struct, frozen=True):
    """A load beside serving has ended: batches can use its adapter."""

    index: int


class Saved(Struct, frozen=True):
    """A request has left its batch, and its image, or why there is none, is on disk."""

    member: MemberRun


class ImageReady(Struct, frozen=True, kw_only=True):
    """A request has left its batch: its PNG file, or why there is none, where images are sent."""

    id: str
    option: int
    image: bytes | None = None
    error: str | None = None


class AdaptersRead(Struct, frozen=True):
    """A change of the adapters is done.

    Attributes:
        number: Number of its command.
        errors: Why those adapters that are missing could not be read.
    """

    number: int
    errors: dict[str, str]


class StepReport(Struct, frozen=True):
    """Denoising steps that are done, by request of the last batch, where images are sent."""

    steps: dict[str, int]


class BatchMeasured(Struct, frozen=True):
    """A batch has ended, and its images were sent before."""

    batch: BatchRun


class LoadMeasured(Struct, frozen=True):
    """A load beside serving has ended, where images are sent."""

    load: LoadRun


class WorkerEnded(Struct, frozen=True):
    """The worker has ended as commanded, and all it did is on disk."""


class Broken(Struct, frozen=True):
    """The worker could not go on.

    Attributes:
        error: Why, in one line.
        bad_input: Whether that is the fault of what it was given.
    """

    error: str
    bad_input: bool = False


Message = (
    EngineReady
    | Idle
    | AdapterReady
    | AdaptersRead
    | Saved
    | ImageReady
    | StepReport
    | BatchMeasured
    | LoadMeasured
    | WorkerEnded
    | Broken
)


class ImageSender:
    """Sends what leaves batches to the supervisor: one thread that encodes, in order.

    It is a :class:`~pats_opt.execute.saver.Saver` that writes nothing.

    Args:
        text: What every image's file says besides its request.
        send: Sends a message.
    """

    def __init__(self, text: Mapping[str, str], send: Callable[[Message], None]) -> None:
        self._text, self._send = text, send
        self._queue: Queue[Finished | Message | None] = Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._thread.start()

    def put(self, batch: int, finished: Finished) -> None:  # noqa: ARG002 - as a saver's
        """Hand over what left a batch; waits while many wait."""
        self._queue.put(finished)

    def end(self, batch: BatchRun) -> None:
        """Hand over a batch all of whose members have left."""
        self._queue.put(BatchMeasured(batch))

    def loaded(self, load: LoadRun) -> None:
        """Hand over a load that has ended beside the batches."""
        self._queue.put(LoadMeasured(load))

    def close(self) -> None:
        """Wait until all is sent."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            self._send(self._made(item) if isinstance(item, Finished) else item)

    def _made(self, finished: Finished) -> ImageReady:
        member, error, image = finished.member, finished.error, None
        if error is None:
            try:
                image = encode(finished.picture, describe(member, self._text))
            except Exception as failure:
                error = reason(failure)
        return ImageReady(
            id=member.id,
            option=member.option,
            image=image,
            error=None if error is None else one_line(error),
        )


#: Models are opened one at a time in a process: torch draws random weights, and chooses their type
#: and device, by settings that all threads share.
_opening = threading.Lock()


def open_sdxl(settings: EngineSettings, clock: Callable[[], float]) -> Engine:
    """The real engine; torch is imported only now."""
    from pats_opt.execute.engine import open_engine

    with _opening:
        return open_engine(settings, clock)


def work(
    job: WorkerJob, open_engine: OpenEngine, inbox: Inbox, send: Callable[[Message], None]
) -> None:
    """Run a worker from start to end. Never raises; errors are sent to the supervisor."""
    try:
        _Worker(job, open_engine, inbox, send).run()
        send(WorkerEnded())
    except InputError as error:
        send(Broken(str(error), bad_input=True))
    except BaseException as error:
        log.debug("worker %d", job.gpu, exc_info=True)
        send(Broken(one_line(reason(error))))


def reason(error: BaseException) -> str:
    """The reason of an error, in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename else "")
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


class _Worker:
    def __init__(
        self, job: WorkerJob, open_engine: OpenEngine, inbox: Inbox, send: Callable[[Message], None]
    ) -> None:
        self._job, self._open, self._inbox, self._send = job, open_engine, inbox, send
        self._clock = RunClock()
        self._ahead: _SwitchRun | None = None  # a switch that no batch has used yet

    def run(self) -> None:
        job = self._job
        with nullcontext() if job.journal is None else JournalWriter(Path(job.journal)) as journal:
            engine = self._open(job.settings, self._clock)
            try:
                self._send(EngineReady(engine.setup.device))
                with AdapterReader(engine, job.settings.adapters, self._inbox, self._read):
                    begin, _ = self._inbox.take()
                    if isinstance(begin, BeginCommand):
                        self._serve_all(engine, journal, begin)
            finally:
                with suppress(Exception):  # the device may be what failed
                    engine.close()

    def _read(self, number: int, errors: dict[str, str]) -> None:
        self._send(AdaptersRead(number, errors))

    def _serve_all(
        self, engine: Engine, journal: JournalWriter | None, begin: BeginCommand
    ) -> None:
        job, found = self._job, engine.setup
        self._clock.set(begin.start)
        text = {**job.text, "scheduler": found.scheduler}
        saver: Saver | ImageSender
        if journal is None or job.images is None:
            saver = ImageSender(text, self._send)
        else:
            journal.append(
                SessionStarted(
                    number=job.session,
                    second=begin.start.second,
                    engine=job.engine,
                    device=found.device,
                    model=replace(job.model, scheduler=found.scheduler, rank=found.rank),
                    versions={"pats-opt": __version__, **found.versions},
                    primed=found.primed,
                )
            )
            saver = Saver(
                journal,
                ImageFolder(Path(job.images)),
                names=job.names,
                text=text,
                clock=self._clock,
                saved=lambda member: self._send(Saved(member)),
            )

        def loaded(index: int, ran: LoadRun | None) -> None:
            if ran is not None:
                saver.loaded(ran)
            self._send(AdapterReady(index))

        loader = AdapterLoader(engine, job.channels, self._inbox, self._clock, loaded)
        progress = progress_sent(engine.progress, lambda steps: self._send(StepReport(steps)))
        try:
            with loader, progress if journal is None else nullcontext():
                self._wait(begin.start.second)
                order, loads = self._inbox.take()
                while isinstance(order, Order):
                    self._serve(engine, saver, loader, order, loads)
                    order, loads = self._inbox.take()
        except StoppedError:
            pass
        finally:
            saver.close()
        if journal is not None and self._inbox.stopped.is_set():
            journal.append(SessionStopped(second=max(0.0, self._clock())))

    def _serve(
        self,
        engine: Engine,
        saver: Saver | ImageSender,
        loader: AdapterLoader,
        order: Order,
        loads: int,
    ) -> None:
        """Carry out an order that comes after so many loads."""
        loader.await_started(loads)
        loader.await_loaded(order.evict)
        switched = self._switch(engine, order)
        if not order.members:  # the batch that uses it comes later
            self._ahead = switched
            with loader.order():
                self._send(Idle())
            return
        self._ahead = None
        loader.await_loaded(member.adapter for member in order.members)
        self._wait(order.start_at_s)
        start = self._clock()
        with loader.order():
            ran = engine.run(order.members, lambda left: self._leave(saver, order.index, left))
        end = self._clock()
        saver.end(
            BatchRun(
                index=order.index,
                load=switched.load,
                evict=switched.evict,
                switch_start_s=start if switched.start_s is None else switched.start_s,
                start_s=start,
                end_s=end,
                members=(),
                spans=(*switched.spans, *ran.spans),
                peak_gib=highest_gib(switched.peak_gib, ran.peak_gib),
                splits=ran.splits,
                resumed=order.made > 0,
            )
        )
        self._send(Idle())

    def _switch(self, engine: Engine, order: Order) -> _SwitchRun:
        """Carry out the switch of an order, on top of one done ahead."""
        ahead = self._ahead or _SwitchRun()
        if not order.load and not order.evict:
            return ahead
        self._wait(order.switch_at_s)
        start = self._clock()
        return ahead.then(order, start, engine.switch(order.load, order.evict))

    def _leave(self, saver: Saver | ImageSender, batch: int, left: Finished) -> None:
        saver.put(batch, left)
        if self._inbox.stopped.is_set():
            raise StoppedError

    def _wait(self, second: float) -> None:
        self._inbox.wait(second, self._clock)


class _SwitchRun(Struct, frozen=True, kw_only=True):
    """A switch that was carried out; none where ``start_s`` is None."""

    load: tuple[str, ...] = ()
    evict: tuple[str, ...] = ()
    start_s: float | None = None
    spans: tuple[Span, ...] = ()
    peak_gib: float | None = None

    def then(self, order: Order, start_s: float, ran: MeasuredRun) -> _SwitchRun:
        """This switch, and after it that of an order."""
        return _SwitchRun(
            load=(*self.load, *order.load),
            evict=(*self.evict, *order.evict),
            start_s=start_s if self.start_s is None else self.start_s,
            spans=(*self.spans, *ran.spans),
            peak_gib=highest_gib(self.peak_gib, ran.peak_gib),
        )
