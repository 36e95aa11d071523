"""A server put together: its workers, its scheduler and its service."""

from __future__ import annotations

from queue import SimpleQueue

from pats_opt.core.policy import Policy
from pats_opt.execute.options import model_path
from pats_opt.execute.orders import OrderBuilder, shrunk
from pats_opt.execute.policy_driver import MOST_WARM
from pats_opt.execute.work import EngineSettings, Shape
from pats_opt.execute.worker import OpenEngine, WorkerJob, open_sdxl
from pats_opt.model.instance import quanta
from pats_opt.model.problem import Problem, Site
from pats_opt.serving.adapters import ServedAdapterSet
from pats_opt.serving.api import SIDE
from pats_opt.serving.fleet import WorkerFleet
from pats_opt.serving.folder import AdapterFolder
from pats_opt.serving.log import RequestLog
from pats_opt.serving.model import ServerModel, site_of
from pats_opt.serving.scheduler import RequestScheduler
from pats_opt.serving.service import ImageService
from pats_opt.serving.settings import ServerSettings
from pats_opt.serving.timed import EngineTimes, open_timed


def worker_jobs(
    model: ServerModel, problem: Problem, max_parts: int
) -> tuple[list[WorkerJob], OpenEngine]:
    """Return the job of each GPU's worker, and what opens their engines.

    Args:
        model: The model and its GPUs.
        problem: The instance without requests.
        max_parts: Most adapters that a request may combine.
    """
    options, site = model.options, problem.site
    slots = _slots(model, site)
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
                max_parts=max_parts,
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


def _slots(model: ServerModel, site: Site) -> int:
    """Return the most adapters that any GPU can hold, however many there will be."""
    size, most = quanta(model.profile.memory.adapter_gib), 1
    for gpu in site.gpus:
        free = site.room(gpu.index, frozenset())[0]
        held = site.max_resident if free is None or not size else free // size
        most = max(most, min(held, site.max_resident))
    return most


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
    jobs, open_model = worker_jobs(model, problem, settings.limits.parts)
    mailbox: SimpleQueue[object] = SimpleQueue()
    fleet = WorkerFleet(model.options.workers, jobs, open_engine or open_model, mailbox)
    path, folder = model.options.adapters, None
    if path is not None and settings.watch_s:
        folder = AdapterFolder(path)
    found = None if folder is None else folder.first
    adapters = ServedAdapterSet(model, problem, found, settings.combinations)
    service = ImageService(problem, model, adapters, settings, log_file, folder=folder)
    scheduler = RequestScheduler(
        problem,
        policy,
        model.seed,
        adapters=model.adapters,
        builder=builder,
        fleet=fleet,
        mailbox=mailbox,
        notify=service.notify,
    )
    adapters.changed = scheduler.change_adapters
    service.bind(scheduler)
    return service, scheduler
