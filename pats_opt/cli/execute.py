"""``pats-opt execute``: run a schedule, or a policy live, on real devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli import common, completing, terminal
from pats_opt.cli.common import FILE, INPUT_FILE, field
from pats_opt.cli.recipe import numbers

if TYPE_CHECKING:
    from pats_opt.execute.compare import ExecutionComparison
    from pats_opt.execute.drivers import Driver
    from pats_opt.execute.latent_folder import LatentCacheSettings
    from pats_opt.execute.options import Options
    from pats_opt.execute.record import Execution
    from pats_opt.execute.run import ExecutionOutcome
    from pats_opt.execute.worker import Saved
    from pats_opt.model.instance import Instance
    from pats_opt.model.problem import Problem
    from pats_opt.model.schedule import Schedule


@dataclass(frozen=True)
class ExecutionOptions:
    """Options of the command."""

    instance: str | None = field("--instance", "Instance of SCHEDULE.", INPUT_FILE)
    policy: str | None = field(
        "--policy",
        "Policy to run INSTANCE with, live; for example pats:gamma=0.5.",
        shell_complete=completing.specs,
    )
    params: Mapping[str, str] = field(common.param_option)
    seed: int = field(common.seed_option)
    model: str = field(common.model_option)
    adapters: str | None = field(
        "--adapters",
        "Folder of LoRA files <adapter id>.safetensors.  [default: random, if the model is]",
        FILE,
    )
    device: str = field(
        "--device",
        "auto, cpu, cuda (the GPUs in order), or a list such as cuda:1,cuda:0 with a device for "
        "each GPU of the instance.",
        default="auto",
    )
    dtype: str = field(common.dtype_option)
    pace: str | None = field(
        "--pace",
        "Keep the schedule's times, or only its order (fast).  [default: fast; live: schedule]",
        click.Choice(["schedule", "fast"]),
    )
    load_from: str = field(
        "--load-from",
        "Load adapters from host memory, or from their files each time.",
        click.Choice(["host", "disk"]),
        default="host",
    )
    shrink: int | None = field(common.shrink_option)
    guidance: float = field(common.guidance_option)
    graphs: bool = field(
        "--graphs/--no-graphs",
        "Run the UNet through CUDA graphs on a GPU: same images, less time.",
        default=True,
    )
    memory: float | None = field(common.memory_option)
    engine: str | None = field(
        "--engine",
        "Where the workers run, one per GPU. ray: on any machine that sees the files and DIR at "
        "the same path.  [default: thread for one GPU, process for more]",
        click.Choice(["thread", "process", "ray"]),
    )
    latents: str | None = field(
        "--latents",
        "Folder of latents: a request that skips steps starts from those of the nearest earlier "
        "prompt, in this run or others.  [default: from its own, made before the run]",
        FILE,
        metavar="FOLDER",
    )
    latents_limit: float = field(
        "--latents-limit",
        "Most GIB of latents to keep.",
        click.FloatRange(0, 1e9, min_open=True),
        default=10.0,
        metavar="GIB",
    )
    cache_eviction: str = field(
        "--cache-eviction",
        "Which latents go first when the folder is full.",
        click.Choice(["lcbfu", "lru", "lfu", "none"]),
        default="lcbfu",
    )
    cache_scope: str = field(
        "--cache-scope",
        "Start from prompts of the same adapter, or of all.",
        click.Choice(["adapter", "global"]),
        default="adapter",
    )
    cache_thresholds: tuple[float, ...] | None = field(
        "--cache-thresholds",
        "Cosine of each level that options skip; prompts below the first are not near.  "
        "[default: published ones]",
        metavar="X,...",
        callback=common.parsed(lambda text: tuple(numbers(text))),
    )
    embedder: str = field(
        "--embedder",
        "words, minilm:FOLDER or MODULE:FUNCTION from a prompt to numbers.",
        default="words",
        metavar="NAME",
    )
    reference: str | None = field(
        "--reference",
        "Folder of a run without --latents: measure how far images that started from other "
        "prompts' latents are from its images, which are those of all steps.",
        FILE,
        metavar="RUN",
    )
    output: str = field("-o --output", "Output folder.", FILE, required=True, metavar="DIR")
    resume: bool = field(
        "--resume", "Continue the run in DIR: make the missing images.", is_flag=True
    )
    as_json: bool = field(common.json_option)


@click.command("execute")
@click.argument("file", metavar="SCHEDULE|INSTANCE", type=INPUT_FILE)
@common.options(ExecutionOptions)
def command(file: str, options: ExecutionOptions) -> None:
    """Run SCHEDULE on real devices. Each request gives a PNG file.

    With --policy, INSTANCE runs live: its requests arrive in real time, and the policy decides as
    in 'simulate'. The folder DIR gets images/, execution.json, trace.json (open it at
    ui.perfetto.dev) and report.html, which compares predicted with measured times. To continue a
    run that was stopped or killed, repeat its options with --resume. Failed requests are tried
    again.
    """
    from pats_opt.errors import in_file
    from pats_opt.execute.drivers import ScheduleDriver
    from pats_opt.execute.engine import require
    from pats_opt.execute.run import execute
    from pats_opt.model.files import read_instance, read_schedule
    from pats_opt.model.problem import Problem

    if (options.instance is None) == (options.policy is None):
        raise click.UsageError(
            "give either a schedule and its --instance, or an instance and a --policy"
        )
    require()
    problem = Problem(read_instance(options.instance or file))
    settings, folder = _settings(problem, options), Path(options.output)
    driver: Driver
    schedule: Callable[[], Schedule]
    if options.policy is not None:
        driver, schedule = _live(problem, options.policy, options)
    else:
        if options.params:
            raise click.UsageError("--param needs a --policy")
        document = read_schedule(file)
        with in_file(file):
            driver, schedule = ScheduleDriver(problem, document, settings.pace), lambda: document
    reference = None
    if options.reference is not None:
        from pats_opt.execute.compare.distances import read_reference

        reference = read_reference(problem, settings, options.reference)
    with ImageProgress(quiet=options.as_json) as bar:
        outcome = execute(
            problem,
            driver,
            settings,
            folder,
            resume=options.resume,
            begun=bar.begun,
            saved=bar.saved,
        )
    comparison = _compare(problem, outcome, schedule, folder, reference, options.reference)
    if options.as_json:
        common.print_json(_summary(outcome, comparison, folder))
    else:
        click.echo("\n".join(_lines(outcome, comparison, folder)))
    if outcome.error is not None:
        raise outcome.error


def _settings(problem: Problem, given: ExecutionOptions) -> Options:
    """Return the options of the run, with defaults for those that were not given."""
    from pats_opt.execute.options import Options, devices, dtype_of, shrink_of, threads_per_gpu
    from pats_opt.execute.record import Pace, Tier
    from pats_opt.execute.workers import WorkerKind

    live = given.policy is not None
    if given.latents is None and (
        given.reference or given.cache_thresholds or given.embedder != "words"
    ):
        raise click.UsageError("--reference, --cache-thresholds and --embedder need --latents")
    if live and given.pace == "fast":
        raise click.UsageError("a policy runs in real time: --pace fast works for schedules only")
    gpus = len(problem.site.gpus)
    workers = WorkerKind(given.engine or ("thread" if gpus == 1 else "process"))
    if workers is WorkerKind.RAY:
        from pats_opt.cluster import require

        require()
    named = devices(given.device, gpus, workers)
    return Options(
        model=given.model,
        adapters=given.adapters,
        devices=named,
        dtype=dtype_of(given.dtype, named[0]),
        pace=Pace(given.pace or ("schedule" if live else "fast")),
        tier=Tier(given.load_from),
        shrink=shrink_of(given.model, given.shrink),
        guidance=given.guidance,
        memory_gib=given.memory,
        graphs=given.graphs,
        workers=workers,
        threads=threads_per_gpu(given.model, gpus) if "cpu" in named else None,
        cache=None if given.latents is None else _cache(problem.instance, given.latents, given),
    )


def _cache(instance: Instance, folder: str, given: ExecutionOptions) -> LatentCacheSettings:
    """Return the settings of the folder of latents."""
    from pats_opt.execute.options import latent_cache

    if Path(folder).resolve() == Path(given.output).resolve():
        raise click.UsageError("--latents and -o name the same folder: latents need their own")
    return latent_cache(
        instance,
        folder,
        given.latents_limit,
        thresholds=given.cache_thresholds or (),
        embedder=given.embedder,
        eviction=given.cache_eviction,
        scope=given.cache_scope,
    )


def _live(
    problem: Problem, spec: str, options: ExecutionOptions
) -> tuple[Driver, Callable[[], Schedule]]:
    """Return the driver of a policy, and a function that simulates it for comparison."""
    from pats_opt.cli.simulate import named_policy
    from pats_opt.execute.policy_driver import PolicyDriver
    from pats_opt.execute.run import earlier
    from pats_opt.solving.solve import solve

    policy, seed = named_policy(spec, options.params), options.seed
    journal = earlier(Path(options.output)) if options.resume else None
    driver = PolicyDriver(problem, policy, seed, journal)
    return driver, lambda: solve(problem, policy, seed=seed).schedule


def _compare(
    problem: Problem,
    outcome: ExecutionOutcome,
    schedule: Callable[[], Schedule],
    folder: Path,
    reference: Execution | None,
    reference_folder: str | None,
) -> ExecutionComparison | None:
    """Compare predicted with measured times, and write the page; None without any image."""
    from msgspec.structs import replace

    from pats_opt.errors import InputError, PatsError
    from pats_opt.execute.compare import compare
    from pats_opt.execute.compare.distances import distance_csv, distances
    from pats_opt.execute.compare.page import write_page
    from pats_opt.execute.journal import images
    from pats_opt.execute.output import DISTANCES, REPORT
    from pats_opt.model.files import replace_bytes

    if not images(outcome.execution.gpus):
        return None
    try:
        predicted = schedule()
    except PatsError as error:  # a policy that worked live may fail in the simulator
        click.echo(f"no comparison: {error}", err=True)
        return None
    comparison = compare(problem, outcome.execution, predicted)
    if reference is not None and reference_folder is not None:
        run = problem, outcome.execution, folder
        found = distances(*run, reference, Path(reference_folder))
        comparison = replace(comparison, distances=found)
        replace_bytes(folder / DISTANCES, distance_csv(found).encode())
    try:
        write_page(comparison, outcome.execution, problem, folder / REPORT)
    except InputError:
        if outcome.error is None:  # otherwise the run's error, such as a full disk, is reported
            raise
    return comparison


def _summary(
    outcome: ExecutionOutcome, comparison: ExecutionComparison | None, folder: Path
) -> dict[str, Any]:
    """Return the outcome as one JSON object."""
    import msgspec

    from pats_opt.execute.compare import sentences
    from pats_opt.execute.journal import images

    done = outcome.execution
    return {
        "folder": str(folder),
        "complete": done.complete,
        "error": None if outcome.error is None else str(outcome.error),
        "images": len(images(done.gpus)),
        "new": outcome.new,
        "failed": _failed(outcome),
        "rejected": done.rejected,
        "sittings": done.sittings,
        "seconds": _seconds(outcome),
        "model": msgspec.to_builtins(done.model),
        "latents": msgspec.to_builtins(done.latents),
        "devices": [gpu.device for gpu in done.gpus],
        "summary": [] if comparison is None else list(sentences(comparison)),
        "distances": None if comparison is None else msgspec.to_builtins(comparison.distances),
        "totals": [] if comparison is None else msgspec.to_builtins(comparison.totals),
    }


def _lines(
    outcome: ExecutionOutcome, comparison: ExecutionComparison | None, folder: Path
) -> list[str]:
    """Return the outcome as lines of text: how far it was from the prediction comes first."""
    from pats_opt.errors import one_line
    from pats_opt.execute.compare import sentences
    from pats_opt.execute.compare.distances import distance_lines
    from pats_opt.execute.journal import images
    from pats_opt.execute.output import REPORT

    count = len(images(outcome.execution.gpus))
    before = f" ({count - outcome.new} of them before)" if count > outcome.new else ""
    lines = [] if comparison is None else sentences(comparison)
    lines.append(f"{count} images{before} in {_seconds(outcome):.1f} s: {folder / 'images'}")
    lines += [f"  {name} failed: {why}" for name, why in _failed(outcome).items()]
    if comparison is not None:
        lines += [] if comparison.distances is None else distance_lines(comparison.distances)
        lines.append(f"The report is {folder / REPORT}")
    return [one_line(line) for line in lines]


def _failed(outcome: ExecutionOutcome) -> dict[str, str]:
    """Return the requests without an image, each with its error."""
    members = [m for _, batch in outcome.execution.batches() for m in batch.members]
    made = {m.id for m in members if m.image}
    return {m.id: m.error for m in members if m.error is not None and m.id not in made}


def _seconds(outcome: ExecutionOutcome) -> float:
    """Return the time of the run at the end of the last batch."""
    return max((batch.end_s for _, batch in outcome.execution.batches()), default=0.0)


class ImageProgress:
    """Progress bar that starts once the number of images to make is known."""

    def __init__(self, *, quiet: bool) -> None:
        from contextlib import ExitStack

        self._quiet, self._stack = quiet, ExitStack()
        self._done: Callable[[Saved], None] = lambda _: None

    def __enter__(self) -> ImageProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begun(self, total: int) -> None:
        """Start the bar."""
        from pats_opt.wording import label

        def failed(saved: Saved) -> bool:
            return saved.member.error is not None

        status = terminal.failures_and_last(failed, lambda saved: label(saved.member.id))
        self._done = self._stack.enter_context(terminal.progress(total, status, quiet=self._quiet))

    def saved(self, saved: Saved) -> None:
        """Advance the bar by one image."""
        self._done(saved)
