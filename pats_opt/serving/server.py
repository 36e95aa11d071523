"""The server's process: its socket, its signals, and an end at which nothing accepted is lost."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from typing_extensions import override

from pats_opt.errors import InputError, UnfinishedError
from pats_opt.serving.app import make_app
from pats_opt.serving.jobs import JobService
from pats_opt.serving.scheduler import RequestScheduler
from pats_opt.serving.service import ImageService
from pats_opt.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

#: Seconds that connections get to take their last answer.
LAST_S = 5


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        InputError: The address is not this machine's, or the port is in use.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        made = socket.create_server((host, port), family=family, backlog=2048)
        # Connections inherit it. Without it the second part of a response waits, often 40 ms, for
        # the client to acknowledge the first.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made
    except OSError as error:
        known = error.errno in errno.errorcode and not isinstance(error, socket.gaierror)
        reason = os.strerror(error.errno or 0) if known else error.strerror or str(error)
        raise InputError(
            f"cannot listen on {host} port {port} ({reason})",
            hint="choose another --port, or an address of this machine with --host",
        ) from None


def serve(
    service: ImageService,
    jobs: JobService,
    scheduler: RequestScheduler,
    sock: socket.socket,
    started: Callable[[], None],
) -> None:
    """Serve until a signal comes, then end what was accepted.

    The first signal drains: nothing new is accepted, and the server ends when all that was is done
    (or the settings' seconds are over). The second ends it at once.

    Args:
        service: The service.
        jobs: Its jobs.
        scheduler: Its scheduler, not started yet.
        sock: The socket to serve on.
        started: Called when requests are served.

    Raises:
        InputError: The model or an adapter is not fit.
        UnfinishedError: A worker cannot start, requests were given up, or the policy failed.
    """
    scheduler.start(jobs.first_arrival)
    try:
        server = _Server(service, jobs, started)
        asyncio.run(server.serve(sockets=[sock]))
    finally:
        scheduler.stop()
    if service.error is not None:
        raise UnfinishedError(f"the scheduler ended: {service.error}")
    if server.resumable:
        some = counted(server.resumable, "image is", "images are")
        log.warning("%s left to the next server with this journal", some)
    if server.given_up:
        some = counted(server.given_up, "image that was", "images that were")
        raise UnfinishedError(f"stopped with {some} accepted and not made")


class _Server(uvicorn.Server):
    """Uvicorn's server, with a drain."""

    def __init__(self, service: ImageService, jobs: JobService, begun: Callable[[], None]) -> None:
        config = uvicorn.Config(
            make_app(service, jobs),
            log_config=None,
            access_log=False,
            lifespan="on",
            server_header=False,
            timeout_graceful_shutdown=LAST_S,
        )
        super().__init__(config)
        self._service, self._jobs, self._begun = service, jobs, begun
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signals = 0
        self.given_up = 0  # images that were accepted and are not made
        self.resumable = 0  # those that the journal has

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._service.ended = self._end
        await super().startup(sockets)
        self._begun()

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals == 1 and self._loop is not None:
            self._loop.call_soon_threadsafe(self._drain)
        else:
            self._end()
            self.force_exit = True

    def _drain(self) -> None:
        log.info("draining: %d images are left", self._service.pending)
        self._service.drain()
        assert self._loop is not None
        self._loop.call_later(self._service.settings.drain_s, self._end)

    def _end(self) -> None:
        if not self.should_exit:
            self.resumable = self._jobs.resumable
            self.given_up = self._service.pending - self.resumable
        self.should_exit = True
