"""Main loop of a worker process: calls from standard input, answers to standard output.

Run as ``python -m pats_opt.runs.worker`` by :class:`pats_opt.runs.pool.WorkerPool`. A call is its
length and a pickle. An answer is a pickle: whether the function returned, its result or what it
raised, and whether the worker should be replaced. Where standard input ends during a call, the
process of the pool is gone: the worker ends itself and what it started.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import threading
from queue import SimpleQueue
from typing import BinaryIO

from pats_opt.memory import held_gib, restart_peak

#: Format of a call's length.
FRAME = "<Q"

#: Memory in GiB beyond which a worker is replaced after its call.
MOST_GIB = 1.0

#: Threads of a worker, the one that calls and the one that listens.
OWN_THREADS = 2


def main() -> None:
    """Answer calls until standard input ends.

    SIGTERM, which may reach all processes of a job, ends only the pool's process at once.
    """
    signal.signal(signal.SIGTERM, lambda *_: None)  # ignored, but not by the programs it starts
    source, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a call prints is output, no answer
    calls: SimpleQueue[bytes | None] = SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(source, calls, busy), daemon=True).start()
    while (call := calls.get()) is not None:
        restart_peak()
        try:
            function, args = pickle.loads(call)  # noqa: S301 (of the pool, which is ours)
            answer = _pickled(True, function(*args))
        except Exception as error:
            answer = _pickled(False, error)
        busy.clear()
        answers.write(answer)
        answers.flush()


def _pickled(done: bool, value: object) -> bytes:
    """An answer; of a value which cannot be sent, an error that shows it."""
    last = _spent()
    try:
        answer = pickle.dumps((done, value, last))
        pickle.loads(answer)  # noqa: S301 (an exception may be pickled, but not made again)
    except Exception:
        return pickle.dumps((False, RuntimeError(f"{type(value).__name__}: {value}"), last))
    return answer


def _spent() -> bool:
    """Whether a call left what the next one would feel: much memory, threads, or children.

    The memory of children that have ended would count as the next call's.
    """
    if threading.active_count() > OWN_THREADS or (held_gib() or 0.0) > MOST_GIB:
        return True
    try:
        import resource
    except ImportError:
        return False
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss > 0


def _listen(source: BinaryIO, calls: SimpleQueue[bytes | None], busy: threading.Event) -> None:
    """Read calls; at the end of the input stop the process."""
    while (call := _read(source)) is not None:
        busy.set()
        calls.put(call)
    calls.put(None)
    if busy.is_set():
        if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def _read(source: BinaryIO) -> bytes | None:
    head = source.read(struct.calcsize(FRAME))
    if len(head) < struct.calcsize(FRAME):
        return None
    (length,) = struct.unpack(FRAME, head)
    call = source.read(length)
    return call if len(call) == length else None


if __name__ == "__main__":
    main()
