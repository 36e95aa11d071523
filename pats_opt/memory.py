"""Memory: its peak, errors of too little of it, and pausing of the garbage collector."""

from __future__ import annotations

import errno
import gc
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Address space that the table library needs to start its threads, in GiB.
TABLES_GIB = 1.0

#: Address space in which pictures can be drawn, in GiB. With less, the library of linear algebra
#: ends the process.
DRAWING_GIB = 0.3

#: File that resets the peak of this process, on Linux.
_CLEAR_REFS = "/proc/self/clear_refs"


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the garbage collector, for code that makes many objects without reference cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


#: Messages of errors which libraries raise where the system gives no more memory.
_TOO_LITTLE = re.compile(
    "failed to map segment|cannot allocate memory|can't start new thread|std::bad_alloc"
    "|returned NULL without setting an exception",
    re.IGNORECASE,
)


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or one that it comes from, is one of too little memory."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, MemoryError) or getattr(link, "errno", None) == errno.ENOMEM:
            return True
        if _TOO_LITTLE.search(str(link)):
            return True
        link = link.__cause__ or link.__context__
    return False


def require_address_space(purpose: str, gib: float = TABLES_GIB) -> None:
    """Refuse to load a library where it would hang or end the process.

    Args:
        purpose: What needs it, for the message.
        gib: Address space that it needs, in GiB; by default that of the table library.

    Raises:
        MemoryError: The process may use less.
    """
    try:
        import resource
    except ImportError:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < gib * 2**30:
        raise MemoryError(
            f"{purpose} needs {gib:g} GiB of address space, and 'ulimit -v' allows "
            f"{limit / 2**30:.2f}"
        )


def held_gib() -> float | None:
    """Memory that this process holds now, in GiB; None where the system does not tell."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except (ImportError, OSError, ValueError):
        return None
    return pages * resource.getpagesize() / 2**30


def can_restart_peak() -> bool:
    """Whether :func:`restart_peak` has an effect on this system."""
    return os.access(_CLEAR_REFS, os.W_OK)


def restart_peak() -> None:
    """Measure :func:`peak_gib` of this process from now on, where the system can.

    That of children which have ended stays.
    """
    if can_restart_peak():
        Path(_CLEAR_REFS).write_bytes(b"5")


def peak_gib() -> float | None:
    """Most memory held so far by this process or by one of its children that have ended, in GiB.

    None where the system does not tell.
    """
    try:
        import resource
    except ImportError:
        return None
    processes = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    most = max(resource.getrusage(who).ru_maxrss for who in processes)
    return most / (2**30 if sys.platform == "darwin" else 2**20)
