"""``pats-opt execute``: a schedule, or a policy live, on real devices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli import common, completing, model_options, terminal

if TYPE_CHECKING:
    from pats_opt.execute.compare import Comparison
    from pats_opt.execute.drivers import Driver
    from pats_opt.execute.options import Options
    from pats_opt.execute.run import Outcome
    from pats_opt.execute.worker import Saved
    from pats_opt.model.problem import Problem
    from pats_opt.model.schedule import Schedule


@click.command("execute")
@click.argument("file", metavar="SCHEDULE|INSTANCE", type=common.FILE)
@click.option("--instance", type=common.FILE, help="The instance that SCHEDULE was made for.")
@click.option(
    "--policy",
    shell_complete=completing.specs,
    help="Run INSTANCE live with this policy, such as pats:gamma=0.5.",
)
@common.param_option
@common.seed_option
@model_options.model
@click.option(
    "--adapters",
    type=common.FILE,
    help="Folder of LoRA files <adapter id>.safetensors.  [default: random ones, if MODEL is too]",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda (the first GPU to the first of the instance, and so on), or a list such "
    "as cuda:1,cuda:0.",
)
@model_options.dtype
@click.option(
    "--pace",
    type=click.Choice(["schedule", "fast"]),
    help="Keep the schedule's times, or its order only.  [default: fast; live: schedule]",
)
@click.option(
    "--load-from",
    type=click.Choice(["host", "disk"]),
    default="host",
    show_default=True,
    help="Load adapters from a copy in host memory, or from their files each time.",
)
@model_options.shrink
@model_options.guidance
@click.option(
    "--graphs/--no-graphs",
    default=True,
    help="On a GPU, run the UNet through CUDA graphs: the same images, sooner.  [default: graphs]",
)
@model_options.memory
@click.option(
    "--engine",
    type=click.Choice(["thread", "process", "ray"]),
    help="Where the workers run, one for each GPU; with ray on any machine that sees DIR and the "
    "files under the same paths.  [default: thread for one GPU, process for more]",
)
@click.option(
    "-o", "--output", type=common.FILE, required=True, help="Folder for all that is made."
)
@click.option("--resume", is_flag=True, help="Go on with the run in DIR: make what is missing.")
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
    """Run SCHEDULE on real devices: one PNG file a request, and all that it took.

    With --policy, INSTANCE is run live: requests arrive in real time, and the policy decides as it
    does in 'simulate'. The folder gets images/, execution.json, trace.json (for ui.perfetto.dev)
    and report.html, predicted against measured. A run that was stopped, or killed, goes on where it
    was with --resume and the same options; failed requests are tried again.
    """
    from pats_opt.execute.engine import require
    from pats_opt.execute.run import execute
    from pats_opt.model.files import read_instance, read_schedule
    from pats_opt.model.problem import Problem

    if (instance is None) == (policy is None):
        raise click.UsageError(
            "name either a schedule and its --instance, or an instance and a --policy"
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
            raise click.UsageError("--param is for a --policy")
        document = read_schedule(file)
        driver, schedule = _scheduled(problem, document, options, file), lambda: document
    with _Bar(quiet=as_json) as bar:
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
    """What to run with, where it was left open as well."""
    from pats_opt.execute.options import TINY_SHRINK, Options, devices, dtype_of
    from pats_opt.execute.record import Pace, Tier
    from pats_opt.execute.workers import CrewKind
    from pats_opt.runs.record import cores

    if live and chosen["pace"] == "fast":
        raise click.UsageError("a policy runs in real time: --pace fast is for schedules")
    gpus = len(problem.site.gpus)
    crew = CrewKind(chosen["engine"] or ("thread" if gpus == 1 else "process"))
    if crew is CrewKind.RAY:
        from pats_opt.execute.workers.ray import require

        require()
    named = devices(chosen["device"], gpus, crew)
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
        crew=crew,
        # The tiny model is no faster on more threads, and far slower where others want the cores.
        threads=(1 if chosen["model"] == "tiny" else max(1, cores() // gpus))
        if "cpu" in named
        else None,
    )


def _scheduled(problem: Problem, schedule: Schedule, options: Options, file: str) -> Driver:
    from pats_opt.errors import InputError
    from pats_opt.execute.schedule_driver import ScheduleDriver

    try:
        return ScheduleDriver(problem, schedule, options.pace)
    except InputError as error:
        raise error.in_file(file) from None


def _live(
    problem: Problem, spec: str, params: dict[str, str], seed: int, resumed: Path | None
) -> tuple[Driver, Callable[[], Schedule]]:
    """A policy, and how to find the schedule that it makes in the simulator."""
    from pats_opt.cli.simulate import named_policy
    from pats_opt.execute.policy_driver import PolicyDriver
    from pats_opt.execute.run import earlier
    from pats_opt.solving.solve import solve

    policy = named_policy(spec, params)
    driver = PolicyDriver(problem, policy, seed, None if resumed is None else earlier(resumed))
    return driver, lambda: solve(problem, policy, seed=seed).schedule


def _compare(
    problem: Problem, outcome: Outcome, schedule: Callable[[], Schedule], folder: Path
) -> Comparison | None:
    """Predicted against measured, with its page; None where nothing was made."""
    from pats_opt.errors import InputError, PatsError
    from pats_opt.execute.compare import compare
    from pats_opt.execute.compare.page import write_page
    from pats_opt.execute.gather import images
    from pats_opt.execute.output import REPORT

    if not images(outcome.execution.gpus):
        return None
    try:
        predicted = schedule()
    except PatsError as error:  # what the policy did live, it may fail to do in the simulator
        click.echo(f"no comparison: {error}", err=True)
        return None
    comparison = compare(problem, outcome.execution, predicted)
    try:
        write_page(comparison, outcome.execution, problem, folder / REPORT)
    except InputError:
        if outcome.error is None:  # else the full disk has been told
            raise
    return comparison


def _summary(outcome: Outcome, comparison: Comparison | None, folder: Path) -> dict[str, Any]:
    """The outcome as one JSON object."""
    import msgspec

    from pats_opt.execute.compare import sentences
    from pats_opt.execute.gather import images

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


def _lines(outcome: Outcome, comparison: Comparison | None, folder: Path) -> list[str]:
    """The outcome for people."""
    from pats_opt.errors import one_line
    from pats_opt.execute.compare import sentences
    from pats_opt.execute.gather import images
    from pats_opt.execute.output import REPORT

    count = len(images(outcome.execution.gpus))
    before = f" ({count - outcome.new} of them before)" if count > outcome.new else ""
    lines = [f"{count} images{before} in {_seconds(outcome):.1f} s: {folder / 'images'}"]
    lines += [f"  {name} failed: {why}" for name, why in _failed(outcome).items()]
    if comparison is not None:
        lines += [*sentences(comparison), f"The report is {folder / REPORT}"]
    return [one_line(line) for line in lines]


def _failed(outcome: Outcome) -> dict[str, str]:
    """Requests without an image, with the reason."""
    members = [m for _, batch in outcome.execution.batches() for m in batch.members]
    made = {m.id for m in members if m.image}
    return {m.id: m.error for m in members if m.error is not None and m.id not in made}


def _seconds(outcome: Outcome) -> float:
    """The run's clock at the end of the last batch."""
    return max((batch.end_s for _, batch in outcome.execution.batches()), default=0.0)


class _Bar:
    """Progress on a terminal, once it is known how many images there are to make."""

    def __init__(self, *, quiet: bool) -> None:
        from contextlib import ExitStack

        self._quiet, self._stack, self._failed = quiet, ExitStack(), 0
        self._done: Callable[[Saved], None] = lambda _: None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begun(self, total: int) -> None:
        """Begin the bar."""
        self._done = self._stack.enter_context(
            terminal.progress(total, self._told, quiet=self._quiet)
        )

    def saved(self, saved: Saved) -> None:
        """Advance it."""
        self._done(saved)

    def _told(self, saved: Saved) -> str:
        from pats_opt.wording import label

        self._failed += saved.member.error is not None
        last = label(saved.member.id)
        return f"{self._failed} failed; {last}" if self._failed else last
