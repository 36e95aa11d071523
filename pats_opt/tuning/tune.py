"""A search from its options to its result: plan, trials, test, files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from pats_opt.core.solver import Run
from pats_opt.errors import InputError, NoScheduleError
from pats_opt.model.files import encode, write_bytes
from pats_opt.runs.engine import RunEngine
from pats_opt.runs.folder import RunFolder
from pats_opt.solving.interrupt import interruptible
from pats_opt.tuning import pages
from pats_opt.tuning import plan as plans
from pats_opt.tuning.plan import TuneConfig, TunePlan
from pats_opt.tuning.runner import SearchInterruptedError, TrialRunner
from pats_opt.tuning.trials import Trial, best
from pats_opt.tuning.verdict import TuneResult, result_of


def prepare(config: TuneConfig, folder: Path, *, resume: bool = False) -> TunePlan:
    """Plan a search and keep the plan in its folder, before anything is run.

    A resumed search is planned again. It is refused if the plans differ in anything that decides
    the result; the number of trials may change.

    Args:
        config: The options; for a resumed search see :func:`resumed`.
        folder: Folder of its files.
        resume: Whether to go on with the search in that folder.

    Raises:
        InputError: options that cannot be run, a folder that holds a search, or (resumed) none or
            one of another plan.
        InfeasibleError: an instance has no schedule at all.
    """
    kept = plans.saved(folder) if resume else None
    if kept is None and (folder / plans.CONFIG).exists():
        raise InputError(
            "this folder holds a search already",
            file=str(folder),
            hint="add --resume to go on with it, or name another with -o",
        )
    plan = plans.make_plan(config, folder)
    if kept is None:
        plans.save(plan, folder)
    else:
        RunFolder(folder, "search").refuse_other(
            kept.identity(),
            plan.identity(),
            "resume it with --resume -o alone, or begin a new one in another folder",
        )
    return plan


def tune(
    plan: TunePlan,
    folder: Path,
    *,
    jobs: int | None = 1,
    engine: RunEngine = RunEngine.PROCESS,
    done: Callable[[Trial], None] = lambda _: None,
) -> TuneResult:
    """Run the missing trials, then the test; write ``trials.csv``, the report and the result.

    Ctrl-C ends the trials, and the test follows with the best so far; a second one stops at once.
    Either way every finished trial is in the journal.

    Args:
        plan: From :func:`prepare`.
        folder: Folder of its files.
        jobs: Runs at a time, None for all cores; their number does not change the result, unless a
            time limit ends runs.
        engine: Where runs are done.
        done: Called with each finished trial, those of an earlier session first.

    Raises:
        NoScheduleError: the defaults have no schedule on any train instance, or the search was
            interrupted before they were run on all.
        InputError: an instance's file is gone or has changed, or another search uses the folder.
    """
    from pats_opt.tuning.search import Search  # Optuna comes with an SQL toolkit

    run, locked = Run(), RunFolder(folder, "search").locked()
    with locked, interruptible(run), TrialRunner(plan, jobs, engine) as runner:
        search = Search(plan, folder)
        for trial in search.trials:
            done(trial)
        with suppress(SearchInterruptedError):
            search.run(runner, run.interrupted.is_set, done)
        trials = search.trials
        if not trials:
            raise NoScheduleError(
                "interrupted before the defaults were run on every train instance"
            )
        if not search.counted:
            raise NoScheduleError(
                "the defaults have no schedule on any train instance "
                f"({trials[0].error}); hold other parameters with --fix"
            )
        chosen = best(trials)
        settings = [trials[0].params, *([chosen.params] if chosen.number else [])]
        losses = [[found.loss for found in runner.run(one, plan.test)] for one in settings]
        result = result_of(plan, trials, (losses[0], losses[-1]), search.importances())
        write_bytes(folder / plans.TRIALS, pages.trials_csv(plan, trials).encode())
        write_bytes(folder / plans.REPORT, pages.report(plan, trials, result).encode())
        write_bytes(folder / plans.RESULT, encode(result))
    return result


def resumed(folder: Path, given: dict[str, object]) -> TuneConfig:
    """Return the options that a search was begun with, replaced by those given now.

    Raises:
        InputError: there is no search in the folder.
    """
    return msgspec.structs.replace(plans.saved(folder).config, **given)
