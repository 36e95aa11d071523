"""``pats-opt serve``: an HTTP server in front of the live executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli import common, completing
from pats_opt.cli.common import FILE, Count, field
from pats_opt.cli.recipe import SITE, recipe_from, recipe_options

if TYPE_CHECKING:
    from pats_opt.generate.recipe import Recipe
    from pats_opt.serving.journal import JobJournal
    from pats_opt.serving.model import ServerModel
    from pats_opt.serving.settings import ServerSettings

#: Settings of the recipe that a server has; the others are those of requests.
SERVED = (
    *("--profile", "--tick", "--gpus", "--vram", "--batch", "--max-resident", "--max-per-batch"),
    *("--activate", "--tier", "--load-channels", "--switch-price", "--latency-price"),
    *("--late-price", "--pruned", "--quality-table"),
)

#: Profile of each model, unless another is named; all other models have the last one.
PROFILES = {"tiny": "tiny-cpu"}
PROFILE = "h100-80g"

#: Seconds per tick, unless another is named.
TICK_S = 0.001


@dataclass(frozen=True)
class ServeOptions:
    """Options of the command."""

    model: str = field(
        "--model",
        "tiny or sdxl-random (both with random weights), fake (no model: it takes the times of the "
        "profile), a diffusers folder, a .safetensors file, or a hub id.",
        default="tiny",
        metavar="MODEL",
    )
    adapters: str | None = field(
        "--adapters",
        "Folder of LoRA files <adapter id>.safetensors.  [default: four random ones, if the model "
        "is]",
        FILE,
        metavar="DIR",
    )
    watch: float = field(
        "--watch",
        "Seconds between looks at --adapters, for files that come, change and go; 0 for none.",
        click.FloatRange(0),
        default=5.0,
        metavar="S",
    )
    policy: str = field(
        "--policy",
        "Policy that schedules; for example pats:gamma=0.5.",
        default="price-index",
        shell_complete=completing.specs,
    )
    params: Mapping[str, str] = field(common.param_option)
    seed: int = field(common.seed_option)
    host: str = field("--host", "Address to listen on.", default="127.0.0.1")
    port: int = field(
        "--port", "Port; 0 for one that is free.", click.IntRange(0, 65535), default=8000
    )
    key_file: str | None = field(
        "--api-key-file key_file",
        "File of keys, one a line; clients must give one.",
        FILE,
        metavar="FILE",
    )
    log: str | None = field(
        "--log", "Log of requests, JSON lines, for 'import trace'.", FILE, metavar="FILE.jsonl"
    )
    journal: str | None = field(
        "--journal",
        "Folder in which jobs and their results survive a restart.  [default: they end with the "
        "server]",
        FILE,
        metavar="DIR",
    )
    steps: int = field(
        "--steps", "Denoising steps of requests that name none.", Count(1), default=30
    )
    queue: int = field(
        "--max-queue queue", "Most images that may wait or run.", Count(1), default=1000
    )
    images: int = field("--max-images images", "Most images per request.", Count(1), default=10)
    most_steps: int = field("--max-steps most_steps", "Most steps an image.", Count(1), default=150)
    side: int = field(
        "--max-side side", "Most pixels of a width or height.", click.IntRange(64), default=2048
    )
    parts: int = field(
        "--max-parts parts",
        "Most adapters that a request combines; slots have room for so many.",
        Count(1),
        default=2,
    )
    combinations: int = field(
        "--max-combinations combinations",
        "Most combinations that are kept; unused ones give way.",
        Count(1),
        default=16,
    )
    prompt: int = field("--max-prompt prompt", "Most characters.", Count(1), default=4000)
    reject_late: bool = field(
        "--reject-late",
        "Refuse a request at once if the backlog is predicted to outlast its deadline.",
        is_flag=True,
    )
    drain: float = field(
        "--drain",
        "After SIGTERM, seconds in which accepted requests are served.",
        click.FloatRange(0),
        default=600.0,
        metavar="S",
    )
    device: str = field(
        "--device", "auto, cpu, cuda (the GPUs in order), or a list by commas.", default="auto"
    )
    dtype: str = field(common.dtype_option)
    load_from: str = field(
        "--load-from",
        "Load adapters from host memory, or from their files each time.",
        click.Choice(["host", "disk"]),
        default="host",
    )
    shrink: int | None = field(common.shrink_option)
    guidance: float = field(common.guidance_option)
    memory: float | None = field(common.memory_option)
    engine: str = field(
        "--engine",
        "Where the workers run, one per GPU. ray: on any machine that sees the model and "
        "--adapters at the same path.",
        click.Choice(["thread", "process", "ray"]),
        default="process",
    )


@click.command("serve")
@recipe_options(*[setting for setting in SITE if setting.flag in SERVED])
@common.options(ServeOptions)
def command(options: ServeOptions, config: str | None, **recipe: Any) -> None:
    r"""Serve images over HTTP, as OpenAI's Images API, scheduled by a policy.

    The policy decides batches, order, steps and resident adapters, as in 'simulate'. A request's
    "model" names its adapter. A browser shows the queue and the GPUs at the server's address.
    --log writes what 'import trace' reads, --journal keeps jobs over a restart. The first
    Ctrl-C or SIGTERM ends the server once all accepted requests are served, the second at once.

    \b
      pats-opt serve --log requests.jsonl
      curl -s localhost:8000/v1/images/generations -H 'Content-Type: application/json' \
      -d '{"prompt": "a corgi", "model": "lora-1", "response_format": "b64_json"}'
    """
    require("starlette", "uvicorn", "prometheus_client")
    from pats_opt.cli.simulate import named_policy
    from pats_opt.serving.jobs import JobService
    from pats_opt.serving.log import RequestLog
    from pats_opt.serving.server import listen, serve
    from pats_opt.serving.site import make_service

    policy = named_policy(options.policy, options.params)
    settings = _settings(options, recipe_from(config, recipe))
    with ExitStack() as stack:
        sock = stack.enter_context(listen(settings.host, settings.port))
        if options.engine == "ray":
            from pats_opt.cluster import joined

            stack.enter_context(joined())
        model = _model(options, recipe_from(config, recipe), stack)
        log_file = None if options.log is None else stack.enter_context(RequestLog(options.log))
        journal = stack.enter_context(_journal(options, settings))
        service, scheduler = make_service(model, policy, settings, log_file)
        jobs = JobService(service, journal)
        host, port = sock.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        if not (settings.is_local or settings.keys):
            click.echo(
                f"pats-opt: warning: anybody who reaches {host} can use this server; add "
                "--api-key-file",
                err=True,
            )
        started = _started(model, options.policy, url)
        serve(service, jobs, scheduler, sock, lambda: click.echo(started))
    click.echo("stopped", err=True)


def require(*packages: str) -> None:
    """Refuse to go on without packages of the extra ``serve``.

    Raises:
        InputError: naming what is missing and how to install it.
    """
    from importlib.util import find_spec

    from pats_opt.errors import InputError

    if missing := [name for name in packages if find_spec(name) is None]:
        raise InputError(
            f"this needs {', '.join(missing)}",
            hint="install the extra: pip install 'pats-opt[serve]'",
        )


def _settings(given: ServeOptions, recipe: Recipe) -> ServerSettings:
    """Return the settings of the HTTP side."""
    from pats_opt.generate.build import PRUNED
    from pats_opt.serving.settings import RequestLimits, ServerSettings, read_keys

    return ServerSettings(
        host=given.host,
        port=given.port,
        keys=() if given.key_file is None else read_keys(given.key_file),
        limits=RequestLimits(
            prompt=given.prompt,
            images=given.images,
            steps=given.most_steps,
            side=given.side,
            parts=given.parts,
        ),
        combinations=given.combinations,
        watch_s=given.watch,
        queue=given.queue,
        steps=given.steps,
        pruned=PRUNED if recipe.steps.pruned is None else recipe.steps.pruned,
        reject_late=given.reject_late,
        drain_s=given.drain,
    )


def _journal(given: ServeOptions, settings: ServerSettings) -> JobJournal:
    """Return the journal of jobs, not opened yet."""
    from pats_opt.serving.journal import JobJournal

    durable = given.journal is not None
    return JobJournal(
        None if given.journal is None else Path(given.journal),
        kept_s=settings.result_s,
        kept_bytes=settings.result_bytes if durable else settings.kept_bytes,
    )


def _model(given: ServeOptions, recipe: Recipe, stack: ExitStack) -> ServerModel:
    """Return the model, its adapters and its GPUs."""
    from msgspec.structs import replace

    from pats_opt.execute.engine import require
    from pats_opt.execute.options import Options, devices, dtype_of, shrink_of, threads_per_gpu
    from pats_opt.execute.record import Tier
    from pats_opt.execute.workers import WorkerKind
    from pats_opt.generate import profile
    from pats_opt.serving.model import FAKE, ServerModel, served_adapters, with_ticks

    named = recipe.service.profile
    if named == type(recipe.service)().profile:
        named = PROFILES.get(given.model, PROFILE)
    recipe = with_ticks(replace(recipe, service=replace(recipe.service, profile=named)), TICK_S)
    fake = given.model == FAKE
    if not fake:
        require()
    gpus, workers = recipe.gpus.count, WorkerKind(given.engine)
    where = ("cpu",) * gpus if fake else devices(given.device, gpus, workers)
    options = Options(
        model=given.model,
        adapters=given.adapters,
        devices=where,
        dtype="float32" if fake else dtype_of(given.dtype, where[0]),
        tier=Tier(given.load_from),
        shrink=shrink_of("tiny" if fake else given.model, given.shrink),
        guidance=given.guidance,
        memory_gib=given.memory,
        workers=workers,
        threads=threads_per_gpu(given.model, gpus) if "cpu" in where else None,
    )
    made_up: Callable[[], Path] = lambda: _folder(stack)  # noqa: E731 - only where it is needed
    adapters = served_adapters(given.model, given.adapters, made_up)
    return ServerModel(
        recipe=recipe,
        profile=profile.of(recipe.service),
        options=options,
        adapters=adapters,
        seed=given.seed,
    )


def _folder(stack: ExitStack) -> Path:
    """Return a folder that is there as long as the server."""
    from tempfile import TemporaryDirectory

    return Path(stack.enter_context(TemporaryDirectory(prefix="pats-opt-")))


def _started(model: ServerModel, policy: str, url: str) -> str:
    """Return the line that says what is served, and where."""
    from pats_opt.wording import counted

    gpus, adapters = model.recipe.gpus.count, len(model.adapters)
    return (
        f"{model.options.model} with {counted(adapters, 'adapter')} on {counted(gpus, 'GPU')}, "
        f"scheduled by {policy}: {url}"
    )
