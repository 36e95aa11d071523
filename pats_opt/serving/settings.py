"""Settings of a server and limits of its requests."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.model.files import read_bytes


class RequestLimits(Struct, frozen=True, kw_only=True):
    """The largest that a request may ask for.

    Attributes:
        body_bytes: Bytes of a request's body.
        prompt: Characters of a prompt.
        images: Images of one request.
        steps: Denoising steps of an image.
        side: Pixels of an image's width and height.
        deadline_s: Seconds of a deadline.
        weight: Weight of a request.
        parts: Adapters that a request combines; slots have room for so many of the largest rank.
        scale: Scale of an adapter in a combination; the smallest is its negative.
    """

    body_bytes: int = 1_000_000
    prompt: int = 4000
    images: int = 10
    steps: int = 150
    side: int = 2048
    deadline_s: float = 86_400.0
    weight: float = 100.0
    parts: int = 2
    scale: float = 10.0


class ServerSettings(Struct, frozen=True, kw_only=True):
    """Settings of the HTTP side.

    Attributes:
        host: Address to listen on.
        port: Port; 0 for any that is free.
        keys: Keys of which a client must give one; empty for none.
        limits: Limits of requests.
        queue: Most images that may wait or run.
        combinations: Most combinations of adapters that are kept; the least recently used for
            which nothing waits gives way.
        watch_s: Seconds between two looks at the folder of adapters; 0 for none.
        steps: Denoising steps where a request names none.
        pruned: Smaller step counts that a policy may choose where a request names none.
        reject_late: Whether a request is refused whose deadline the backlog is predicted to miss.
        drain_s: Seconds after SIGTERM in which what was accepted may end.
        body_s: Seconds in which a request's body must have come.
        kept_bytes: Memory of the images that are kept for their URLs.
        kept_s: Seconds for which they are kept.
        result_bytes: Bytes of results of jobs in a journal on disk; in memory, ``kept_bytes``.
        result_s: Seconds for which results of jobs are kept.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: tuple[str, ...] = ()
    limits: RequestLimits = RequestLimits()
    queue: int = 1000
    combinations: int = 16
    watch_s: float = 5.0
    steps: int = 30
    pruned: tuple[int, ...] = (20,)
    reject_late: bool = False
    drain_s: float = 600.0
    body_s: float = 30.0
    kept_bytes: int = 256 * 2**20
    kept_s: float = 3600.0
    result_bytes: int = 4 * 2**30
    result_s: float = 86_400.0

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


def read_keys(path: str) -> tuple[str, ...]:
    """Read a file of keys, one a line; empty lines and lines that begin with ``#`` do not count.

    Raises:
        InputError: It cannot be read, or has no key, or one that no header can carry.
    """
    lines = read_bytes(Path(path)).decode("utf-8", "replace").splitlines()
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise InputError("there is no key in this file", file=path, hint="write one key a line")
    for number, key in enumerate(keys, 1):
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise InputError(
                f"key {number} has characters that a header cannot carry",
                file=path,
                hint="use letters, digits and punctuation of ASCII",
            )
    return tuple(keys)
