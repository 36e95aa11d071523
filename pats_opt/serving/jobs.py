"""Asynchronous jobs: requests whose images are fetched later, and which survive a kill.

A job is acknowledged once the journal has it. Its end is the journal's too: whichever end is
written first counts, so that a job which was cancelled has no result, and one with a result can no
longer be cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sqlite3
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pats_opt.serving.answers import (
    ErrorFacts,
    ImageData,
    ImageFacts,
    ImageResponse,
    JobDocument,
    JobProgress,
    image_response,
)
from pats_opt.serving.api import ImageOrder, ImageRequest, read_request
from pats_opt.serving.errors import ApiError
from pats_opt.serving.journal import JobJournal, JobRecord, JobStatus
from pats_opt.serving.served import ServedImage, image_facts, image_url
from pats_opt.serving.service import ImageService

log = logging.getLogger(__name__)

#: Seconds after which an end that could not be written is tried again.
RETRY_S = 1.0

#: Seconds after which a watched job is shown again although nothing has changed.
REPEAT_S = 10.0

#: Seconds that ends get to be written when the server ends.
LAST_S = 5.0


class JobResult(Struct, frozen=True, kw_only=True):
    """Result of a job that is done, as the journal has it.

    Attributes:
        as_url: Whether its images are returned as URLs.
        names: Names of its images.
        facts: Facts of each image.
    """

    as_url: bool
    names: tuple[str, ...]
    facts: tuple[ImageFacts, ...]


class LiveJob(Struct, kw_only=True):
    """A job without an end.

    Attributes:
        order: Its request, as it was understood.
        arrived: When it arrived, Unix seconds.
        images: Its images.
        changed: Set, and replaced, when its document changes.
        task: Waits for its images.
        is_ending: Whether its end is being written down.
    """

    order: ImageOrder
    arrived: float
    images: Sequence[ServedImage]
    changed: asyncio.Event
    task: asyncio.Task[None] | None = None
    is_ending: bool = False

    def notify(self) -> None:
        """Wake all that watch it."""
        before, self.changed = self.changed, asyncio.Event()
        before.set()

    @property
    def status(self) -> JobStatus:
        """Whether it waits or runs."""
        begun = any(image.started is not None for image in self.images)
        return JobStatus.RUNNING if begun else JobStatus.QUEUED

    @property
    def made(self) -> int:
        """Number of its images that are made."""
        return sum([image.done.done() for image in self.images])

    @property
    def step(self) -> int:
        """Denoising steps of its images that are done."""
        return sum([i.run.steps if i.done.done() else i.step for i in self.images])

    @property
    def steps(self) -> int:
        """Denoising steps of its images, where one that waits counts with the fewest possible."""
        return sum([image.run.steps for image in self.images])

    @property
    def expected(self) -> float | None:
        """When all its images are predicted to be made, Unix seconds; None while any waits."""
        ends = [image.expected for image in self.images]
        known = [end for end in ends if end is not None]
        return max(known) if len(known) == len(ends) else None

    @property
    def unmade(self) -> int:
        """Number of its images that wait or run."""
        return sum([image.ended is None for image in self.images])


class JobService:
    """Takes jobs, gives their status and their results.

    Args:
        service: Makes the images.
        journal: Where jobs are written down; it is open.
    """

    def __init__(self, service: ImageService, journal: JobJournal) -> None:
        self._service, self._journal = service, journal
        self._live: dict[str, LiveJob] = {}
        self._stuck: set[str] = set()  # jobs whose end could not be written yet

    @property
    def resumable(self) -> int:
        """Number of images without an end that the next server will make."""
        unmade = sum([job.unmade for job in self._live.values()])
        return unmade if self._journal.is_durable else 0

    @property
    def first_arrival(self) -> float | None:
        """When the earliest unfinished job of an earlier server arrived, Unix seconds."""
        return min([record.arrived for record in self._journal.unfinished], default=None)

    async def restore(self) -> None:
        """Let the unfinished jobs of an earlier server wait again, in their order."""
        for record in self._journal.unfinished:
            try:
                given = read_request(record.request, self._service.settings.limits)
                order, images = self._service.accept_again(given, record.id, record.arrived)
            except ApiError as error:  # with other adapters or limits than it was accepted with
                log.warning("job %s: %s", record.id, error.message)
                ended = self._journal.end(record.id, JobStatus.FAILED, _encoded(error))
                with suppress(sqlite3.Error):  # the next server tries again
                    await asyncio.wrap_future(ended)
            else:
                self._begin(order, images)

    async def submit(self, given: ImageRequest) -> str:
        """Accept a job; its id.

        Raises:
            ApiError: It is refused, or cannot be written down.
        """
        if self._stuck:
            raise _unwritten()  # else more and more images would wait in memory
        order, images = self._service.accept(given)
        record = JobRecord(
            id=order.id,
            arrived=images[0].arrived,
            request=msgspec.json.encode(replace(given, user=None)),  # whose length has no bound
            status=JobStatus.QUEUED,
            result=None,
        )
        try:
            await asyncio.wrap_future(self._journal.add(record))
        except sqlite3.Error as error:
            self._service.cancel(images)
            log.error("the journal cannot be written (%s)", error)
            raise _unwritten() from None
        self._begin(order, images)
        return order.id

    def _begin(self, order: ImageOrder, images: Sequence[ServedImage]) -> None:
        job = LiveJob(
            order=order, arrived=images[0].arrived, images=images, changed=asyncio.Event()
        )
        for image in images:
            image.changed = job.notify
        self._live[order.id] = job
        job.task = asyncio.create_task(self._finish(job))

    async def _finish(self, job: LiveJob) -> None:
        """Wait for a job's images, and write down its end."""
        try:
            pngs = await asyncio.gather(*[image.done for image in job.images])
        except ApiError as error:
            if self._service.error is not None:
                return  # the server failed, not the job: the next server makes it
            job.is_ending = True
            self._service.cancel(job.images)
            await self._write_end(job.order.id, JobStatus.FAILED, error)
            return
        job.is_ending = True
        result = JobResult(
            as_url=job.order.as_url,
            names=tuple([secrets.token_urlsafe(24) for _ in pngs]),
            facts=tuple([image_facts(image) for image in job.images]),
        )
        images = list(zip(result.names, pngs, strict=True))
        await self._write_end(job.order.id, JobStatus.DONE, result, images)

    async def _write_end(
        self,
        name: str,
        status: JobStatus,
        result: JobResult | ApiError,
        images: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Write down an end, as often as it takes: until then the job is not over."""
        data = _encoded(result)
        while True:
            try:
                await asyncio.wrap_future(self._journal.end(name, status, data, images))
                break
            except sqlite3.Error as error:
                if name not in self._stuck:
                    log.error("the end of job %s cannot be written (%s)", name, error)
                self._stuck.add(name)
                await asyncio.sleep(RETRY_S)
        self._stuck.discard(name)
        self._close(name)

    def _close(self, name: str) -> None:
        """Note that a job has an end."""
        job = self._live.pop(name, None)
        if job is not None:
            job.notify()

    async def cancel(self, name: str, base_url: str) -> JobDocument:
        """Cancel a job; its document.

        Raises:
            ApiError: There is none, or it has another end, or its end cannot be written down.
        """
        job = self._live.get(name)
        if job is not None:
            gone = ApiError(410, "the job was cancelled", code="cancelled")
            written = self._journal.end(name, JobStatus.CANCELLED, _encoded(gone))
            try:
                cancelled = await asyncio.wrap_future(written)
            except sqlite3.Error:
                raise _unwritten() from None
            if cancelled:
                self._service.cancel(job.images)
                if job.task is not None:
                    job.task.cancel()
            self._close(name)  # it has an end, if perhaps another
        document = await self.document(name, base_url)
        if document.status is not JobStatus.CANCELLED:
            raise ApiError(409, f"this job is {document.status} already", code="job_ended")
        return document

    async def document(self, name: str, base_url: str) -> JobDocument:
        """Return a job as its client sees it.

        Args:
            name: Its id.
            base_url: Address of the server.

        Raises:
            ApiError: There is none of this id (any more).
        """
        job = self._live.get(name)
        if job is not None:
            return self._live_document(job)
        record = await asyncio.wrap_future(self._journal.read(name))
        if record is None or record.result is None:
            raise ApiError(404, "there is no such job (any more)", code="job_not_found")
        shown = _document(record.id, record.arrived, record.status)
        if record.status is not JobStatus.DONE:
            return replace(shown, error=msgspec.json.decode(record.result, type=ErrorFacts))
        result = msgspec.json.decode(record.result, type=JobResult)
        count = len(result.names)
        return replace(
            shown,
            progress=JobProgress(images=count, made=count),
            result=await self._response(name, record.arrived, result, base_url),
        )

    def _live_document(self, job: LiveJob) -> JobDocument:
        expected, is_queued = job.expected, job.status is JobStatus.QUEUED
        left_s = None if expected is None else round(max(0.0, expected - time.time()), 3)
        return replace(
            _document(job.order.id, job.arrived, job.status),
            progress=JobProgress(
                images=len(job.images),
                made=job.made,
                step=None if is_queued else job.step,
                steps=None if is_queued else job.steps,
                expected_s=left_s,
            ),
            position=self._position(job) if is_queued else None,
        )

    def _position(self, job: LiveJob) -> int:
        """Number of jobs that wait and arrived before a job."""
        count = 0
        for other in self._live.values():
            if other is job:
                break
            count += other.status is JobStatus.QUEUED
        return count

    async def _response(
        self, name: str, arrived: float, result: JobResult, base_url: str
    ) -> ImageResponse:
        """Return the response that the request would have got if it had waited."""
        data = []
        for image in result.names:
            if result.as_url:
                data.append(ImageData(url=image_url(base_url, image)))
                continue
            png = await self.image(image)
            if png is None:
                raise ApiError(404, "the result is not kept any more", code="job_not_found")
            data.append(ImageData(b64_json=b64encode(png).decode()))
        return image_response(name, arrived, data, result.facts)

    async def image(self, name: str) -> bytes | None:
        """Return the image of a name; None where there is none (any more)."""
        return await asyncio.wrap_future(self._journal.image(name))

    async def watch(self, name: str, base_url: str) -> AsyncIterator[JobDocument]:
        """Yield a job's document: now, whenever it changes, and last at its end.

        Raises:
            ApiError: There is none of this id (any more).
        """
        job = self._live.get(name)
        while job is not None and name in self._live:
            changed = job.changed
            yield self._live_document(job)
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), REPEAT_S)
        yield await self.document(name, base_url)

    async def close(self) -> None:
        """Wait until all ends are written down that there are; other jobs stay unfinished."""
        await asyncio.sleep(0)  # images that have just been made reach their jobs
        ending = [job.task for job in self._live.values() if job.task and job.is_ending]
        if ending:
            await asyncio.wait(ending, timeout=LAST_S)
        for job in self._live.values():
            if job.task is not None:
                job.task.cancel()


def _document(name: str, arrived: float, status: JobStatus) -> JobDocument:
    """Return the part of a job's document that all have."""
    return JobDocument(id=name, object="image.job", created=int(arrived), status=status)


def _encoded(result: JobResult | ApiError) -> bytes:
    return msgspec.json.encode(result.facts if isinstance(result, ApiError) else result)


def _unwritten() -> ApiError:
    return ApiError(
        503, "the journal of jobs cannot be written; try again", code="journal", retry_after_s=10
    )
