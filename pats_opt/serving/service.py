"""Between HTTP and the scheduler: a bounded queue, answers to requests, metrics and the log.

Everything here happens in the event loop; the scheduler's events are brought into it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any

from pats_opt.generate.profile import Profile
from pats_opt.generate.quality import QualityModel
from pats_opt.model.instance import Request
from pats_opt.model.problem import Job, Problem, job_of
from pats_opt.serving.api import BASE, ImageOrder, ImageRequest, order_of, refuse_model, size_of
from pats_opt.serving.errors import ApiError
from pats_opt.serving.events import (
    GpuStatus,
    GpuWork,
    ImageExpired,
    ImageFinished,
    ImageStarted,
    SchedulerEnded,
    ServerEvent,
)
from pats_opt.serving.images import ImageStore
from pats_opt.serving.log import RequestLog
from pats_opt.serving.metrics import ServiceMetrics
from pats_opt.serving.scheduler import RequestScheduler, quickest_s
from pats_opt.serving.served import ServedImage, image_facts, image_response, image_url, log_row
from pats_opt.serving.settings import ServerSettings
from pats_opt.serving.status import ServerStatus, StatusRecorder

log = logging.getLogger(__name__)

#: Largest batch that the estimate of a backlog assumes.
ASSUMED_BATCH = 4

#: Longest time that a client is asked to wait, seconds.
LONGEST_RETRY_S = 3600

#: Code of an error -> its HTTP status, of images that were accepted.
STATUS = {"deadline": 504, "failed": 500}


class ImageService:
    """Takes requests, gives images.

    Args:
        problem: The instance on the grid, without requests.
        profile: The device.
        quality: Quality by steps and complexity.
        settings: The server's settings.
        log_file: The log; None for none.

    Attributes:
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
        profile: Profile,
        quality: QualityModel,
        settings: ServerSettings,
        log_file: RequestLog | None = None,
    ) -> None:
        self.problem, self.settings = problem, settings
        self.metrics = ServiceMetrics()
        self.store = ImageStore(settings.kept_bytes, settings.kept_s)
        self.devices: dict[int, str] = {}  # GPUs that have a worker
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_draining = False
        self.ended: Callable[[], None] = lambda: None
        self.error: str | None = None
        self._profile, self._quality, self._log = profile, quality, log_file
        self._images: dict[str, ServedImage] = {}
        self._waiting_s = 0.0
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
        return self.problem.site.adapter_ids

    @property
    def is_ready(self) -> bool:
        """Whether a request would be served."""
        return bool(self.devices) and not self.is_draining and self.error is None

    @property
    def pending(self) -> int:
        """Images that were accepted and are not done."""
        return len(self._images)

    @property
    def _backlog_s(self) -> float:
        """Seconds that the GPUs need for what waits."""
        return self._waiting_s / len(self.problem.site.gpus)

    @property
    def retry_after_s(self) -> int:
        """Seconds after which a client may try again: those of the backlog, at least 1."""
        return max(1, min(LONGEST_RETRY_S, math.ceil(self._backlog_s)))

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
                retry_after_s=self.retry_after_s,
            )
        if self.settings.reject_late:
            self._refuse_late(order)
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
        return order, self._admit(order, arrived)

    def _order(self, given: ImageRequest, name: str, arrived: float) -> ImageOrder:
        assert self._scheduler is not None
        adapter = given.model or BASE
        if adapter not in self.problem.site.adapter_index:
            raise refuse_model(adapter, self.models)
        width, height = size_of(given, self.settings.limits)
        order = order_of(
            given,
            self.settings,
            self._quality,
            name=name,
            arrival_s=max(0.0, self._scheduler.now_s - (time.time() - arrived)),
            demand_gib=self._profile.memory.request_gib(width, height),
        )
        self._refuse_unservable(order)
        return order

    def _admit(self, order: ImageOrder, arrived: float) -> list[ServedImage]:
        """Let the images of a request wait."""
        assert self._scheduler is not None
        loop = asyncio.get_running_loop()
        images = [
            ServedImage(
                request=r, arrived=arrived, work_s=self._work_s(r), done=loop.create_future()
            )
            for r in order.images
        ]
        for image in images:
            self._images[image.request.id] = image
            self._waits(image, 1)
        self._scheduler.submit(order.images)
        return images

    def _refuse_unservable(self, order: ImageOrder) -> None:
        """Refuse what no GPU can hold, and what no GPU can make in time."""
        if not self.problem.hosts(_job(self.problem, order.images[0])):
            raise ApiError(
                400, "size: an image of this size fits no GPU", code="too_large", param="size"
            )
        deadline = order.images[0].deadline_s
        if deadline is not None and (least := quickest_s(self.problem, order.images)) > deadline:
            raise ApiError(
                400,
                f"pats_opt.deadline_s: making the image takes {least:.3g} s at least",
                code="deadline",
                param="pats_opt.deadline_s",
            )

    def _refuse_late(self, order: ImageOrder) -> None:
        """Refuse what the GPUs will make too late, if they first make all that waits."""
        deadline = order.images[0].deadline_s
        if deadline is None:
            return
        predicted = self._backlog_s + quickest_s(self.problem, order.images)
        if predicted > deadline:
            raise ApiError(
                429,
                f"pats_opt.deadline_s: with all that waits it takes about {predicted:.3g} s",
                code="backlog",
                param="pats_opt.deadline_s",
                retry_after_s=self.retry_after_s,
            )

    def _work_s(self, request: Request) -> float:
        """GPU seconds of an image in a batch of some."""
        steps, n = min(option.steps for option in request.options), ASSUMED_BATCH
        table = self._profile.step_s.table
        if isinstance(table, tuple):
            n = min(n, len(table))
        return self._batch_s(steps, n) / n

    def _batch_s(self, steps: int, n: int) -> float:
        """Seconds of a batch of ``n``, as predicted."""
        return self._profile.overhead(n) + steps * self._profile.step_s(n)

    def cancel(self, images: Sequence[ServedImage]) -> None:
        """Give up the places of images that nobody waits for any more."""
        assert self._scheduler is not None
        left = [image for image in images if image.request.id in self._images]
        for image in left:
            self._end(image, "cancelled")
        self._scheduler.cancel([image.request.id for image in left])

    def response(
        self, order: ImageOrder, images: Sequence[ServedImage], base_url: str
    ) -> dict[str, Any]:
        """Return the response to a request whose images are there."""
        data = []
        for image in images:
            png = image.done.result()
            if order.as_url:
                data.append({"url": image_url(base_url, self.store.put(png))})
            else:
                data.append({"b64_json": b64encode(png).decode()})
        facts = [image_facts(image) for image in images]
        return image_response(order.id, images[0].arrived, data, facts)

    def _handle(self, event: ServerEvent) -> None:
        match event:
            case ImageStarted():
                self._start(event)
            case ImageFinished(id=name, image=png, error=error):
                self._answer(name, png, error)
            case ImageExpired(id=name):
                if name in self._images:
                    image = self._images[name]
                    self._fail(image, "expired", "it could not be made by its deadline", "deadline")
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
        image.members, image.resident = event.members, event.resident
        image.expected = event.at + self._batch_s(image.run.steps, event.members)
        self.metrics.wait_s.observe(image.wait_s)
        self.metrics.batch.observe(event.members)
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
                self._log.write(log_row(image, outcome, why, self._gpu))
            except OSError as error:
                log.error("the log cannot be written (%s)", error.strerror)

    def _waits(self, image: ServedImage, sign: int) -> None:
        self._waiting_s = max(0.0, self._waiting_s + sign * image.work_s)
        self.metrics.queue.labels(image.request.adapter).inc(sign)


def _job(problem: Problem, request: Request) -> Job:
    """A request on the grid, as if it arrived first."""
    demand = problem.site.amounts(request.demand)
    return job_of(problem.site, request, index=0, position=0, arrival=0, demand=demand)
