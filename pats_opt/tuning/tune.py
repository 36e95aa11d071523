"""A search from its options to its result: plan, trials, test, files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pats_opt.errors import InputError, NoScheduleError
from pats_opt.model.files import encode, write_bytes
from pats_opt.tuning import plan as plans
from pats_opt.tuning.plan import Config, Plan

if TYPE_CHECKING:
    from pats_opt.tuning.search import Search, Trial
    from pats_opt.tuning.verdict import TuneResult


def prepare(config: Config, folder: Path, *, resume: bool = False) -> Plan:
    """Settle a search in its folder, before anything is run.

    Args:
        config: The options; what a resumed search was begun with counts where they are left out
            (see :func:`resumed`).
        folder: Where its files go.
        resume: Go on with the search in that folder.

    Raises:
        InputError: for anything in the options that cannot be run, a package that is missing, a
            folder that holds a search (none, where resumed), or one of another plan.
        InfeasibleError: an instance has no schedule at all.
    """
    if find_spec("optuna") is None:
        raise InputError("'tune' needs Optuna", hint="pip install 'pats-opt[tune]'")
    if not resume:
        plans.refuse_begun(folder)
        plan = plans.make_plan(config, folder)
        plans.begin(plan, folder)
        return plan
    kept = plans.saved(folder)
    plan = plans.make_plan(config, folder)
    plans.refuse_other(plan, kept, folder)
    return plan


def tune(
    plan: Plan,
    folder: Path,
    *,
    jobs: int = 1,
    done: Callable[[Trial], None] = lambda _: None,
) -> TuneResult:
    """Do the trials that are missing, then the test; write ``trials.csv``, the report and result.

    Ctrl-C ends the trials, and the test follows with the best so far; a second one stops at once.
    Either way every finished trial is in the journal.

    Args:
        plan: From :func:`prepare`.
        folder: Where its files lie.
        jobs: Processes; their number does not change what is found, unless runs are cut off by
            their time limit.
        done: Called with each finished trial, those of an earlier run first.

    Raises:
        NoScheduleError: the defaults have no schedule on any train instance, or the search was
            stopped before they were through.
        InputError: an instance's file is gone or has changed, or another search holds the folder.
    """
    from pats_opt.core.solver import Run
    from pats_opt.solving.interrupt import interruptible
    from pats_opt.tuning.measure import Crew, Stopped
    from pats_opt.tuning.search import Search, best
    from pats_opt.tuning.verdict import result_of

    run = Run()
    with _held(folder), interruptible(run), Crew(plan, jobs) as crew:
        search = Search(plan, folder)
        for trial in search.trials:
            done(trial)
        try:
            search.run(crew, run.interrupted.is_set, done)
        except Stopped:
            _refuse_nothing(search)
        _refuse_nothing(search)
        chosen = best(search.trials)
        settings = [search.trials[0].params]
        if chosen.number:
            settings.append(chosen.params)
        losses = [
            [found.loss for found in crew.run(params, plan.test, lambda: False)]
            for params in settings
        ]
        result = result_of(plan, search.trials, (losses[0], losses[-1]), search.importances())
        _write(plan, folder, search.trials, result)
    return result


def _refuse_nothing(search: Search) -> None:
    """Refuse to go on without a trial to compare with."""
    if not search.trials:
        raise NoScheduleError("interrupted before the defaults were run on every train instance")
    if not search.counted:
        raise NoScheduleError(
            "the defaults have no schedule on any train instance "
            f"({search.trials[0].error}); hold other parameters with --fix"
        )


def _write(plan: Plan, folder: Path, trials: list[Trial], result: TuneResult) -> None:
    from pats_opt.tuning import pages

    write_bytes(folder / plans.TRIALS, pages.trials_csv(plan, trials).encode())
    write_bytes(folder / plans.REPORT, pages.report(plan, trials, result).encode())
    write_bytes(folder / plans.RESULT, encode(result))


def resumed(folder: Path, given: dict[str, object]) -> Config:
    """The options a search was begun with, under those given now.

    Raises:
        InputError: there is no search in the folder.
    """
    kept = plans.saved(folder).config
    return msgspec.structs.replace(kept, **given)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the folder, so that no two searches write one journal; a kill lets go of it."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    with (folder / plans.CONFIG).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                "another search is at work in this folder",
                file=str(folder),
                hint="wait for it, or name another with -o",
            ) from None
        yield
