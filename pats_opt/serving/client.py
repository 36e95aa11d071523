"""A client that plays a load at an image server: open loop, on its own clock.

Every request is sent at its arrival, whatever became of those before it. Latency counts from the
arrival, not from the sending, so that a client which falls behind hides nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import aiohttp
import msgspec
from msgspec import Struct

from pats_opt.errors import InputError, one_line, shortened
from pats_opt.model.instance import Instance, Request
from pats_opt.model.served import SCALES

#: Seconds after which an unused connection is closed, before servers close theirs, which could lose
#: a request that is just being sent.
IDLE_S = 2.0

#: Prompt of a request that has none; servers refuse empty ones.
NO_PROMPT = "an image"


class ReplaySettings(Struct, frozen=True, kw_only=True):
    """How a load is played.

    Attributes:
        url: Address of the server, without ``/v1``.
        speed: Factor by which arrivals are sped up.
        key: Key of the server; None for none.
        model: Model of every request; None for the request's adapter.
        plain: Whether fields are left out that OpenAI's API has not, for other servers.
        timeout_s: Seconds after which an answer is given up.
    """

    url: str
    speed: float = 1.0
    key: str | None = None
    model: str | None = None
    plain: bool = False
    timeout_s: float = 600.0


class ReplayedRequest(Struct, frozen=True, kw_only=True):
    """Fate of a request. Seconds are from the start of the replay.

    Attributes:
        arrival_s: When it was to be sent.
        sent_s: When it was sent.
        end_s: When the answer was there.
        status: Status of the answer; 0 where there was none.
        error: Why there is no image; None where there is one.
        steps: Steps that the image took; None where the server does not say.
    """

    id: str
    arrival_s: float
    sent_s: float
    end_s: float
    status: int
    error: str | None = None
    steps: int | None = None

    @property
    def latency_s(self) -> float:
        """Seconds from arrival to the answer."""
        return self.end_s - self.arrival_s


def body_of(request: Request, settings: ReplaySettings) -> dict[str, Any]:
    """Return the body of a request for one image."""
    body: dict[str, Any] = {
        "model": settings.model or request.adapter,
        "prompt": request.prompt.strip() or NO_PROMPT,
        "n": 1,
        "size": f"{request.width}x{request.height}",
        "response_format": "b64_json",
    }
    if settings.plain:
        return body
    extension: dict[str, Any] = {
        "negative_prompt": request.negative_prompt,
        "seed": request.seed,
    }
    if len(request.options) == 1:  # else the server's policy chooses, as the instance's would
        extension["steps"] = request.options[0].steps
    if request.weight > 0:
        extension["weight"] = request.weight
    if request.deadline_s:
        extension["deadline_s"] = request.deadline_s
    scales = request.extra.get(SCALES) if isinstance(request.extra, dict) else None
    if scales and settings.model is None:
        del body["model"]
        extension["adapters"] = [{"name": name, "scale": s} for name, s in scales.items()]
    return {**body, "pats_opt": extension}


def replay(
    instance: Instance,
    settings: ReplaySettings,
    done: Callable[[ReplayedRequest], None] = lambda _: None,
) -> list[ReplayedRequest]:
    """Play the requests of an instance at a server; what became of each, in the file's order.

    Args:
        instance: The instance.
        settings: How it is played.
        done: Called with each request that has ended.

    Raises:
        InputError: The server cannot be reached, or refuses the key.
    """
    _raise_limit(len(instance.requests) + 64)
    return asyncio.run(_replay(instance.requests, settings, done))


async def _replay(
    requests: Sequence[Request], settings: ReplaySettings, done: Callable[[ReplayedRequest], None]
) -> list[ReplayedRequest]:
    async with aiohttp.ClientSession(
        headers={} if settings.key is None else {"Authorization": f"Bearer {settings.key}"},
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S),
        timeout=aiohttp.ClientTimeout(total=settings.timeout_s),
    ) as session:
        await _refuse_unreachable(session, settings.url)
        start = time.perf_counter()

        async def play(request: Request) -> ReplayedRequest:
            arrival = request.arrival_s / settings.speed
            await asyncio.sleep(max(0.0, arrival - (time.perf_counter() - start)))
            found = await _ask(session, request, settings, arrival, start)
            done(found)
            return found

        return list(await asyncio.gather(*map(play, requests)))


async def _refuse_unreachable(session: aiohttp.ClientSession, url: str) -> None:
    try:
        async with session.get(_path(url, "models")) as answer:
            status = answer.status
    except aiohttp.InvalidURL as error:
        raise InputError(
            f"{url!r} is no address of a server ({one_line(str(error))})",
            hint="write --url http://HOST:PORT",
        ) from None
    except (aiohttp.ClientError, TimeoutError) as error:
        raise InputError(
            f"no server answers at {url} ({one_line(str(error)) or type(error).__name__})",
            hint="start one with 'pats-opt serve', or correct --url",
        ) from None
    if status == 401:
        raise InputError(f"the server at {url} wants a key", hint="name it with --api-key-file")


def _path(url: str, name: str) -> str:
    return f"{url.rstrip('/')}/v1/{name}"


async def _ask(
    session: aiohttp.ClientSession,
    request: Request,
    settings: ReplaySettings,
    arrival_s: float,
    start: float,
) -> ReplayedRequest:
    sent, status, error, steps = time.perf_counter(), 0, None, None
    url, body = _path(settings.url, "images/generations"), body_of(request, settings)
    try:
        async with session.post(url, json=body) as answer:
            status = answer.status
            document = msgspec.json.decode(await answer.read())
        if status == 200:
            with suppress(KeyError, IndexError, TypeError):
                steps = int(document["pats_opt"]["images"][0]["steps"])
        else:
            error = shortened(str(document["error"]["message"]))
    except (aiohttp.ClientError, TimeoutError) as failure:
        error = f"{type(failure).__name__}: {shortened(str(failure))}"
    except (ValueError, KeyError, TypeError):
        error = f"status {status} without a message"
    return ReplayedRequest(
        id=request.id,
        arrival_s=arrival_s,
        sent_s=sent - start,
        end_s=time.perf_counter() - start,
        status=status,
        error=error,
        steps=steps,
    )


def _raise_limit(files: int) -> None:
    """Allow so many open connections, as far as the system does."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files if hard == resource.RLIM_INFINITY else min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
