"""Small problems, their schedules, and executions of them with the fake engine."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from pats_opt.core import registry
from pats_opt.core.policy import Policy
from pats_opt.core.solver import ALL_FEATURES, Feature, Solver
from pats_opt.execute.drivers import Driver, ScheduleDriver
from pats_opt.execute.journal import Journal, RequestFinished
from pats_opt.execute.journal import read as read_journal
from pats_opt.execute.options import Options
from pats_opt.execute.policy_driver import PolicyDriver
from pats_opt.execute.record import Pace
from pats_opt.execute.run import ExecutionOutcome, earlier, execute
from pats_opt.execute.worker import OpenEngine
from pats_opt.model.checker import check
from pats_opt.model.files import parse_instance
from pats_opt.model.plan import PlannedBatch, PlannedLoad, plan_of, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule, SolverRef
from pats_opt.simulate import simulate
from pats_opt.testing.instances import random_features, random_instance
from tests.execute.fakes import open_fake
from tests.support.zoo import adapter, document, gpu, request

#: ``a`` and ``b`` have files and are worth loading; ``base`` is the bare model.
ADAPTERS = [adapter("a", 0.01, 0.1), adapter("b", 0.01, 0.1), adapter("base")]


def problem(count: int = 6, gpus: int = 1, times: int = 1, **others: Any) -> Problem:
    """Requests of 2 to 4 times so many steps, for three adapters in turn; tick and step: 10 ms."""
    requests = [
        request(
            f"r{i}",
            steps=(2 + i % 3) * times,
            adapter=("a", "b", "base")[i % 3],
            demand={"vram_gib": 3.0},
            arrival_s=0.01 * i,
            prompt=f"a corgi, {i}",
            seed=i,
        )
        for i in range(count)
    ]
    return of(*requests, gpus=[gpu(f"gpu-{g}", ()) for g in range(gpus)], **others)


def of(*requests: dict[str, Any], **others: Any) -> Problem:
    """A problem of these requests, with the adapters above."""
    settings = {
        "adapters": ADAPTERS,
        "tick_s": 0.01,
        "switching": {"max_resident": 2},
        "service": {"kind": "steps", "step_s": {"base": 0.01, "per_sample": 0.0}},
        "gpus": [gpu(resident=())],
    }
    text = json.dumps(document(*requests, **{**settings, **others}))
    return Problem(parse_instance(text))


def drawn(seed: int, among: frozenset[Feature] = ALL_FEATURES) -> Problem:
    """A random problem of 8 to 25 requests with random features, whose ticks take 4 ms."""
    features = random_features(random.Random(seed), among=among) - {Feature.HORIZON}
    instance = random_instance(seed, features, requests=(8, 25))
    scale = 0.004 / instance.tick_s

    def faster(deadline_s: float | None) -> float | None:
        return None if deadline_s is None else deadline_s * scale

    return Problem(
        replace(
            instance,
            tick_s=0.004,
            adapters=tuple(replace(a, load_s=a.load_s * scale) for a in instance.adapters),
            requests=tuple(
                replace(r, arrival_s=r.arrival_s * scale, deadline_s=faster(r.deadline_s))
                for r in instance.requests
            ),
        )
    )


def schedule(problem: Problem, policy: str = "fifo") -> Schedule:
    """Schedule of a policy in the simulator; the same each time."""
    done = simulate(problem, policy_of(policy))
    return schedule_of(problem, done.plan, SolverRef(name=policy))


def beside(problem: Problem, seed: int = 0) -> Schedule:
    """A schedule with loads beside serving: batches by arrival, each load as early as it can be.

    Drawn are the sizes of batches, and which adapter leaves.
    """
    rng, site = random.Random(seed), problem.site
    everything = frozenset(range(len(site.adapter_ids)))
    batches: list[list[PlannedBatch]] = []
    loads: list[list[PlannedLoad]] = []
    jobs = sorted(problem.jobs, key=lambda job: job.arrival)
    for each in site.gpus:
        ready = dict.fromkeys(sorted(each.resident), 0)
        last_use = dict.fromkeys(everything, 0)
        batches.append([])
        loads.append([])
        free, ends, previous = 0, [0] * (site.channels or 0), None
        mine = jobs[each.index :: len(site.gpus)]
        while mine:
            wanted = mine[0].adapter
            some = [job for job in mine if job.adapter == wanted][: rng.randint(1, 2)]
            mine = [job for job in mine if job not in some]
            if wanted not in ready:
                leaving = sorted(ready, key=lambda a: (last_use[a], a))[: len(ready) - 1]
                out = [rng.choice(leaving)] if len(ready) == site.max_resident else []
                start = max([min(ends), *[max(last_use[a], ready[a]) for a in out]])
                if loads[-1]:
                    start = max(start, loads[-1][-1].start)
                for a in out:
                    del ready[a]
                ready[wanted] = start + site.load_ticks(wanted)
                ends[ends.index(min(ends))] = ready[wanted]
                loads[-1].append(PlannedLoad(wanted, start, frozenset(out)))
            ticks = site.activation(frozenset([wanted]), previous).ticks
            start = max([free + ticks, ready[wanted], *[job.arrival for job in some]])
            previous = frozenset([wanted])
            members = tuple([(job.index, 0) for job in some])
            batches[-1].append(PlannedBatch(start, members, everything))
            steps = tuple([job.options[0].steps for job in some])
            free = last_use[wanted] = start + site.clock.ends(steps)[1]
    plan = plan_of(batches, loads)
    made = schedule_of(problem, plan, SolverRef(name="beside"))
    check(problem, made).require_valid()
    return made


def policy_of(spec: str) -> Policy:
    """A policy by name."""
    made = registry.make(spec)
    assert not isinstance(made, Solver)
    return made


def options(folder: Path, problem: Problem, **others: Any) -> Options:
    """The usual ones; the adapters' files are made beside the output folder."""
    files = folder.parent / "adapters"
    files.mkdir(parents=True, exist_ok=True)
    for each in problem.instance.adapters:
        if each.vram_gib or each.load_s:
            (files / f"{each.id}.safetensors").write_text(each.id)
    devices = ("cpu",) * len(problem.site.gpus)
    return replace(Options(adapters=str(files), devices=devices), **others)


def run(
    folder: Path,
    problem: Problem,
    driver: Driver | None = None,
    *,
    resume: bool = False,
    engine: OpenEngine = open_fake,
    **others: Any,
) -> ExecutionOutcome:
    """Execute, by default the schedule of ``fifo``."""
    chosen = options(folder, problem, **others)
    driver = driver or ScheduleDriver(problem, schedule(problem), chosen.pace)
    return execute(problem, driver, chosen, folder, resume=resume, open_engine=engine)


def run_live(
    folder: Path,
    problem: Problem,
    policy: str | Policy = "fifo",
    *,
    seed: int = 0,
    resume: bool = False,
    **others: Any,
) -> ExecutionOutcome:
    """Execute a policy live."""
    chosen = policy_of(policy) if isinstance(policy, str) else policy
    driver = PolicyDriver(problem, chosen, seed, earlier(folder) if resume else None)
    return run(folder, problem, driver, resume=resume, **{"pace": Pace.SCHEDULE, **others})


def journals(folder: Path) -> list[Journal]:
    """The journals of a folder."""
    return [read_journal(path) for path in sorted((folder / "journal").glob("*.jsonl"))]


def makings(folder: Path) -> dict[str, int]:
    """How often each request's image was made, by the journals."""
    counts: dict[str, int] = {}
    for journal in journals(folder):
        for line in journal.lines:
            if isinstance(line, RequestFinished) and line.member.image:
                counts[line.member.id] = counts.get(line.member.id, 0) + 1
    return counts


def pictures(folder: Path) -> dict[str, bytes]:
    """Files in the images' folder."""
    return {path.name: path.read_bytes() for path in sorted((folder / "images").iterdir())}
