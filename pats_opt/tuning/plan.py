"""All that decides a search, settled before it begins and kept in ``config.json``.

A search that is resumed is planned again from the same options; where the plan differs in anything
that decides the result, going on is refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from pats_opt import __version__
from pats_opt.core.solver import Kind, require
from pats_opt.errors import CapabilityError, InfeasibleError, InputError
from pats_opt.model.files import convert, encode, parse_json, read_bytes, write_bytes
from pats_opt.model.instance import Instance
from pats_opt.model.problem import Problem
from pats_opt.solving.solve import refuse_unservable, runnable
from pats_opt.tuning.space import Target, target
from pats_opt.tuning.split import Case, apart, cases, split

#: The files of a search, in its folder.
CONFIG, JOURNAL, TRIALS, RESULT, REPORT = (
    "config.json",
    "journal.log",
    "trials.csv",
    "result.json",
    "report.md",
)


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a search.

    Attributes:
        policy: Spec of what is tuned; parameters in it are held fixed.
        instances: Instance files, or folders whose ``*.json`` are instances.
        suites: Names of generated suites.
        test: Files or folders of test instances; with none here or in ``test_suites`` the
            instances are split.
        test_suites: Suites of test instances.
        test_share: Share of the instances that a split keeps for the test.
        fix: Parameters held at a value.
        only: The parameters searched; none: all that can be.
        ranges: Parameter -> ``low:high[:log]``.
        trials: How many parameter settings are tried, the defaults first.
        seed: Of the split, the sampler, the runs and the confidence interval.
        time_limit: Seconds a run is given; needed where it is no online policy.
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


class Plan(Struct, frozen=True, kw_only=True, tag="pats-opt/tune", tag_field="format"):
    """A search, settled: what is tuned, over which space, on which instances.

    Attributes:
        config: The options it was made from.
        target: The policy and its search space.
        train: Instances that the trials run on.
        test: Instances that only the defaults and the best parameters run on, at the end.
        software: Version of pats-opt.
    """

    version: Literal[1] = 1
    config: Config
    target: Target
    train: tuple[Case, ...]
    test: tuple[Case, ...]
    software: str = __version__

    def decisive(self) -> dict[str, Any]:
        """What has to be the same for trials to belong together, by the name users know."""
        return {
            "policy": self.target.name,
            "parameters": self.target.default,
            "space": self.target.space,
            "train instances": [case.sha256 for case in self.train],
            "test instances": [case.sha256 for case in self.test],
            "seed": self.config.seed,
            "time limit": self.config.time_limit,
            "pruning": self.config.prune,
            "version of pats-opt": self.software,
        }


def make_plan(config: Config, folder: Path) -> Plan:
    """Settle a search; suites are written below ``folder``.

    Raises:
        InputError: for anything that cannot be run, before anything is.
        InfeasibleError: an instance has no schedule at all.
    """
    if not config.policy:
        raise InputError("no policy is named", hint="write: pats-opt tune POLICY INSTANCE ...")
    if not (config.instances or config.suites):
        raise InputError("no instances are named", hint="name files, folders or --suite NAME")
    found = target(config.policy, config.fix, config.only, config.ranges)
    solver = runnable(found.make({}))
    if solver.kind is not Kind.ONLINE and config.time_limit is None:
        raise InputError(
            f"{found.name!r} is no online policy, so a run needs a time limit",
            hint="add --time-limit S",
        )

    def look(instance: Instance, file: str) -> None:
        problem = Problem(instance)
        try:
            require(solver, problem)
            refuse_unservable(problem)
        except CapabilityError as error:
            raise CapabilityError(error.problem, file=file, hint="leave this file out") from None
        except InfeasibleError as error:
            raise InfeasibleError(f"{file}: {error}") from None

    train, test = _sides(config, folder, look)
    return Plan(config=config, target=found, train=tuple(train), test=tuple(test))


def _sides(
    config: Config, folder: Path, look: Callable[[Instance, str], None]
) -> tuple[list[Case], list[Case]]:
    named = cases(config.instances, config.suites, folder, look)
    if not (config.test or config.test_suites):
        return split(named, config.test_share, config.seed)
    test = cases(config.test, config.test_suites, folder, look)
    return apart(named, test), test


def begin(plan: Plan, folder: Path) -> None:
    """Keep a plan in its folder.

    Raises:
        InputError: the folder holds a search already, or cannot be written.
    """
    refuse_begun(folder)
    write_bytes(folder / CONFIG, encode(_moved(plan, lambda path: _relative(path, folder))))


def refuse_begun(folder: Path) -> None:
    """Refuse a folder that holds a search."""
    if (folder / CONFIG).exists():
        raise InputError(
            "this folder holds a search already",
            file=str(folder),
            hint="add --resume to go on with it, or name another with -o",
        )


def saved(folder: Path) -> Plan:
    """The plan kept in a folder, its files found from here.

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
    try:
        plan: Plan = convert(parse_json(read_bytes(path)), Plan)
    except InputError as error:
        raise error.in_file(str(path)) from None
    return _moved(plan, lambda file: str(folder / file))


def refuse_other(plan: Plan, kept: Plan, folder: Path) -> None:
    """Refuse to go on with a search under another plan; more trials are no other plan."""
    old = kept.decisive()
    other = [name for name, value in plan.decisive().items() if value != old[name]]
    if other:
        raise InputError(
            f"this search was begun with other {', '.join(other)}",
            file=str(folder),
            hint="resume it with --resume -o alone, or begin a new one in another folder",
        )


def _moved(plan: Plan, move: Callable[[str], str]) -> Plan:
    """The plan with its paths counted from elsewhere."""

    def all_of(paths: Sequence[str]) -> tuple[str, ...]:
        return tuple(move(path) for path in paths)

    def moved(side: Sequence[Case]) -> tuple[Case, ...]:
        return tuple(msgspec.structs.replace(case, file=move(case.file)) for case in side)

    config = msgspec.structs.replace(
        plan.config, instances=all_of(plan.config.instances), test=all_of(plan.config.test)
    )
    return msgspec.structs.replace(
        plan, config=config, train=moved(plan.train), test=moved(plan.test)
    )


def _relative(path: str, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
