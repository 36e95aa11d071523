"""The result of a search: the best parameters against the defaults, train and test apart.

The best parameters were chosen on the train instances, so only the test instances judge them. The
confidence interval is a paired bootstrap over the instances: each instance gives one
``log(loss / the defaults' loss)``.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Any, Literal

from msgspec import Struct, structs

from pats_opt.runs.statistics import ROUGH_BELOW, Interval, compare_pairs, mean_interval
from pats_opt.tuning.instances import TuneInstance
from pats_opt.tuning.plan import TunePlan
from pats_opt.tuning.trials import Trial, TrialState, best, log_ratio


class TuneComparison(Struct, frozen=True, kw_only=True):
    """The best parameters against the defaults on the train or the test instances.

    Attributes:
        instances: Number of instances on which both have a schedule; the figures are over these.
        default_loss: Mean loss of the defaults; None without instances.
        best_loss: Mean loss of the best parameters.
        ratio: Geometric mean of best loss / defaults' loss.
        interval: Confidence interval of the ratio, or None with fewer than two instances.
        wins: Instances on which the best has the lower loss, or only the best has a schedule.
        ties: Instances on which they are equal, or neither has a schedule.
        losses: The rest.
        only_default: Instances on which only the defaults have a schedule.
    """

    instances: int
    default_loss: float | None
    best_loss: float | None
    ratio: float | None
    interval: Interval | None
    wins: int
    ties: int
    losses: int
    only_default: int


class TuneResult(Struct, frozen=True, kw_only=True, tag="pats-opt/tune-result", tag_field="format"):
    """The result of a search, without times: the same search gives the same bytes.

    Attributes:
        default_spec: Spec of the defaults, the fixed parameters among them.
        spec: Spec of the best parameters, ready for ``solve --solver`` or ``simulate --policy``.
        default_params: The searched parameters at their defaults.
        best_params: The searched parameters at their best.
        best_trial: Number of the best trial; 0: the defaults themselves.
        trials: Number of finished trials, and by their end.
        runs: Runs on train instances.
        interrupted: Whether trials are missing.
        helped: Whether tuning lowers the loss of the test instances: the whole interval is below 1,
            and every instance that the defaults can serve is served. None with too few
            instances to say.
        verdict: ``helped`` as a sentence.
        classes: ``test`` by class.
        importances: Importance of each parameter, as a share; empty where unknown.
        left_out: Train instances on which the defaults have no schedule, with the reason.
    """

    version: Literal[1] = 1
    policy: str
    default_spec: str
    spec: str
    default_params: dict[str, Any]
    best_params: dict[str, Any]
    best_trial: int
    trials: dict[str, int]
    runs: int
    interrupted: bool
    helped: bool | None
    verdict: str
    train: TuneComparison
    test: TuneComparison
    classes: dict[str, TuneComparison]
    importances: dict[str, float]
    left_out: list[str]


#: Losses by instance, in the order of the train or test instances.
Losses = Sequence[float | None]


def result_of(
    plan: TunePlan,
    trials: Sequence[Trial],
    tested: tuple[Losses, Losses],
    importances: dict[str, float],
) -> TuneResult:
    """Make the result of a search.

    Args:
        plan: The plan.
        trials: The trials, the defaults first.
        tested: Losses of the defaults and of the best parameters on the test instances.
        importances: Importances of the parameters.
    """
    first, chosen = trials[0], best(trials)
    ends = Counter(trial.end.value for trial in trials)
    test = compare(*tested, seed=plan.config.seed)
    helped, sentence = judge(test, chosen.number, len(trials))
    return TuneResult(
        policy=plan.target.name,
        default_spec=plan.target.spec({}),
        spec=plan.target.spec(chosen.params),
        default_params=first.params,
        best_params=chosen.params,
        best_trial=chosen.number,
        trials={"finished": len(trials), **{end.value: ends[end.value] for end in TrialState}},
        runs=sum(trial.runs for trial in trials),
        interrupted=len(trials) < plan.config.trials,
        helped=helped,
        verdict=sentence,
        train=compare(first.losses, chosen.losses, seed=plan.config.seed),
        test=test,
        classes=by_class(plan.test, tested, plan.config.seed),
        importances=importances,
        left_out=[
            one.name for one, loss in zip(plan.train, first.losses, strict=True) if loss is None
        ],
    )


def compare(default: Losses, chosen: Losses, seed: int) -> TuneComparison:
    """Compare two parameter settings on the same instances."""
    pairs = list(zip(default, chosen, strict=True))
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    logs = [log_ratio(b, a) for a, b in both]
    pairwise = compare_pairs(("best", "default"), [(b, a) for a, b in pairs])
    return TuneComparison(
        instances=len(both),
        default_loss=fmean(a for a, _ in both) if both else None,
        best_loss=fmean(b for _, b in both) if both else None,
        ratio=math.exp(math.fsum(logs) / len(logs)) if logs else None,
        interval=interval(logs, seed),
        wins=pairwise.wins,
        ties=pairwise.ties,
        losses=pairwise.losses,
        only_default=sum(a is not None and b is None for a, b in pairs),
    )


def by_class(
    instances: Sequence[TuneInstance], tested: tuple[Losses, Losses], seed: int
) -> dict[str, TuneComparison]:
    """Compare within each class; empty where there is only one.

    A class of few instances has no interval, since it would be too rough.
    """
    groups: dict[str, list[tuple[float | None, float | None]]] = defaultdict(list)
    for one, default, chosen in zip(instances, *tested, strict=True):
        groups[one.group].append((default, chosen))
    found = {}
    for group, pairs in groups.items():
        side = compare([a for a, _ in pairs], [b for _, b in pairs], seed)
        rough = side.instances < ROUGH_BELOW
        found[group] = structs.replace(side, interval=None) if rough else side
    return found if len(groups) > 1 else {}


def interval(logs: Sequence[float], seed: int) -> Interval | None:
    """Bootstrap interval of ``exp(mean(logs))``; None of fewer than two."""
    found = mean_interval(logs, seed)
    return found and (math.exp(found[0]), math.exp(found[1]))


def judge(test: TuneComparison, best_trial: int, trials: int) -> tuple[bool | None, str]:
    """Judge whether tuning helped on the test instances; return that and a sentence."""
    if best_trial == 0:
        return False, f"Tuning did not help: the defaults are the best of {trials} trials on train."
    if test.only_default:
        return False, (
            f"Tuning did not help: on {test.only_default} of the test instances only the defaults "
            "have a schedule."
        )
    if test.ratio is None:
        return None, "Nothing can be said: there is no schedule on any test instance."
    change = f"on the test instances the loss is {_change(test.ratio)}"
    if test.interval is None:
        return None, f"Nothing can be said of one test instance ({change})."
    low, high = test.interval
    rough = f", rough with {test.instances} instances" if test.instances < ROUGH_BELOW else ""
    text = f"{change} (95 % confidence interval {_percent(low)} to {_percent(high)}{rough})"
    if low <= 1 <= high:
        return False, f"Tuning is not shown to help: {text}."
    return high < 1, f"Tuning {'helped' if high < 1 else 'made it worse'}: {text}."


def _change(ratio: float) -> str:
    if ratio == 1:
        return "the same"
    return f"{abs(100 * (ratio - 1)):.3g} % {'lower' if ratio < 1 else 'higher'}"


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.3g} %"
