"""Between HTTP and the scheduler: a bounded queue, answers to requests, metrics and the log.

Everything here happens in the event loop; the scheduler's events are brought into it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from pats_opt.model.problem import Problem
from pats_opt.serving.adapters import ServedAdapterSet
from pats_opt.serving.answers import ImageData, ImageResponse, image_response
from pats_opt.serving.api import ImageOrder, ImageRequest, order_of, size_of
from pats_opt.serving.errors import ApiError
from pats_opt.serving.estimates import BacklogEstimate
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
from pats_opt.serving.folder import AdapterFolder, FolderState
from pats_opt.serving.images import ImageStore
from pats_opt.serving.log import RequestLog
from pats_opt.serving.metrics import ServiceMetrics
from pats_opt.serving.model import ServerModel
from pats_opt.serving.scheduler import RequestScheduler
from pats_opt.serving.served import ServedImage, image_facts, image_url, log_row
from pats_opt.serving.settings import ServerSettings
from pats_opt.serving.status import ServerStatus, StatusRecorder

log = logging.getLogger(__name__)

#: Code of an error -> its HTTP status, of images that were accepted.
STATUS = {"deadline": 504, "failed": 500}


class ImageService:
    """Takes requests, gives images.

    Args:
        problem: The instance on the grid, without requests.
        model: The model and its GPUs.
        adapters: Its adapters.
        settings: The server's settings.
        log_file: The log; None for none.
        folder: The folder of the adapters, if it is watched.

    Attributes:
        adapters: The adapters.
        metrics: For Prometheus.
        store: Images that are kept for their URLs.
        devices: Name of the device of each GPU that has a worker.
        loop: The loop in which events are handled; None before it runs.
        is_draining: Whether nothing is accepted any more.
        ended: Called when the scheduler has ended.
        error: Why it ended, where it failed.
    """

    def __init__(
        self,
        problem: Problem,
        model: ServerModel,
        adapters: ServedAdapterSet,
        settings: ServerSettings,
        log_file: RequestLog | None = None,
        *,
        folder: AdapterFolder | None = None,
    ) -> None:
        self.problem, self.settings, self.adapters = problem, settings, adapters
        self.metrics = ServiceMetrics()
        self.store = ImageStore(settings.kept_bytes, settings.kept_s)
        self.devices: dict[int, str] = {}  # GPUs that have a worker
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_draining = False
        self.ended: Callable[[], None] = lambda: None
        self.error: str | None = None
        self._memory, self._log = model.profile.memory, log_file
        self._quality = model.recipe.quality.model()
        self._images: dict[str, ServedImage] = {}
        self._waiting: Counter[str] = Counter()  # images by adapter
        self.folder = folder
        self._problems: frozenset[str] = frozenset()  # of the folder, at the last look
        self._estimate = BacklogEstimate(problem, model.profile)
        self._described = frozenset(problem.site.adapter_ids)
        ids = problem.site.adapter_ids
        self._history = StatusRecorder([{ids[a] for a in g.resident} for g in problem.site.gpus])
        self._scheduler: RequestScheduler | None = None
        self._early: list[ServerEvent] = []

    def bind(self, scheduler: RequestScheduler) -> None:
        """Name the scheduler that serves what is accepted."""
        self._scheduler = scheduler

    def run_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Handle events in a loop from now on."""
        self.loop = loop
        early, self._early = self._early, []
        for event in early:
            self._handle(event)

    def notify(self, event: ServerEvent) -> None:
        """Take an event of the scheduler, in its thread."""
        if self.loop is None:
            self._early.append(event)
            return
        try:
            self.loop.call_soon_threadsafe(self._handle, event)
        except RuntimeError:  # the loop is closed: nobody waits for an answer any more
            log.debug("an event came after the end")

    @property
    def models(self) -> tuple[str, ...]:
        """Adapters that are served."""
        return self.adapters.names

    @property
    def is_ready(self) -> bool:
        """Whether a request would be served."""
        return bool(self.devices) and not self.is_draining and self.error is None

    @property
    def pending(self) -> int:
        """Images that were accepted and are not done."""
        return len(self._images)

    @property
    def status(self) -> ServerStatus:
        """Requests that wait, work of the GPUs, and the last minutes."""
        assert self._scheduler is not None
        return self._history.status(
            self._scheduler.now_s,
            self._images.values(),
            [(gpu.id, self.devices.get(g)) for g, gpu in enumerate(self.problem.site.gpus)],
            unix_s=time.time(),
            ready=self.is_ready,
        )

    @property
    def metrics_text(self) -> bytes:
        """The metrics as Prometheus reads them."""
        return self.metrics.text(dict.fromkeys(self.adapters.ids, 0) | self._waiting)

    def drain(self) -> None:
        """Accept nothing any more, and end once all that was accepted is done."""
        self.is_draining = True
        if self._scheduler is not None:
            self._scheduler.drain()

    def accept(self, given: ImageRequest) -> tuple[ImageOrder, list[ServedImage]]:
        """Accept a request: its images wait from now on.

        Raises:
            ApiError: It is refused; the metrics count it.
        """
        if self.is_draining or self.error is not None:
            raise ApiError(
                503, "the server is shutting down", code="shutting_down", retry_after_s=10
            )
        arrived = time.time()
        order = self._order(given, f"img-{secrets.token_hex(12)}", arrived)
        if self.pending + len(order.images) > self.settings.queue:
            raise ApiError(
                429,
                f"{self.pending} images wait or run, and {self.settings.queue} may; try again",
                code="queue_full",
                retry_after_s=self._estimate.retry_after_s,
            )
        if self.settings.reject_late:
            self._estimate.refuse_late(order)
        return order, self._admit(order, arrived)

    def accept_again(
        self, given: ImageRequest, name: str, arrived: float
    ) -> tuple[ImageOrder, list[ServedImage]]:
        """Accept a request that an earlier server had accepted: the queue's bound is no matter.

        Args:
            given: The request.
            name: Its id.
            arrived: When it arrived, Unix seconds.

        Raises:
            ApiError: It is refused, as by its adapter, which this server has not.
        """
        order = self._order(given, name, arrived)
        return order, self._admit(order, arrived, bounded=False)

    def _order(self, given: ImageRequest, name: str, arrived: float) -> ImageOrder:
        assert self._scheduler is not None
        adapter = self.adapters.choose(given)
        width, height = size_of(given, self.settings.limits)
        order = order_of(
            given,
            self.settings,
            self._quality,
            adapter,
            self.problem.site,
            name=name,
            arrival_s=max(0.0, self._scheduler.now_s - (time.time() - arrived)),
            demand_gib=self._memory.request_gib(width, height),
        )
        self._estimate.refuse_unservable(order)
        return order

    def _admit(
        self, order: ImageOrder, arrived: float, *, bounded: bool = True
    ) -> list[ServedImage]:
        """Let the images of a request wait."""
        assert self._scheduler is not None
        self.adapters.admit(order.adapter, len(order.images), bounded=bounded)
        loop = asyncio.get_running_loop()
        images = [
            ServedImage(
                request=r,
                adapter=order.adapter,
                arrived=arrived,
                work_s=self._estimate.work_s(r),
                done=loop.create_future(),
            )
            for r in order.images
        ]
        for image in images:
            self._images[image.request.id] = image
            self._waits(image, 1)
        self._scheduler.submit(order.images)
        return images

    def cancel(self, images: Sequence[ServedImage]) -> None:
        """Give up the places of images that nobody waits for any more."""
        assert self._scheduler is not None
        left = [image for image in images if image.request.id in self._images]
        for image in left:
            self._end(image, "cancelled")
        self._scheduler.cancel([image.request.id for image in left])

    def response(
        self, order: ImageOrder, images: Sequence[ServedImage], base_url: str
    ) -> ImageResponse:
        """Return the response to a request whose images are there."""
        data = []
        for image in images:
            png = image.done.result()
            if order.as_url:
                data.append(ImageData(url=image_url(base_url, self.store.put(png))))
            else:
                data.append(ImageData(b64_json=b64encode(png).decode()))
        facts = [image_facts(image) for image in images]
        return image_response(order.id, images[0].arrived, data, facts)

    def _handle(self, event: ServerEvent) -> None:
        match event:
            case ImageStarted():
                self._start(event)
            case ImageFinished(id=name, image=png, error=error):
                self._answer(name, png, error)
            case StepProgress(steps=steps):
                self._step(steps)
            case ImageExpired(id=name):
                self._expire(name)
            case AdapterFailure() | AdapterAdmitted():
                self._note_adapter(event)
            case GpuWork(gpu=gpu):
                self.metrics.worked(self._gpu(gpu), event)
                self._history.worked(event)
            case GpuStatus():
                self._note_gpu(event)
            case SchedulerEnded(error=error):
                self.error = error
                for image in list(self._images.values()):
                    self._fail(image, "failed", "the server ended", "failed")
                self.ended()

    def _note_adapter(self, event: AdapterFailure | AdapterAdmitted) -> None:
        if isinstance(event, AdapterAdmitted):
            self.adapters.publish(event.id)
        else:
            self._warn(f"adapter {event.id!r} cannot be served: {event.error}")
            self.adapters.drop(event.id)

    def refresh(self, found: FolderState) -> None:
        """Take over what has changed in the folder of adapters."""
        self.note_problems(found.problems)
        self.adapters.refresh(found)

    def note_problems(self, problems: Sequence[str]) -> None:
        """Warn of problems of the folder, of each once as long as it lasts."""
        for line in problems:
            if line not in self._problems:
                self._warn(line)
        self._problems = frozenset(problems)

    def _warn(self, line: str) -> None:
        log.warning("%s", line)
        self.metrics.adapter_errors.inc()

    def _note_gpu(self, status: GpuStatus) -> None:
        name = self._gpu(status.gpu)
        self.metrics.up.labels(name).set(status.error is None)
        if status.error is None:
            self.devices[status.gpu] = status.device
        else:
            self.devices.pop(status.gpu, None)
            self._history.lost(status.gpu)
            self.metrics.deaths.labels(name).inc()

    def _gpu(self, gpu: int) -> str:
        return self.problem.site.gpus[gpu].id

    def _start(self, event: ImageStarted) -> None:
        image = self._images.get(event.id)
        if image is None:
            return
        if image.started is None:
            self._waits(image, -1)
            self.metrics.running.inc()
        image.started, image.gpu, image.option = event.at, event.gpu, event.option
        image.members, image.resident, image.step = event.members, event.resident, 0
        image.expected = event.at + self._estimate.batch_s(image.run.steps, event.members)
        self.metrics.wait_s.observe(image.wait_s)
        self.metrics.batch.observe(event.members)
        image.changed()

    def _expire(self, name: str) -> None:
        if name in self._images:
            image = self._images[name]
            self._fail(image, "expired", "it could not be made by its deadline", "deadline")

    def _step(self, steps: Mapping[str, int]) -> None:
        for name in steps.keys() & self._images.keys():
            image = self._images[name]
            if image.started is not None and image.step != steps[name]:
                image.step = steps[name]
                image.changed()

    def _answer(self, name: str, png: bytes | None, error: str | None) -> None:
        image = self._images.get(name)
        if image is None:
            return  # the client is gone
        if png is None:
            log.warning("%s failed: %s", image.request.id, error)
            self._fail(image, "failed", "the image could not be made", "failed", error)
            return
        self._end(image, "ok")
        if not image.done.done():
            image.done.set_result(png)
        image.changed()

    def _fail(
        self, image: ServedImage, outcome: str, message: str, code: str, why: str | None = None
    ) -> None:
        self._end(image, outcome, why)
        if not image.done.done():
            image.done.set_exception(ApiError(STATUS[code], message, code=code))
            image.done.exception()  # it counts as seen where nobody waits

    def _end(self, image: ServedImage, outcome: str, why: str | None = None) -> None:
        """Note that an image is over, whatever became of it."""
        image.ended = time.time()
        del self._images[image.request.id]
        self.adapters.release(image.request.adapter)
        if image.started is None:
            self._waits(image, -1)
        else:
            self.metrics.running.dec()
        if outcome == "ok":
            self.metrics.latency_s.observe(max(0.0, image.ended - image.arrived))
            if self._scheduler is not None:
                self._history.made(self._scheduler.now_s, image.wait_s)
            outcome = "late" if image.is_late else outcome
        self.metrics.images.labels(outcome).inc()
        if self._log is not None:
            try:
                self._log.write(log_row(image, outcome, why, self._gpu, self._described))
            except OSError as error:
                log.error("the log cannot be written (%s)", error.strerror)

    def _waits(self, image: ServedImage, sign: int) -> None:
        self._estimate.add(sign * image.work_s)
        adapter = image.request.adapter
        self._waiting[adapter] += sign
        if not self._waiting[adapter]:
            del self._waiting[adapter]
