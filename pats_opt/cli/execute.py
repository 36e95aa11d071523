"""``pats-opt execute``: run a schedule, or a policy live, on real devices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli import common, completing, terminal

if TYPE_CHECKING:
    from pats_opt.execute.compare import ExecutionComparison
    from pats_opt.execute.drivers import Driver
    from pats_opt.execute.options import Options
    from pats_opt.execute.run import ExecutionOutcome
    from pats_opt.execute.worker import Saved
    from pats_opt.model.problem import Problem
    from pats_opt.model.schedule import Schedule


@click.command("execute")
@click.argument("file", metavar="SCHEDULE|INSTANCE", type=common.FILE)
@click.option("--instance", type=common.FILE, help="Instance of SCHEDULE.")
@click.option(
    "--policy",
    shell_complete=completing.specs,
    help="Policy to run INSTANCE with, live; for example pats:gamma=0.5.",
)
@common.param_option
@common.seed_option
@common.model_option
@click.option(
    "--adapters",
    type=common.FILE,
    help="Folder of LoRA files <adapter id>.safetensors.  [default: random, if the model is]",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda (the GPUs in order), or a list such as cuda:1,cuda:0 with a device for "
    "each GPU of the instance.",
)
@common.dtype_option
@click.option(
    "--pace",
    type=click.Choice(["schedule", "fast"]),
    help="Keep the schedule's times, or only its order (fast).  [default: fast; live: schedule]",
)
@click.option(
    "--load-from",
    type=click.Choice(["host", "disk"]),
    default="host",
    show_default=True,
    help="Load adapters from host memory, or from their files each time.",
)
@common.shrink_option
@common.guidance_option
@click.option(
    "--graphs/--no-graphs",
    default=True,
    help="Run the UNet through CUDA graphs on a GPU: same images, less time.  [default: graphs]",
)
@common.memory_option
@click.option(
    "--engine",
    type=click.Choice(["thread", "process", "ray"]),
    help="Where the workers run, one per GPU. ray: on any machine that sees the files and DIR at "
    "the same path.  [default: thread for one GPU, process for more]",
)
@click.option(
    "-o", "--output", type=common.FILE, required=True, metavar="DIR", help="Output folder."
)
@click.option("--resume", is_flag=True, help="Continue the run in DIR: make the missing images.")
@common.json_option
def command(
    file: str,
    instance: str | None,
    policy: str | None,
    params: dict[str, str],
    seed: int,
    output: str,
    resume: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Run SCHEDULE on real devices. Each request gives a PNG file.

    With --policy, INSTANCE runs live: its requests arrive in real time, and the policy decides as
    in 'simulate'. The folder DIR gets images/, execution.json, trace.json (open it at
    ui.perfetto.dev) and report.html, which compares predicted with measured times. To continue a
    run that was stopped or killed, repeat its options with --resume. Failed requests are tried
    again.
    """
    from pats_opt.execute.engine import require
    from pats_opt.execute.run import execute
    from pats_opt.model.files import read_instance, read_schedule
    from pats_opt.model.problem import Problem

    if (instance is None) == (policy is None):
        raise click.UsageError(
            "give either a schedule and its --instance, or an instance and a --policy"
        )
    require()
    problem = Problem(read_instance(file if instance is None else instance))
    options = _options(problem, chosen, live=policy is not None)
    driver: Driver
    schedule: Callable[[], Schedule]
    if policy is not None:
        driver, schedule = _live(problem, policy, params, seed, Path(output) if resume else None)
    else:
        if params:
            raise click.UsageError("--param needs a --policy")
        document = read_schedule(file)
        driver, schedule = _scheduled(problem, document, options, file), lambda: document
    with ImageProgress(quiet=as_json) as bar:
        outcome = execute(
            problem, driver, options, output, resume=resume, begun=bar.begun, saved=bar.saved
        )
    comparison = _compare(problem, outcome, schedule, Path(output))
    if as_json:
        common.print_json(_summary(outcome, comparison, Path(output)))
    else:
        click.echo("\n".join(_lines(outcome, comparison, Path(output))))
    if outcome.error is not None:
        raise outcome.error


def _options(problem: Problem, chosen: dict[str, Any], *, live: bool) -> Options:
    """Return the options of the run, with defaults for those that were not given."""
    from pats_opt.execute.options import TINY_SHRINK, Options, devices, dtype_of
    from pats_opt.execute.record import Pace, Tier
    from pats_opt.execute.workers import WorkerKind
    from pats_opt.runs.record import cores

    if live and chosen["pace"] == "fast":
        raise click.UsageError("a policy runs in real time: --pace fast works for schedules only")
    gpus = len(problem.site.gpus)
    workers = WorkerKind(chosen["engine"] or ("thread" if gpus == 1 else "process"))
    if workers is WorkerKind.RAY:
        from pats_opt.execute.workers.ray import require

        require()
    named = devices(chosen["device"], gpus, workers)
    shrink = chosen["shrink"] or (TINY_SHRINK if chosen["model"] == "tiny" else 1)
    return Options(
        model=chosen["model"],
        adapters=chosen["adapters"],
        devices=named,
        dtype=dtype_of(chosen["dtype"], named[0]),
        pace=Pace(chosen["pace"] or ("schedule" if live else "fast")),
        tier=Tier(chosen["load_from"]),
        shrink=shrink,
        guidance=chosen["guidance"],
        memory_gib=chosen["memory"],
        graphs=chosen["graphs"],
        workers=workers,
        # More threads do not help the tiny model, and slow it down a lot on a busy machine.
        threads=(1 if chosen["model"] == "tiny" else max(1, cores() // gpus))
        if "cpu" in named
        else None,
    )


def _scheduled(problem: Problem, schedule: Schedule, options: Options, file: str) -> Driver:
    from pats_opt.errors import InputError
    from pats_opt.execute.drivers import ScheduleDriver

    try:
        return ScheduleDriver(problem, schedule, options.pace)
    except InputError as error:
        raise error.in_file(file) from None


def _live(
    problem: Problem, spec: str, params: dict[str, str], seed: int, resumed: Path | None
) -> tuple[Driver, Callable[[], Schedule]]:
    """Return the driver of a policy, and a function that simulates it for comparison."""
    from pats_opt.cli.simulate import named_policy
    from pats_opt.execute.policy_driver import PolicyDriver
    from pats_opt.execute.run import earlier
    from pats_opt.solving.solve import solve

    policy = named_policy(spec, params)
    driver = PolicyDriver(problem, policy, seed, None if resumed is None else earlier(resumed))
    return driver, lambda: solve(problem, policy, seed=seed).schedule


def _compare(
    problem: Problem, outcome: ExecutionOutcome, schedule: Callable[[], Schedule], folder: Path
) -> ExecutionComparison | None:
    """Compare predicted with measured times, and write the page; None without any image."""
    from pats_opt.errors import InputError, PatsError
    from pats_opt.execute.compare import compare
    from pats_opt.execute.compare.page import write_page
    from pats_opt.execute.journal import images
    from pats_opt.execute.output import REPORT

    if not images(outcome.execution.gpus):
        return None
    try:
        predicted = schedule()
    except PatsError as error:  # a policy that worked live may fail in the simulator
        click.echo(f"no comparison: {error}", err=True)
        return None
    comparison = compare(problem, outcome.execution, predicted)
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
        "devices": [gpu.device for gpu in done.gpus],
        "summary": [] if comparison is None else list(sentences(comparison)),
        "totals": [] if comparison is None else msgspec.to_builtins(comparison.totals),
    }


def _lines(
    outcome: ExecutionOutcome, comparison: ExecutionComparison | None, folder: Path
) -> list[str]:
    """Return the outcome as lines of text."""
    from pats_opt.errors import one_line
    from pats_opt.execute.compare import sentences
    from pats_opt.execute.journal import images
    from pats_opt.execute.output import REPORT

    count = len(images(outcome.execution.gpus))
    before = f" ({count - outcome.new} of them before)" if count > outcome.new else ""
    lines = [f"{count} images{before} in {_seconds(outcome):.1f} s: {folder / 'images'}"]
    lines += [f"  {name} failed: {why}" for name, why in _failed(outcome).items()]
    if comparison is not None:
        lines += [*sentences(comparison), f"The report is {folder / REPORT}"]
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

        self._quiet, self._stack, self._failed = quiet, ExitStack(), 0
        self._done: Callable[[Saved], None] = lambda _: None

    def __enter__(self) -> ImageProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begun(self, total: int) -> None:
        """Start the bar."""
        self._done = self._stack.enter_context(
            terminal.progress(total, self._status, quiet=self._quiet)
        )

    def saved(self, saved: Saved) -> None:
        """Advance the bar by one image."""
        self._done(saved)

    def _status(self, saved: Saved) -> str:
        from pats_opt.wording import label

        self._failed += saved.member.error is not None
        last = label(saved.member.id)
        return f"{self._failed} failed; {last}" if self._failed else last
