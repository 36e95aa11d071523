"""A pool whose calls are tasks on the machines of a Ray cluster (the extra ``ray``).

The process of a Ray task keeps a worker process as a pool of this machine does, so that a run that
crashes, hangs or grows is treated there as it is here. Instances are sent to it, and what a run
writes is sent back: the machines share no folder. A call whose machine is lost is made again.
"""

from __future__ import annotations

import pickle
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple, TypeVar

from typing_extensions import override

from pats_opt import __version__
from pats_opt.cluster import joined
from pats_opt.errors import InputError, one_line
from pats_opt.model.files import read_bytes, write_bytes
from pats_opt.runs.copies import OutputFile, call_remotely, hold, keep_in
from pats_opt.runs.guarded import guarded_folder
from pats_opt.runs.pool import RunPool, WorkerCrashError, WorkerProcess, prepare_all

T = TypeVar("T")

#: Calls in progress per CPU of the cluster: the next one waits where the last one ends.
PER_CPU = 2

#: Machines that a call may lose before it counts as crashed; it may be what kills them.
MOST_LOST = 3


class RemoteCall(NamedTuple):
    """A call for another machine.

    Attributes:
        call: Pickle of a function and its arguments.
        timeout_s: Seconds after which its worker is killed.
        contents: References to the contents of the files that it reads, by path.
        specs: Solvers to get ready before the first call.
        fresh: Whether its worker ends after it.
    """

    call: bytes
    timeout_s: float | None
    contents: Mapping[str, Any]
    specs: Sequence[str]
    fresh: bool


class RemoteResult(NamedTuple):
    """Result of a call on another machine: its value or what it raised, and what it wrote."""

    done: bool
    value: Any
    files: list[OutputFile]


class RayPool(RunPool):
    """Calls functions in tasks on a Ray cluster, each on one of its CPUs.

    It joins the cluster that the environment names, else it starts Ray on this machine.

    Args:
        jobs: Calls in progress at a time; None for :data:`PER_CPU` per CPU.
        fresh: Whether each call has a process of its own.

    Raises:
        InputError: Ray is not installed, or the cluster cannot be used.
    """

    def __init__(self, jobs: int | None = None, *, fresh: bool = False) -> None:
        self._joined = ExitStack()
        self._joined.enter_context(joined())
        import ray

        self._ray: Any = ray
        cpus = int(ray.cluster_resources().get("CPU", 0))
        if not cpus:
            self.close()
            raise InputError("Ray's cluster has no CPU", hint="start its machines with --num-cpus")
        super().__init__(jobs or PER_CPU * cpus, fresh=fresh)
        # A call that is made again here is counted, one that Ray repeats by itself is not.
        self._answer = ray.remote(answer).options(num_cpus=1, max_retries=0)
        self._specs: tuple[str, ...] = ()
        self._contents: dict[str, Any] = {}
        self._pending: set[Any] = set()
        self._lock = threading.Lock()
        self._over = False

    @override
    def prepare(self, specs: Iterable[str]) -> None:
        self._specs = tuple(dict.fromkeys((*self._specs, *specs)))

    @override
    def submit(
        self,
        function: Callable[..., T],
        *args: Any,
        timeout_s: float | None = None,
        reads: Sequence[str] = (),
        writes: str | None = None,
    ) -> Future[T]:
        call = pickle.dumps((call_remotely, (function, args, writes)))
        return self._threads.submit(self._call, call, timeout_s, reads, writes)

    @override
    def kill(self) -> None:
        with self._lock:
            self._over = True
            for reference in self._pending:
                self._ray.cancel(reference, force=True)

    @override
    def close(self) -> None:
        self._joined.close()

    def _call(
        self, call: bytes, timeout_s: float | None, reads: Sequence[str], writes: str | None
    ) -> Any:
        errors = self._ray.exceptions
        lost = (
            errors.NodeDiedError,
            errors.WorkerCrashedError,
            errors.OutOfMemoryError,
            errors.ObjectLostError,
        )
        for _ in range(MOST_LOST):
            began = time.monotonic()
            try:
                sent = RemoteCall(call, timeout_s, self._sent(reads), self._specs, self._fresh)
                answer = self._awaited(sent)
            except lost as error:
                if self._over:
                    raise CancelledError from None
                seconds, why = time.monotonic() - began, type(error).__name__
            except errors.TaskCancelledError:
                raise CancelledError from None
            except errors.RayError as error:
                hint = "install the same pats-opt and solvers on all of its machines"
                raise InputError(f"Ray's cluster: {_last_line(error)}", hint=hint) from None
            else:
                for file in answer.files:
                    assert writes is not None
                    write_bytes(Path(writes) / file.path, file.content)
                if not answer.done:
                    raise answer.value
                return answer.value
        message = f"the cluster lost {MOST_LOST} machines or processes at it ({why})"
        raise WorkerCrashError(message, seconds, "")

    def _awaited(self, call: RemoteCall) -> RemoteResult:
        with self._lock:
            if self._over:
                raise CancelledError
            reference = self._answer.remote(__version__, call)
            self._pending.add(reference)
        try:
            found: RemoteResult = self._ray.get(reference)
        finally:
            with self._lock:
                self._pending.discard(reference)
        return found

    def _sent(self, paths: Sequence[str]) -> dict[str, Any]:
        """References to the contents of files, which Ray keeps once for all calls."""
        with self._lock:
            for path in paths:
                if path not in self._contents:
                    self._contents[path] = self._ray.put(read_bytes(path))
            return {path: self._contents[path] for path in paths}


class _Host:
    """The worker of a Ray process, kept from call to call."""

    def __init__(self) -> None:
        self._worker: WorkerProcess | None = None
        self._held: set[str] = set()  # files of which it has a copy
        self._folder: Path | None = None  # of the copies of all workers, one after the other
        self._copies = ""  # of the worker's
        self._prepared: set[str] = set()  # solvers that are ready on this machine

    def answer(self, call: RemoteCall) -> RemoteResult:
        """Get the worker ready and make a call."""
        import ray

        if self._worker is None or not self._worker.is_alive():
            self._worker = WorkerProcess()
            self._held.clear()
            self._folder = self._folder or guarded_folder()
            self._copies = mkdtemp(dir=self._folder)
        try:
            if not self._held:
                self._ask(keep_in, self._copies)
            if missing := [spec for spec in call.specs if spec not in self._prepared]:
                self._ask(prepare_all, missing)
                self._prepared.update(missing)
            for path in call.contents.keys() - self._held:
                self._ask(hold, path, ray.get(call.contents[path]))
                self._held.add(path)
            done, value, last = self._worker.call(call.call, call.timeout_s)
        except Exception as error:
            self._close()
            return RemoteResult(False, error, [])
        if call.fresh or last:
            self._close()
        return RemoteResult(True, *value) if done else RemoteResult(False, value, [])

    def _ask(self, function: Callable[..., None], *args: Any) -> None:
        """Make a call that gets the worker ready; raise what it raises."""
        assert self._worker is not None
        done, value, _ = self._worker.call(pickle.dumps((function, args)), None)
        if not done:
            raise value

    def _close(self) -> None:
        assert self._worker is not None
        self._worker.close()
        self._worker = None
        shutil.rmtree(self._copies, ignore_errors=True)


_HOST = _Host()


def answer(version: str, call: RemoteCall) -> RemoteResult:
    """Make a call on this machine for a caller with this version of pats-opt; what Ray runs."""
    if version != __version__:
        mend = InputError(
            f"a machine of the cluster has pats-opt {__version__}, not {version}",
            hint="install the same version on all of them",
        )
        return RemoteResult(False, mend, [])
    return _HOST.answer(call)


def _last_line(error: BaseException) -> str:
    """The end of an error's text; before it Ray shows where the error came from."""
    lines = str(error).strip().splitlines()
    return one_line(lines[-1]) if lines else type(error).__name__
