"""The search: Optuna proposes parameters, which are rated on the train instances.

A trial's objective is the mean over the train instances of ``log(loss / the defaults' loss)``: the
logarithm of the geometric mean ratio, so that the size of an instance's loss has no influence. The
defaults are trial 0, at 0. A parameter setting that fails on an instance is the worst there is.

Every trial's sampler is seeded by the search's seed and the trial's number, and depends otherwise
only on the finished trials before it. So a search that is killed and resumed finds the same.

A trial that is surely worse than the best so far is ended early (:mod:`pats_opt.tuning.trials`).
Each trial has its own random order of the instances, so that no instance decides which are ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from typing_extensions import override

from pats_opt.tuning.instances import TuneInstance
from pats_opt.tuning.optuna_space import CHOICE, draws_of, quiet, suggest
from pats_opt.tuning.plan import JOURNAL, TunePlan
from pats_opt.tuning.runner import TrialRun, TrialRunner
from pats_opt.tuning.trials import Trial, TrialState, best, log_ratio, surely_worse

#: Least trials for the importances of parameters.
IMPORTANCE_TRIALS = 20

#: Runs parameters on instances, one after another.
Performer = Callable[[Mapping[str, Any], Sequence[TuneInstance]], Generator[TrialRun, None, None]]

#: Keys in Optuna's journal.
STUDY, ATTRIBUTE = "tune", "trial"


class Search:
    """A search and its finished trials, kept in the journal of its folder."""

    def __init__(self, plan: TunePlan, folder: Path) -> None:
        self._plan = plan
        self._space = plan.target.space
        journal = str(folder / JOURNAL)
        with quiet():
            self._study = optuna.create_study(
                study_name=STUDY,
                storage=optuna.storages.JournalStorage(
                    JournalFileBackend(journal, lock_obj=_NoLock(journal))
                ),
                direction="minimize",
                load_if_exists=True,
            )
        self.trials: list[Trial] = []
        for frozen in self._study.get_trials(deepcopy=False):
            known = frozen.user_attrs.get(ATTRIBUTE)
            cut_short = not frozen.state.is_finished()  # by a kill, or finished and not reported
            if known is not None:
                self.trials.append(msgspec.convert(known, Trial))
                if cut_short:
                    self._study.tell(frozen.number, known["value"])
            elif cut_short:
                self._study.tell(frozen.number, state=optuna.trial.TrialState.FAIL)

    @property
    def counted(self) -> list[int]:
        """Train instances that count: those on which the defaults have a schedule."""
        losses = self.trials[0].losses if self.trials else []
        return [i for i, loss in enumerate(losses) if loss is not None]

    def run(
        self, runner: TrialRunner, interrupted: Callable[[], bool], done: Callable[[Trial], None]
    ) -> None:
        """Run the missing trials; ``done`` is called after each.

        Raises:
            SearchInterruptedError: ``interrupted()`` is true; finished trials stay.
            InputError: an instance's file is gone or has changed.
        """
        perform = partial(runner.run, interrupted=interrupted)
        if not self.trials:
            done(self._defaults(perform))
        while self.counted and len(self.trials) < self._plan.config.trials:
            done(self._next(perform))

    def importances(self) -> dict[str, float]:
        """Importance of each parameter, as a share (PED-ANOVA); empty after few trials.

        A parameter with choices beside its numbers is rated by its choice.
        """
        known = self._study.get_trials(deepcopy=False)
        sampled = [t for t in known if t.number and t.value is not None and math.isfinite(t.value)]
        if len(sampled) < IMPORTANCE_TRIALS or len(self._space) < 2:
            return {}
        with quiet():
            copy = optuna.create_study(direction="minimize")
            copy.add_trials(sampled)
            found = get_param_importances(copy, evaluator=PedAnovaImportanceEvaluator())
        shares: dict[str, float] = {}
        for key, value in found.items():
            name = key.removesuffix(CHOICE)
            shares[name] = shares.get(name, 0.0) + value
        return shares if sum(shares.values()) > 0 else {}

    def _defaults(self, perform: Performer) -> Trial:
        """Run trial 0, the reference of all others; an instance on which it fails is left out."""
        plan = self._plan
        params = {d.name: plan.target.default[d.name] for d in self._space}
        found = list(perform(params, plan.train))
        runs = zip(plan.train, found, strict=True)
        errors = (f"{one.name}: {run.error}" for one, run in runs if run.error is not None)
        trial = Trial(
            number=0,
            params=params,
            end=TrialState.COMPLETE,
            value=0.0,
            losses=[run.loss for run in found],
            runs=len(found),
            seconds=sum(run.seconds for run in found),
            error=next(errors, None),
        )
        inside = [d for d in self._space if params[d.name] in d]
        draws = [draw for d in inside for draw in draws_of(d, params[d.name])]
        self._study.add_trial(
            optuna.create_trial(
                value=0.0,
                params={name: value for name, value, _ in draws},
                distributions={name: known for name, _, known in draws},
                user_attrs={ATTRIBUTE: msgspec.to_builtins(trial)},
            )
        )
        self.trials.append(trial)
        return trial

    def _next(self, perform: Performer) -> Trial:
        number = len(self.trials)
        seed = np.random.SeedSequence([self._plan.config.seed, number, 1]).generate_state(1)[0]
        self._study.sampler = optuna.samplers.TPESampler(seed=int(seed))
        proposal = self._study.ask()
        params = {d.name: suggest(proposal, d) for d in self._space}
        same = next((t for t in self.trials if t.params == params), None)
        if same is not None:
            trial = msgspec.structs.replace(same, number=number, runs=0, seconds=0.0)
        else:
            try:
                trial = self._tried(number, params, perform)
            except BaseException:
                self._study.tell(proposal, state=optuna.trial.TrialState.FAIL)
                raise
        proposal.set_user_attr(ATTRIBUTE, msgspec.to_builtins(trial))
        self._study.tell(proposal, trial.value)
        self.trials.append(trial)
        return trial

    def _tried(self, number: int, params: dict[str, Any], perform: Performer) -> Trial:
        """Run new parameters on the train instances, in the trial's own order."""
        counted = self.counted
        rng = np.random.default_rng([self._plan.config.seed, number])
        order = [counted[i] for i in rng.permutation(len(counted))]
        losses: list[float | None] = [None] * len(self._plan.train)
        rival = best(self.trials)
        logs: list[float] = []
        rivals: list[float] = []  # the best so far on the same instances
        end, error, seconds = TrialState.COMPLETE, None, 0.0
        results = perform(params, [self._plan.train[i] for i in order])
        for i, found in zip(order, results, strict=False):
            seconds += found.seconds
            if found.loss is None:
                end, error = TrialState.FAILED, f"{self._plan.train[i].name}: {found.error}"
                break
            losses[i] = found.loss
            logs.append(self._log_ratio(i, found.loss))
            rivals.append(self._log_ratio(i, rival.losses[i]))
            last = len(logs) == len(order)
            if self._plan.config.prune and not last and surely_worse(logs, rivals):
                end = TrialState.PRUNED
                break
        results.close()
        value = math.inf
        if end is TrialState.COMPLETE:
            value = math.fsum(logs) / len(logs)
        elif end is TrialState.PRUNED:
            value = rival.value + (math.fsum(logs) - math.fsum(rivals)) / len(logs)
        return Trial(
            number=number,
            params=params,
            end=end,
            value=value,
            losses=losses,
            runs=len(logs) + (end is TrialState.FAILED),
            seconds=seconds,
            error=error,
        )

    def _log_ratio(self, index: int, loss: float | None) -> float:
        before = self.trials[0].losses[index]
        assert before is not None, "only instances that count are run"
        assert loss is not None, "a complete trial has a loss on each of them"
        return log_ratio(loss, before)


class _NoLock(JournalFileOpenLock):
    """No lock: the search locks its folder, and a kill leaves no lock file behind."""

    @override
    def acquire(self) -> bool:
        return True

    @override
    def release(self) -> None:
        return None
