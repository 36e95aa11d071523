"""The grid of a plan: its instance, its axes, and the run of each cell."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from pats_opt.core.solver import Kind, require
from pats_opt.errors import InputError
from pats_opt.generate import profile as profiles
from pats_opt.generate.recipe import Recipe, ServiceSettings
from pats_opt.importers.mapping import LogColumns, LogMapping, read_off
from pats_opt.importers.trace import import_trace
from pats_opt.model.files import read_instance, write_instance
from pats_opt.model.fleet import FleetSetting, busiest, median_load_s, refuse_unequippable
from pats_opt.model.instance import Instance
from pats_opt.model.problem import Problem
from pats_opt.planning.config import INSTANCE, LOG_GPUS, LOG_RESIDENTS, PlanConfig
from pats_opt.report.config import instance_info, solver_info
from pats_opt.runs.instances import InstanceFile
from pats_opt.runs.record import InstanceInfo, RunConfig, SolverInfo, Task
from pats_opt.runs.setting import RunSetting
from pats_opt.solving.solve import refuse_unservable, runnable
from pats_opt.wording import counted

#: Solver of the bounds.
BOUND = "lagrangian"


class PlanLine(NamedTuple):
    """Everything of a cell but its GPUs; None where the instance's own is left.

    Attributes:
        residents: Most adapters resident on a GPU.
        tier: Place of the adapter files.
        channels: Loads beside serving.
        batch: Largest batch.
        dispatch: Dispatch rule.
        policy: Spec of the policy, without the rule.
    """

    residents: int | None
    tier: str | None
    channels: int | None
    batch: int | None
    dispatch: str | None
    policy: str

    @property
    def spec(self) -> str:
        """Spec of the policy with its dispatch rule."""
        rule = self.dispatch
        return self.policy if rule in (None, "central") else f"{self.policy}:dispatch={rule}"


class PlanGrid(NamedTuple):
    """Everything that a plan may run.

    Attributes:
        config: The options.
        folder: The plan's folder.
        instance: The load.
        file: Its file.
        info: The facts of it that records keep.
        gpus: Numbers of GPUs, rising.
        lines: All else.
        solvers: Solver of each spec.
        factors: Factor of the load times by tier.
        notes: What the reading of the load says.
    """

    config: PlanConfig
    folder: Path
    instance: Instance
    file: Path
    info: InstanceInfo
    gpus: tuple[int, ...]
    lines: tuple[PlanLine, ...]
    solvers: dict[str, SolverInfo]
    factors: dict[str, float]
    notes: tuple[str, ...]

    def task(self, line: PlanLine, gpus: int) -> Task:
        """The run of a cell, over all requests."""
        config = self.config
        slo_s = None if config.objective is None else config.objective.seconds
        setting = RunSetting(fleet=self.fleet(line, gpus), windows=config.windows, slo_s=slo_s)
        return self._task(line.spec, config.time_limit, setting)

    def bound_tasks(self, line: PlanLine, gpus: int) -> list[list[Task]]:
        """By short window: the run of the bound, then one of each policy on the same fleet."""
        config, fleet = self.config, self.fleet(line, gpus)
        specs = dict.fromkeys(line._replace(policy=name).spec for name in config.policies)
        spans = busiest(self.instance, config.bound_windows, config.bound_requests)
        return [
            [
                self._task(BOUND, config.bound_s, RunSetting(fleet=fleet, span=span)),
                *(
                    self._task(s, config.time_limit, RunSetting(fleet=fleet, span=span))
                    for s in specs
                ),
            ]
            for span in spans
        ]

    def fleet(self, line: PlanLine, gpus: int) -> FleetSetting:
        """The fleet of a cell."""
        return FleetSetting(
            gpus=gpus,
            residents=line.residents,
            channels=line.channels,
            batch=line.batch,
            load_factor=None if line.tier is None else self.factors[line.tier],
        )

    def _task(self, spec: str, limit: float | None, setting: RunSetting) -> Task:
        run = RunConfig(
            instance=self.info,
            solver=self.solvers[spec],
            time_limit=limit,
            seed=self.config.seed,
            setting=setting,
        )
        return Task(config=run, instance=str(self.file), folder=str(self.folder))


def make_grid(config: PlanConfig, folder: Path) -> PlanGrid:
    """Read the load and check every axis before the first run.

    Raises:
        InputError: The load cannot be read, or an axis has what cannot be run.
        CapabilityError: A policy cannot handle a feature of the instance.
        InfeasibleError: A request fits no GPU and may not be rejected.
    """
    solvers = {spec: _policy(spec) for spec in dict.fromkeys(_specs(config))}
    instance, file, notes = _load(config, folder)
    if not instance.requests:
        raise InputError("there are no requests", file=config.load, hint="name another load")
    if config.windows > len(instance.requests):
        raise InputError(
            f"{config.windows} windows of {counted(len(instance.requests), 'request')} "
            "would be empty",
            hint=f"give --windows {len(instance.requests)} or fewer",
        )
    log = config.is_log
    residents = config.residents or (LOG_RESIDENTS if log else ())
    lines = product(
        residents or (None,),
        config.tiers or (None,),
        config.channels or (None,),
        config.batches or (None,),
        config.dispatches or (None,),
        config.policies,
    )
    grid = PlanGrid(
        config=config,
        folder=folder,
        instance=instance,
        file=file,
        info=instance_info(InstanceFile(instance, file, ""), folder),
        gpus=config.gpus or (LOG_GPUS if log else (len(instance.gpus),)),
        lines=tuple(dict.fromkeys(PlanLine(*line) for line in lines)),
        solvers=solvers | {BOUND: solver_info(BOUND)},
        factors=_factors(config, instance),
        notes=notes,
    )
    fleets = dict.fromkeys(grid.fleet(line, grid.gpus[-1]) for line in grid.lines)
    for fleet in fleets:
        refuse_unequippable(instance, fleet)
    whole = Problem(RunSetting(fleet=next(iter(fleets))).of(instance))
    refuse_unservable(whole)
    for spec in solvers:
        require(runnable(spec), whole)
    return grid


def _specs(config: PlanConfig) -> Iterator[str]:
    for policy, rule in product(config.policies, config.dispatches or (None,)):
        if rule is not None and ":dispatch=" in policy:
            raise InputError(
                f"{policy!r} names its dispatch rule, and --dispatch names others",
                hint="give the rule in one place",
            )
        yield PlanLine(None, None, None, None, rule, policy).spec


def _policy(spec: str) -> SolverInfo:
    found = solver_info(spec)
    if found.kind != Kind.ONLINE:
        raise InputError(
            f"{found.name!r} is no online policy ({found.kind})",
            hint="choose online ones from 'pats-opt solvers'",
        )
    return found


def _load(config: PlanConfig, folder: Path) -> tuple[Instance, Path, tuple[str, ...]]:
    """The instance of the load and its file; a log's is written once, in the plan's folder."""
    if not config.is_log:
        return read_instance(config.load), Path(config.load), ()
    file = folder / INSTANCE
    if file.is_file():
        return read_instance(file), file, ()
    recipe = Recipe()
    if config.profile is not None:
        recipe = replace(recipe, service=ServiceSettings(profile=config.profile))
    imported = import_trace(config.load, _mapping(config), recipe, config.seed)
    write_instance(imported.instance, file)
    notes = [*imported.statistics.lines(), *imported.changes, *imported.noticed]
    return read_instance(file), file, tuple(notes)


def _mapping(config: PlanConfig) -> LogMapping:
    return LogMapping(columns=LogColumns(**read_off(config.load)), speed=config.speed)


def _factors(config: PlanConfig, instance: Instance) -> dict[str, float]:
    """Factor of the load times by tier: the tier's median by that of the instance.

    Raises:
        InputError: The profile or a tier is unknown, or the instance loads nothing.
    """
    if not config.tiers:
        return {}
    extra = instance.extra if isinstance(instance.extra, dict) else {}
    name = config.profile or extra.get("profile")
    if not isinstance(name, str):
        raise InputError(
            "the instance names no profile, whose tiers --tier could mean",
            hint="name one with --profile",
        )
    device = profiles.load(name)
    own = device.load_time(None).median if config.is_log else median_load_s(instance.adapters)
    if not own:
        raise InputError("no adapter takes time to load", hint="leave out --tier")
    return {tier: device.load_time(tier).median / own for tier in config.tiers}
