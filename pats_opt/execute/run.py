"""Executes a schedule or a policy into a folder: one session of a run, from lock to documents."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from pats_opt.errors import InputError, NoScheduleError, PatsError, SolverError, UnfinishedError
from pats_opt.execute import journal
from pats_opt.execute.adapters import adapter_files
from pats_opt.execute.drivers import Driver, WorkerSetup
from pats_opt.execute.latent_folder import LatentFolder
from pats_opt.execute.loading import loading_cost
from pats_opt.execute.options import Options, labelled, model_path, run_key
from pats_opt.execute.orders import OrderBuilder
from pats_opt.execute.output import ADAPTERS, EXECUTION, LATENTS, OWN, TRACE, Output, file_names
from pats_opt.execute.record import Execution, GpuRun, latent_hits
from pats_opt.execute.supervisor import Interrupts, Supervisor
from pats_opt.execute.trace import trace
from pats_opt.execute.work import EngineSettings
from pats_opt.execute.worker import OpenEngine, Saved, WorkerJob, open_sdxl, reason
from pats_opt.execute.workers import start_workers
from pats_opt.model.files import StrPath, encode, read_document
from pats_opt.model.instance import digest
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import InstanceRef
from pats_opt.runs.folder import RunFolder

log = logging.getLogger(__name__)


class ExecutionOutcome(Struct, frozen=True, kw_only=True):
    """How an execution ended.

    Attributes:
        execution: What ``execution.json`` holds.
        error: Why images are missing, or None.
        new: Images made in this session.
    """

    execution: Execution
    error: PatsError | None
    new: int


def execute(
    problem: Problem,
    driver: Driver,
    options: Options,
    folder: StrPath,
    *,
    resume: bool = False,
    open_engine: OpenEngine = open_sdxl,
    begun: Callable[[int], None] = lambda _: None,
    saved: Callable[[Saved], None] = lambda _: None,
) -> ExecutionOutcome:
    """Execute into a folder.

    Whatever stops it, the images made so far are kept, and ``execution.json`` and ``trace.json``
    are written if they can be.

    Args:
        problem: The instance on the grid.
        driver: Gives the orders.
        options: Its settings.
        folder: Where to; new or empty unless it is resumed.
        resume: Whether to go on with the run in the folder, where there is one.
        open_engine: Opens the engine of a worker.
        begun: Called with the number of images to make, once that is known.
        saved: Called for each request that has left its batch.

    Raises:
        InputError: The folder is in use, holds another run, or what is to be run does not fit
            together; nothing was run.
    """
    if len(options.devices) != len(problem.site.gpus):
        raise InputError(
            f"{len(options.devices)} devices are named for {len(problem.site.gpus)} GPUs",
            hint="name one for each GPU of the instance",
        )
    home = RunFolder(Path(folder).absolute())
    if home.is_used(OWN):
        raise _not_empty(folder)
    with home.removed_if_unused():
        output = Output(folder)
        with output.locked():
            _refuse_begun(output, resume)
            session = _Session(problem, driver, options, output, open_engine)
            return session.run(begun, saved)


def _refuse_begun(output: Output, resume: bool) -> None:
    """Raise where a run was begun in the folder and is not to be resumed."""
    journals = [journal.read(path) for path in sorted(output.journals.glob("*.jsonl"))]
    if all(j.empty for j in journals):
        if any(output.images.glob("*.png")):  # nobody knows of what
            raise _not_empty(output.path)
    elif not resume:
        raise InputError(
            "a run was begun in this folder",
            file=str(output.path),
            hint="add --resume to go on with it, or name another folder",
        )


def _not_empty(folder: StrPath) -> InputError:
    return InputError(
        "this folder is not empty", file=str(folder), hint="name a new or an empty one"
    )


def earlier(folder: StrPath) -> Execution | None:
    """The execution that the last session left in a folder; None where none can be read."""
    try:
        return read_document(Path(folder) / EXECUTION, Execution)
    except InputError:
        return None


class _Session:
    """One session of a run."""

    def __init__(
        self,
        problem: Problem,
        driver: Driver,
        options: Options,
        output: Output,
        open_engine: OpenEngine,
    ) -> None:
        self.problem, self.driver, self.options = problem, driver, options
        self.output, self.open_engine = output, open_engine
        self.gpus = [gpu.id for gpu in problem.site.gpus]
        self.adapters, without = adapter_files(
            problem.instance, options, lambda: output.folder(ADAPTERS), driver.adapters
        )
        self.builder = OrderBuilder(problem, without, options.shrink)
        self.journals = [
            output.journals / name for name in file_names(self.gpus, ".jsonl").values()
        ]
        self.names = file_names([r.id for r in problem.instance.requests], ".png")
        self.key = run_key(problem.instance, driver.key, options, self.adapters)
        for begun in self.read():
            if begun is not None:
                output.refuse_other(labelled(begun.head.key), labelled(self.key))

    def read(self) -> list[journal.Journal | None]:
        """The journals as they are on disk; those of a run that has done nothing do not count."""
        found = journal.journals(self.journals)
        return [None] * len(found) if all(j is None or j.empty for j in found) else found

    def run(self, begun: Callable[[int], None], saved: Callable[[Saved], None]) -> ExecutionOutcome:
        """Do what is left, and write down all that was done."""
        past = self.read()
        with _writing(self.output):
            made = journal.made(self.output.images, past)
        runs = self.runs(past)
        setups = self.driver.set_up(self.builder, made, runs)
        workers = [gpu for gpu, setup in enumerate(setups) if setup.needed]
        error: PatsError | None = None
        if workers:
            if self.options.cache is not None:
                LatentFolder(self.options.cache).verify()
            begun(len(self.driver.wanted - made))
            second = max((j.second for j in past if j is not None), default=0.0)
            started = _now()
            with _writing(self.output):
                for gpu in workers:
                    if past[gpu] is None:
                        head = journal.JournalHead(
                            key=self.key, gpu=self.gpus[gpu], started=started
                        )
                        journal.create(self.journals[gpu], head)
            jobs = self.jobs(setups, workers, past)
            error = self.drive(jobs, second, saved)
        return self.wrap_up(error, past, made)

    def drive(
        self, jobs: Sequence[WorkerJob], second: float, saved: Callable[[Saved], None]
    ) -> PatsError | None:
        """Run the workers to their end; why that came early, or None."""
        interrupts = Interrupts()
        with interrupts.caught():
            pool = start_workers(self.options.workers, jobs, self.open_engine)
            supervisor = Supervisor(pool, [j.gpu for j in jobs], self.gpus, interrupts, saved)
            try:
                supervisor.begin(second)
                self.driver.drive(supervisor)
                supervisor.finish()
            except (UnfinishedError, NoScheduleError, SolverError, InputError) as error:
                return error
            finally:
                supervisor.stop()
        return None

    def jobs(
        self,
        setups: Sequence[WorkerSetup],
        workers: Sequence[int],
        past: Sequence[journal.Journal | None],
    ) -> list[WorkerJob]:
        """The job of each worker."""
        options, number = self.options, 1 + journal.session_count(past)
        text = {
            "model": options.model,
            "dtype": options.dtype,
            "guidance": repr(float(options.guidance)),
            "run": digest(self.key),
        }
        primed = options.cache is None and any(s.prime for s in setups)
        latents = str(self.output.folder(LATENTS)) if primed else None
        return [
            WorkerJob(
                gpu=gpu,
                images=str(self.output.images),
                journal=str(self.journals[gpu]),
                settings=EngineSettings(
                    model=model_path(options.model),
                    device=options.devices[gpu],
                    dtype=options.dtype,
                    guidance=options.guidance,
                    adapter_files=dict(self.adapters.files),
                    compositions=dict(self.adapters.compositions),
                    slots=setups[gpu].slots,
                    resident=setups[gpu].resident,
                    tier=options.tier,
                    prime=setups[gpu].prime if primed else (),
                    latents=latents,
                    cache=options.cache,
                    warm=setups[gpu].warm,
                    memory_gib=options.memory_gib,
                    graphs=options.graphs,
                    threads=options.threads,
                ),
                names={name: self.names[name] for name in setups[gpu].requests},
                text=text,
                model=self.options.model_ref(setups[gpu].slots),
                engine=options.workers.value,
                session=number,
                channels=min(self.problem.site.channels or 0, setups[gpu].slots),
            )
            for gpu in workers
        ]

    def runs(self, journals: Sequence[journal.Journal | None]) -> list[GpuRun]:
        """All that each GPU did."""
        return [
            journal.gpu_run(*each)
            for each in zip(self.gpus, self.options.devices, journals, strict=True)
        ]

    def wrap_up(
        self, error: PatsError | None, past: Sequence[journal.Journal | None], before: set[str]
    ) -> ExecutionOutcome:
        """Put the documents together and write them."""
        journals = self.read()
        runs = self.runs(journals)
        with _writing(self.output):
            new = journal.made(self.output.images, journals, past)
        missing = len(self.driver.wanted - before - new)
        last = max(journal.sessions(journals), key=lambda s: s.number, default=None)
        execution = Execution(
            instance=InstanceRef(
                name=self.problem.instance.name, sha256=self.problem.instance.sha256
            ),
            maker=self.driver.maker,
            live=self.driver.live,
            schedule_sha256=self.driver.sha256,
            model=self.options.model_ref(1) if last is None else last.model,
            pace=self.options.pace,
            engine=self.options.workers.value if last is None else last.engine,
            complete=missing == 0 and error is None,
            sittings=max(1, journal.session_count(journals)),
            started=min((j.head.started for j in journals if j is not None), default=_now()),
            versions={} if last is None else last.versions,
            gpus=tuple(runs),
            loading=loading_cost(runs),
            latents=None if self.options.cache is None else latent_hits(runs),
            rejected=self.driver.rejected,
            notes=self.driver.notes,
        )
        error = self.explained(error, missing)
        try:
            self.output.write(EXECUTION, encode(execution))
            self.output.write(TRACE, trace(self.problem, execution))
        except InputError as unwritten:
            error = error or UnfinishedError(str(unwritten))
        return ExecutionOutcome(execution=execution, error=error, new=len(new))

    def explained(self, error: PatsError | None, missing: int) -> PatsError | None:
        """An error with the number of missing images and what to do."""
        if isinstance(error, InputError | SolverError | NoScheduleError):
            return error
        if missing == 0 and error is None:
            return None
        why = "" if error is None else f"{error}; "
        verb, them = ("is", "it") if missing == 1 else ("are", "them")
        return UnfinishedError(
            f"{why}{missing} of {len(self.driver.wanted)} images {verb} missing; run it again with "
            f"--resume to make {them}"
        )


def _now() -> str:
    return datetime.now(UTC).astimezone().isoformat(timespec="seconds")


@contextmanager
def _writing(output: Output) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnfinishedError(f"{output.path}: cannot be written ({reason(error)})") from None
