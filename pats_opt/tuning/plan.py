"""The plan of a search: everything that decides its result, kept in ``config.json``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field
from msgspec.structs import replace

from pats_opt import __version__
from pats_opt.core.solver import Kind, require
from pats_opt.errors import CapabilityError, InfeasibleError, InputError
from pats_opt.model.files import encode, read_document, write_bytes
from pats_opt.model.instance import Instance
from pats_opt.model.problem import Problem
from pats_opt.solving.solve import refuse_unservable, runnable
from pats_opt.tuning.instances import TuneInstance, instances_of, split, without
from pats_opt.tuning.space import Target, target

#: File names of a search, in its folder.
CONFIG, JOURNAL = "config.json", "journal.log"
TRIALS, RESULT, REPORT = "trials.csv", "result.json", "report.md"


class TuneConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a search.

    Attributes:
        policy: Spec of the policy or solver; parameters in it are held fixed.
        instances: Instance files, or folders whose ``*.json`` are instances.
        suites: Names of generated suites.
        test: Files or folders of test instances; without these and ``test_suites`` the instances
            are split.
        test_suites: Suites of test instances.
        test_share: Share of the instances that a split keeps for the test.
        fix: Parameters held at a value.
        only: Searched parameters; none for all.
        ranges: Parameter -> ``low:high[:log]``.
        trials: Number of parameter settings, the defaults included.
        seed: Seed of the split, the sampler, the runs and the confidence interval.
        time_limit: Seconds per run; required unless an online policy is tuned.
        prune: Whether a trial that is surely worse than the best is ended early.
    """

    policy: str = ""
    instances: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    test_suites: tuple[str, ...] = ()
    test_share: Annotated[float, Meta(gt=0, lt=1)] = 0.3
    fix: dict[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    ranges: dict[str, str] = field(default_factory=dict)
    trials: Annotated[int, Meta(ge=1)] = 60
    seed: Annotated[int, Meta(ge=0)] = 0
    time_limit: Annotated[float, Meta(gt=0, le=1e7)] | None = None
    prune: bool = True


class TunePlan(Struct, frozen=True, kw_only=True, tag="pats-opt/tune", tag_field="format"):
    """The plan of a search: policy, search space and instances.

    Attributes:
        config: Its options.
        target: The policy and its search space.
        train: Instances of the trials.
        test: Instances that only the defaults and the best parameters run on, at the end.
        software: Version of pats-opt.
    """

    version: Literal[1] = 1
    config: TuneConfig
    target: Target
    train: tuple[TuneInstance, ...]
    test: tuple[TuneInstance, ...]
    software: str = __version__

    def identity(self) -> dict[str, object]:
        """Everything that decides the result, by the name that users know."""
        return {
            "policy": self.target.name,
            "set of parameters": self.target.default,
            "search space": self.target.space,
            "set of train instances": [one.sha256 for one in self.train],
            "set of test instances": [one.sha256 for one in self.test],
            "seed": self.config.seed,
            "time limit": self.config.time_limit,
            "pruning": self.config.prune,
            "version of pats-opt": self.software,
        }


def make_plan(config: TuneConfig, folder: Path) -> TunePlan:
    """Plan a search; suites are written below ``folder``.

    Raises:
        InputError: for anything that cannot be run.
        InfeasibleError: an instance has no schedule at all.
    """
    if not config.policy:
        raise InputError("no policy is named", hint="write: pats-opt tune POLICY INSTANCE ...")
    found = target(config.policy, config.fix, config.only, config.ranges)
    if not (config.instances or config.suites):
        raise InputError("no instances are named", hint="name files, folders or --suite NAME")
    solver = runnable(found.make({}))
    if solver.kind is not Kind.ONLINE and config.time_limit is None:
        raise InputError(
            f"{found.name!r} is no online policy, so a run needs a time limit",
            hint="add --time-limit S",
        )

    def validate(instance: Instance, file: str) -> None:
        problem = Problem(instance)
        try:
            require(solver, problem)
            refuse_unservable(problem)
        except CapabilityError as error:
            raise CapabilityError(error.problem, file=file, hint="leave this file out") from None
        except InfeasibleError as error:
            raise InfeasibleError(f"{file}: {error}") from None

    train = instances_of(config.instances, config.suites, folder, validate)
    if config.test or config.test_suites:
        test = instances_of(config.test, config.test_suites, folder, validate)
        train = without(train, test)
    else:
        train, test = split(train, config.test_share, config.seed)
    return TunePlan(config=config, target=found, train=tuple(train), test=tuple(test))


def save(plan: TunePlan, folder: Path) -> None:
    """Keep a plan in its folder, with paths relative to it."""
    kept = _with_paths(plan, lambda path: Path(os.path.relpath(path, folder)).as_posix())
    write_bytes(folder / CONFIG, encode(kept))


def saved(folder: Path) -> TunePlan:
    """Read the plan kept in a folder.

    Raises:
        InputError: there is none, or it is no plan.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(
            "there is no search to resume in this folder",
            file=str(folder),
            hint="name the folder of one, or leave out --resume",
        )
    return _with_paths(read_document(path, TunePlan), lambda file: str(folder / file))


def _with_paths(plan: TunePlan, changed: Callable[[str], str]) -> TunePlan:
    """Return the plan with every path changed."""
    config, train, test = plan.config, plan.train, plan.test
    return replace(
        plan,
        config=replace(
            config,
            instances=tuple(map(changed, config.instances)),
            test=tuple(map(changed, config.test)),
        ),
        train=tuple(replace(one, file=changed(one.file)) for one in train),
        test=tuple(replace(one, file=changed(one.file)) for one in test),
    )
