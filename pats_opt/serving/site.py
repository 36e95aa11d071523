"""The instance that a server works on: GPUs and adapters, without requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from msgspec import Struct
from msgspec.structs import replace

from pats_opt.core.policy import Policy
from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.adapters import adapters_in, make_adapters
from pats_opt.execute.options import BUILT_IN, Options, model_path
from pats_opt.execute.orders import OrderBuilder, shrunk
from pats_opt.execute.policy_driver import MOST_WARM, slots_needed
from pats_opt.execute.work import EngineSettings, Shape
from pats_opt.execute.worker import OpenEngine, WorkerJob, open_sdxl
from pats_opt.generate.build import assemble
from pats_opt.generate.profile import Profile
from pats_opt.generate.recipe import Recipe
from pats_opt.model.instance import Adapter
from pats_opt.model.problem import Problem
from pats_opt.serving.api import BASE, SIDE
from pats_opt.serving.fleet import WorkerFleet
from pats_opt.serving.log import RequestLog
from pats_opt.serving.scheduler import RequestScheduler
from pats_opt.serving.service import ImageService
from pats_opt.serving.settings import ServerSettings
from pats_opt.serving.timed import EngineTimes, open_timed

#: The model that is none: it takes the times of the profile.
FAKE = "fake"

#: Adapters that are made up where a model with random weights has no folder of them.
MADE_UP = tuple(f"lora-{i}" for i in range(1, 5))

#: Largest batch where neither the recipe nor the profile has one.
LARGEST_BATCH = 1024


class ServerModel(Struct, frozen=True, kw_only=True):
    """The model, its adapters and the GPUs that serve them.

    Attributes:
        recipe: GPUs, memory, residents and prices.
        profile: The device, as the recipe names it.
        options: How workers run.
        adapters: The adapters.
        max_parts: Most adapters that a request may combine.
        seed: Seed of the policy.
    """

    recipe: Recipe
    profile: Profile
    options: Options
    adapters: AdapterSet
    max_parts: int = 1
    seed: int = 0

    @property
    def is_fake(self) -> bool:
        """Whether there is no model."""
        return self.options.model == FAKE

    def adapter(self, name: str) -> Adapter:
        """Return an adapter of the problem: memory and load time are the sums over its parts."""
        parts, load = len(self.adapters.parts(name)), self.profile.load_time(self.tier)
        gib = round(parts * self.profile.memory.adapter_gib, 6)
        return Adapter(id=name, vram_gib=gib, load_s=round(parts * load.median, 6))

    @property
    def tier(self) -> str | None:
        """Tier of the profile from which adapters are loaded."""
        return self.recipe.switching.tier


def served_adapters(model: str, folder: str | None, made_up: Callable[[], Path]) -> AdapterSet:
    """Return the adapters to serve.

    Args:
        model: The model.
        folder: Folder of LoRA files; None to make some up for a model with random weights.
        made_up: Gives the folder for those.

    Raises:
        InputError: The folder cannot be read, or is needed.
    """
    if folder is not None:
        return adapters_in(folder)
    if model in BUILT_IN:
        return AdapterSet(files=make_adapters(model, MADE_UP, made_up()))
    return AdapterSet(files=dict.fromkeys(MADE_UP, "") if model == FAKE else {})


def site_of(model: ServerModel) -> Problem:
    """Return the problem without requests.

    Raises:
        InputError: The GPUs do not fit together.
    """
    profile = model.profile
    bare = [] if BASE in model.adapters else [Adapter(id=BASE, vram_gib=0.0, load_s=0.0)]
    adapters = [*bare, *[model.adapter(name) for name in sorted(model.adapters)]]
    gpus = model.recipe.gpus
    largest = gpus.batch or profile.memory.max_batch or LARGEST_BATCH
    recipe = replace(model.recipe, gpus=replace(gpus, batch=largest))
    made = assemble("served", (), adapters, recipe, profile=profile, seed=model.seed, extra={})
    return Problem(made)


def worker_jobs(
    model: ServerModel, problem: Problem, builder: OrderBuilder
) -> tuple[list[WorkerJob], OpenEngine]:
    """Return the job of each GPU's worker, and what opens their engines."""
    options, site = model.options, problem.site
    slots = slots_needed(site, builder)
    side = shrunk(SIDE, options.shrink)
    warm = tuple(Shape(side, side, n) for n in range(1, MOST_WARM + 1))
    text = {
        "model": options.model,
        "dtype": options.dtype,
        "guidance": repr(float(options.guidance)),
    }
    ref = options.model_ref(slots)
    jobs = [
        WorkerJob(
            gpu=gpu.index,
            images=None,
            journal=None,
            settings=EngineSettings(
                model=model_path(options.model),
                device=options.devices[gpu.index],
                dtype=options.dtype,
                guidance=options.guidance,
                adapter_files=dict(model.adapters.files),
                compositions=dict(model.adapters.compositions),
                max_parts=model.max_parts,
                slots=slots,
                tier=options.tier,
                warm=warm,
                memory_gib=options.memory_gib,
                graphs=options.graphs,
                threads=options.threads,
            ),
            names={},
            text=text,
            model=ref,
            engine=options.workers.value,
            session=1,
            channels=min(site.channels or 0, slots),
        )
        for gpu in site.gpus
    ]
    times = EngineTimes.of(model.profile, model.tier)
    return jobs, open_timed(times) if model.is_fake else open_sdxl


def make_service(
    model: ServerModel,
    policy: Policy,
    settings: ServerSettings,
    log_file: RequestLog | None = None,
    open_engine: OpenEngine | None = None,
) -> tuple[ImageService, RequestScheduler]:
    """Put a service and its scheduler together; nothing is started yet.

    Args:
        model: The model and its GPUs.
        policy: The policy.
        settings: The server's settings.
        log_file: The log.
        open_engine: Opens engines in place of the model's.

    Raises:
        InputError: What is to be served does not fit together.
    """
    problem = site_of(model)
    if log_file is not None:
        log_file.describe(problem.instance)
    without = [a.id for a in problem.instance.adapters if a.id not in model.adapters]
    builder = OrderBuilder(problem, without, model.options.shrink)
    jobs, open_model = worker_jobs(model, problem, builder)
    mailbox: SimpleQueue[object] = SimpleQueue()
    fleet = WorkerFleet(model.options.workers, jobs, open_engine or open_model, mailbox)
    quality = model.recipe.quality.model()
    service = ImageService(problem, model.profile, quality, settings, log_file)
    scheduler = RequestScheduler(
        problem,
        policy,
        model.seed,
        builder=builder,
        fleet=fleet,
        mailbox=mailbox,
        notify=service.notify,
    )
    service.bind(scheduler)
    return service, scheduler


def with_ticks(recipe: Recipe, tick_s: float) -> Recipe:
    """Return a recipe with a tick that is short enough to serve by, unless it names one."""
    if recipe.service.tick_s is not None:
        return recipe
    return replace(recipe, service=replace(recipe.service, tick_s=tick_s))
