"""What a search found: the best parameters against the defaults, on the test instances above all.

The train instances chose the best parameters, so their figures flatter it; only the test instances
judge. The confidence interval is a bootstrap over the instances, paired: each instance gives one
``log(loss / the defaults' loss)``.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct, structs

from pats_opt.runs.statistics import ROUGH_BELOW, Interval, compare_pairs, mean_interval
from pats_opt.tuning.plan import Plan
from pats_opt.tuning.search import End, Trial, best, log_ratio
from pats_opt.tuning.split import Case


class Comparison(Struct, frozen=True, kw_only=True):
    """The best parameters against the defaults on one side's instances.

    Attributes:
        instances: On which both have a schedule; the figures are over these.
        default_loss: Mean loss of the defaults; None without instances.
        best_loss: Mean loss of the best parameters.
        ratio: Geometric mean of best loss / defaults' loss.
        interval: Confidence interval of the ratio, or None with fewer than two instances.
        wins: Instances on which the best has the lower loss, one that only it can serve included.
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
    """The outcome of a search, free of times: the same search gives the same bytes.

    Attributes:
        policy: Name of what was tuned.
        default_spec: Spec of the defaults, the fixed parameters among them.
        spec: Spec of the best parameters, ready for ``solve --solver`` or ``simulate --policy``.
        default_params: The searched parameters at their defaults.
        best_params: The searched parameters at their best.
        best_trial: Number of the best trial; 0: the defaults themselves.
        trials: How many trials are finished, and how they ended.
        runs: Runs on train instances in all.
        interrupted: Whether trials are missing.
        helped: Whether the test instances show that tuning lowers the loss: the whole interval is
            below 1, and every instance that the defaults can serve is served. None: too few
            instances to say.
        verdict: The same in a sentence.
        train: On the train instances, which chose the best.
        test: On the test instances, which judge.
        classes: Test comparison by class.
        importances: Share of each parameter in how good a trial is; empty where unknown.
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
    train: Comparison
    test: Comparison
    classes: dict[str, Comparison]
    importances: dict[str, float]
    left_out: list[str]


#: Losses by instance, in the order of a side's cases.
Losses = Sequence[float | None]


def result_of(
    plan: Plan,
    trials: Sequence[Trial],
    tested: tuple[Losses, Losses],
    importances: dict[str, float],
) -> TuneResult:
    """Put a search's result together.

    Args:
        plan: The search.
        trials: Its trials, the defaults first.
        tested: Losses of the defaults and of the best parameters on the test instances.
        importances: Of the parameters.
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
        trials={"finished": len(trials), **{end.value: ends[end.value] for end in End}},
        runs=sum(trial.runs for trial in trials),
        interrupted=len(trials) < plan.config.trials,
        helped=helped,
        verdict=sentence,
        train=compare(first.losses, chosen.losses, seed=plan.config.seed),
        test=test,
        classes=by_class(plan.test, tested, plan.config.seed),
        importances=importances,
        left_out=[
            case.name for case, loss in zip(plan.train, first.losses, strict=True) if loss is None
        ],
    )


def compare(default: Losses, chosen: Losses, seed: int) -> Comparison:
    """Two parameter settings on the same instances."""
    pairs = list(zip(default, chosen, strict=True))
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    logs = [log_ratio(b, a) for a, b in both]
    fight = compare_pairs(("best", "default"), [(b, a) for a, b in pairs])
    return Comparison(
        instances=len(both),
        default_loss=_mean([a for a, _ in both]),
        best_loss=_mean([b for _, b in both]),
        ratio=math.exp(math.fsum(logs) / len(logs)) if logs else None,
        interval=interval(logs, seed),
        wins=fight.wins,
        ties=fight.ties,
        losses=fight.losses,
        only_default=sum(a is not None and b is None for a, b in pairs),
    )


def by_class(
    cases: Sequence[Case], tested: tuple[Losses, Losses], seed: int
) -> dict[str, Comparison]:
    """The comparison within each class; empty where there is but one.

    A class of few instances has no interval: it would be read as more than it is.
    """
    groups: dict[str, list[tuple[float | None, float | None]]] = defaultdict(list)
    for case, *pair in zip(cases, *tested, strict=True):
        groups[case.group].append((pair[0], pair[1]))
    if len(groups) < 2:
        return {}
    found = {
        group: compare([a for a, _ in pairs], [b for _, b in pairs], seed)
        for group, pairs in groups.items()
    }
    return {
        group: structs.replace(
            side, interval=side.interval if side.instances >= ROUGH_BELOW else None
        )
        for group, side in found.items()
    }


def interval(logs: Sequence[float], seed: int) -> Interval | None:
    """Bootstrap interval of ``exp(mean(logs))``; None of fewer than two."""
    found = mean_interval(logs, seed)
    return None if found is None else (math.exp(found[0]), math.exp(found[1]))


def judge(test: Comparison, best_trial: int, trials: int) -> tuple[bool | None, str]:
    """Whether tuning helped on the test instances, and the sentence that says so."""
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
    told = f"{change} (95 % confidence interval {_percent(low)} to {_percent(high)}{rough})"
    if low <= 1 <= high:
        return False, f"Tuning is not shown to help: {told}."
    return high < 1, f"Tuning {'helped' if high < 1 else 'made it worse'}: {told}."


def _change(ratio: float) -> str:
    if ratio == 1:
        return "the same"
    return f"{abs(100 * (ratio - 1)):.3g} % {'lower' if ratio < 1 else 'higher'}"


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.3g} %"


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
