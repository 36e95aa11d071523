"""The trials: Optuna proposes parameters, the train instances judge them.

A trial's objective is the mean over the train instances of ``log(loss / the defaults' loss)``: the
logarithm of the geometric mean ratio, so that no instance rules by the size of its loss. The
defaults are trial 0, at 0. A parameter setting that fails on an instance is the worst there is.

Every trial's sampler is seeded by the search's seed and the trial's number, and its choices depend
on nothing else but the finished trials before it. So a search that is killed and resumed finds what
an undisturbed one finds.

A trial that is surely worse than the best so far is ended early (:mod:`pats_opt.tuning.prune`).
Each trial meets the instances in an order of its own, so that none rules which are ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import optuna
from msgspec import Struct
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from pats_opt.runs.statistics import ratio
from pats_opt.tuning.draws import WORD, distributions, drawn, holds, quiet, suggested
from pats_opt.tuning.measure import Crew
from pats_opt.tuning.plan import JOURNAL, Plan
from pats_opt.tuning.prune import surely_worse

#: A ratio of losses counts as at least and at most this, as one of them may be 0.
LEAST_RATIO, MOST_RATIO = 1e-6, 1e6

#: Fewer trials than this say nothing about the importance of parameters.
IMPORTANCE_TRIALS = 20

#: Keys in Optuna's journal.
STUDY, ATTRIBUTE = "tune", "trial"


class End(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"  #: every train instance was run
    PRUNED = "pruned"  #: ended early, surely worse than the best
    FAILED = "failed"  #: no schedule on some instance


class Trial(Struct, frozen=True, kw_only=True):
    """One parameter setting on the train instances.

    Attributes:
        number: 0 for the defaults, then in the order of trying.
        params: The parameters that are searched, with their values.
        end: How it ended.
        value: Mean of ``log(loss / the defaults' loss)``; infinite where it failed. Of a pruned
            trial an estimate: the value of the trial that was best then, plus the mean difference
            to it on the instances that were run.
        losses: By train instance; None where it was not run or there is no schedule.
        runs: How many runs it took; 0 where an earlier trial had the same parameters.
        seconds: Of all its runs together.
        error: The first failure, or None.
    """

    number: int
    params: dict[str, Any]
    end: End
    value: float
    losses: list[float | None]
    runs: int
    seconds: float
    error: str | None = None


def log_ratio(loss: float, reference: float) -> float:
    """``log(loss / reference)``, kept finite where one of them is 0; 0 where both are."""
    return math.log(min(max(ratio(loss, reference), LEAST_RATIO), MOST_RATIO))


def best(trials: Sequence[Trial]) -> Trial:
    """The best complete trial; of equals the first, so that the defaults win a tie."""
    return min((t for t in trials if t.end is End.COMPLETE), key=lambda t: (t.value, t.number))


class Search:
    """A search at work: its trials so far, in the journal of its folder."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._space = plan.target.space
        journal = str(folder / JOURNAL)
        with quiet():
            self._study = optuna.create_study(
                study_name=STUDY,
                storage=optuna.storages.JournalStorage(
                    JournalFileBackend(journal, lock_obj=_OurFolder(journal))
                ),
                direction="minimize",
                load_if_exists=True,
            )
        self.trials: list[Trial] = []
        for frozen in self._study.get_trials(deepcopy=False):
            known = frozen.user_attrs.get(ATTRIBUTE)
            if not frozen.state.is_finished():  # under way, or all but told, when it was killed
                if known is None:
                    self._study.tell(frozen.number, state=optuna.trial.TrialState.FAIL)
                else:
                    self._study.tell(frozen.number, known["value"])
            if known is not None:
                self.trials.append(msgspec.convert(known, Trial))
        #: Train instances that count: those on which the defaults have a schedule.
        self.counted = self._counted()

    def run(self, crew: Crew, stopped: Callable[[], bool], done: Callable[[Trial], None]) -> None:
        """Do the trials that are missing; ``done`` is called after each.

        Raises:
            Stopped: the user wants to stop; finished trials stay.
            InputError: an instance's file is gone or has changed.
        """
        if not self.trials:
            done(self._defaults(crew, stopped))
        while self.counted and len(self.trials) < self._plan.config.trials:
            done(self._next(crew, stopped))

    def importances(self) -> dict[str, float]:
        """Share of each parameter in how good a trial is (PED-ANOVA); empty after few trials.

        A parameter that not every trial draws as a number (it may be a word) is rated by its word.
        """
        sampled = [
            frozen
            for frozen in self._study.get_trials(deepcopy=False)
            if frozen.value is not None and math.isfinite(frozen.value) and frozen.number > 0
        ]
        if len(sampled) < IMPORTANCE_TRIALS or len(self._space) < 2:
            return {}
        with quiet():
            copy = optuna.create_study(direction="minimize")
            copy.add_trials(sampled)
            found = get_param_importances(copy, evaluator=PedAnovaImportanceEvaluator())
        shares: dict[str, float] = {}
        for key, value in found.items():
            name = key.removesuffix(WORD)
            shares[name] = shares.get(name, 0.0) + value
        return shares if sum(shares.values()) > 0 else {}

    def _counted(self) -> list[int]:
        losses = self.trials[0].losses if self.trials else []
        return [i for i, loss in enumerate(losses) if loss is not None]

    def _defaults(self, crew: Crew, stopped: Callable[[], bool]) -> Trial:
        """Trial 0: what all others are held against. Its failures leave their instance out."""
        plan, seconds = self._plan, 0.0
        params = {d.name: plan.target.default[d.name] for d in self._space}
        losses: list[float | None] = []
        errors = []
        for case, found in zip(plan.train, crew.run(params, plan.train, stopped), strict=True):
            losses.append(found.loss)
            seconds += found.seconds
            if found.error is not None:
                errors.append(f"{case.name}: {found.error}")
        trial = Trial(
            number=0,
            params=params,
            end=End.COMPLETE,
            value=0.0,
            losses=losses,
            runs=len(losses),
            seconds=seconds,
            error=errors[0] if errors else None,
        )
        inside = [d for d in self._space if holds(d, params[d.name])]
        self._study.add_trial(
            optuna.create_trial(
                value=0.0,
                params={k: v for d in inside for k, v in drawn(d, params[d.name]).items()},
                distributions={
                    k: v for d in inside for k, v in distributions(d, params[d.name]).items()
                },
                user_attrs={ATTRIBUTE: msgspec.to_builtins(trial)},
            )
        )
        self.trials.append(trial)
        self.counted = self._counted()
        return trial

    def _next(self, crew: Crew, stopped: Callable[[], bool]) -> Trial:
        number = len(self.trials)
        self._study.sampler = optuna.samplers.TPESampler(seed=self._seed(number))
        asked = self._study.ask()
        params = {d.name: suggested(asked, d) for d in self._space}
        same = next((t for t in self.trials if t.params == params), None)
        try:
            trial = (
                self._tried(number, params, crew, stopped)
                if same is None
                else msgspec.structs.replace(same, number=number, runs=0, seconds=0.0)
            )
        except BaseException:
            self._study.tell(asked, state=optuna.trial.TrialState.FAIL)
            raise
        asked.set_user_attr(ATTRIBUTE, msgspec.to_builtins(trial))
        self._study.tell(asked, trial.value)
        self.trials.append(trial)
        return trial

    def _tried(
        self, number: int, params: dict[str, Any], crew: Crew, stopped: Callable[[], bool]
    ) -> Trial:
        """Run new parameters on the train instances, in an order of the trial's own."""
        rng = np.random.default_rng([self._plan.config.seed, number])
        order = [self.counted[i] for i in rng.permutation(len(self.counted))]
        losses: list[float | None] = [None] * len(self._plan.train)
        rival = best(self.trials)
        logs: list[float] = []
        rivals: list[float] = []  # what the best so far gave on the same instances
        end, error, seconds = End.COMPLETE, None, 0.0
        results = crew.run(params, [self._plan.train[i] for i in order], stopped)
        for i, found in zip(order, results, strict=False):
            seconds += found.seconds
            if found.loss is None:
                end, error = End.FAILED, f"{self._plan.train[i].name}: {found.error}"
                break
            losses[i] = found.loss
            logs.append(self._log_ratio(i, found.loss))
            rivals.append(self._log_ratio(i, rival.losses[i]))
            last = len(logs) == len(order)
            if self._plan.config.prune and not last and surely_worse(logs, rivals):
                end = End.PRUNED
                break
        results.close()
        value = math.inf
        if end is End.COMPLETE:
            value = math.fsum(logs) / len(logs)
        elif end is End.PRUNED:
            value = rival.value + (math.fsum(logs) - math.fsum(rivals)) / len(logs)
        return Trial(
            number=number,
            params=params,
            end=end,
            value=value,
            losses=losses,
            runs=len(logs) + (end is End.FAILED),
            seconds=seconds,
            error=error,
        )

    def _log_ratio(self, place: int, loss: float | None) -> float:
        before = self.trials[0].losses[place]
        assert before is not None, "only instances that count are run"
        assert loss is not None, "a complete trial has a loss on each of them"
        return log_ratio(loss, before)

    def _seed(self, number: int) -> int:
        sequence = np.random.SeedSequence([self._plan.config.seed, number, 1])
        return int(sequence.generate_state(1)[0])


class _OurFolder(JournalFileOpenLock):
    """No lock of its own: the search holds its folder, and a kill leaves no lock behind."""

    def acquire(self) -> bool:
        """Held already."""
        return True

    def release(self) -> None:
        """The search goes on holding the folder."""
