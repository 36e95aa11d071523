"""(e) to (g): capacity at 95 % in time, the price of binding early, distance to the bound."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.prompt_aware.cases import (
    BASELINES,
    COMMON,
    DEEP,
    OBJECTIVES,
    THROUGHPUT,
    TOLERANCE,
    with_batching,
)
from experiments.prompt_aware.claims import (
    DOES_NOT,
    MORE_THROUGHPUT,
    REPRODUCES,
    UNTOLD,
    percent,
    tally,
    verdict,
)
from experiments.prompt_aware.reading import Row
from experiments.questions.reading import EXPERIMENTS
from experiments.questions.statistics import Interval, student, student_ratio
from experiments.questions.words import Answer, code, interval, listed, ratio, table

BENCHMARK = EXPERIMENTS.parent / "benchmarks" / "results" / "dispatch.csv"

#: A loss within this factor of the bound is called near optimal here; the document has no number.
NEAR = 1.1


# -- capacity --------------------------------------------------------------------------------------


def rates(rows: Sequence[Row], objective: int, policy: str) -> list[float]:
    """Capacity of a policy, a seed each."""
    spec = with_batching(policy, COMMON)
    mine = [r for r in rows if r["case"] == f"slo{objective}" and r["policy"] == spec]
    return [float(r["rate_per_min"]) for r in sorted(mine, key=lambda r: int(r["seed"]))]


def capacity(rows: Sequence[Row]) -> Answer:
    """The answer on capacity."""
    seeds = len(rates(rows, OBJECTIVES[0], TOLERANCE))
    return Answer(
        question="How much load does each policy carry with 95 % in time?",
        experiment="prompt_aware",
        verdict=[carried(rows), forty(rows), dispatcher(rows)],
        tables=[capacities(rows)],
        ran=f"bisection over steady rates to 2 %, {seeds} seeds, 5 minutes "
        f"after one of filling, every policy with the batching rule {code(COMMON)}",
        not_shown=(
            "other batching rules: those that wait for company serve a share too late at any load, "
            "for which see the low load of the square wave above",
            "loads that change",
            "a rate above which fewer, and then again more, would be in time: more load is taken "
            "for worse",
        ),
    )


def carried(rows: Sequence[Row]) -> str:
    """The capacity of every policy at the first objective."""
    found = {p: student(rates(rows, OBJECTIVES[0], p)).mean for p in (*BASELINES, TOLERANCE)}
    ordered = sorted(found.items(), key=lambda item: -item[1])
    return (
        f"At an objective of {OBJECTIVES[0]} services, in requests a minute: "
        f"{listed(f'{code(policy)} {rate:.0f}' for policy, rate in ordered)}."
    )


def margins(rows: Sequence[Row], objective: int, baseline: str) -> list[float]:
    """Capacity of ours over what the claim asks for, a seed each."""
    ours, theirs = (rates(rows, objective, policy) for policy in (TOLERANCE, baseline))
    return [a - MORE_THROUGHPUT * b for a, b in zip(ours, theirs, strict=True)]


def forty(rows: Sequence[Row]) -> str:
    """Whether 40 % more capacity reproduces."""
    texts = []
    for baseline in BASELINES:
        told = [verdict(margins(rows, objective, baseline)) for objective in OBJECTIVES]
        each = [f"{word} at {o}" for word, o in zip(told, OBJECTIVES, strict=True)]
        texts.append(f"{code(baseline)} {listed(each)}")
    return f"40 % more capacity, by objective: against {'; against '.join(texts)}."


def dispatcher(rows: Sequence[Row]) -> str:
    """What the dispatcher alone does to capacity."""
    texts = []
    for objective in OBJECTIVES:
        random, greedy = (rates(rows, objective, policy) for policy in (THROUGHPUT, DEEP))
        found = student_ratio([a / b for a, b in zip(greedy, random, strict=True) if a and b])
        texts.append(f"{interval(found)} times as much at {objective}")
    return (
        f"What dispatch does alone: {code(DEEP)} and {code(THROUGHPUT)} both serve all at K = 25, "
        "with the same batching rule and drop rule; the first, which routes to queues that fill "
        f"batches and not at random, carries {listed(texts)}."
    )


def capacities(rows: Sequence[Row]) -> list[str]:
    """Capacities and what ours is of each, by objective."""
    lines = []
    for policy in (*BASELINES, TOLERANCE):
        cells = []
        for objective in OBJECTIVES:
            mine, ours = (rates(rows, objective, p) for p in (policy, TOLERANCE))
            found = student(mine)
            pairs = [a / b for a, b in zip(ours, mine, strict=True) if a and b]
            cells.append(f"{found.mean:.0f} ({found.low:.0f} to {found.high:.0f})")
            cells.append(interval(student_ratio(pairs)) if pairs else "-")
        lines.append([code(policy), *cells])
    head = [
        text
        for objective in OBJECTIVES
        for text in (f"a minute, objective {objective}", "ours, times this")
    ]
    return table(["capacity", *head], lines)


# -- dispatch --------------------------------------------------------------------------------------


def dispatch() -> Answer:
    """The answer on binding early, from the benchmark of dispatch rules."""
    with BENCHMARK.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    ways = list(dict.fromkeys((row["way"], row["load"]) for row in rows))
    rules = dict.fromkeys(r["dispatch"] for r in rows if r["dispatch"] != "central")
    found = {way: {rule: bound_early(rows, *way, rule) for rule in rules} for way in ways}
    texts = []
    for (way, load), prices in found.items():
        rule, best = min(prices.items(), key=lambda item: item[1].mean)
        texts.append(f"loads {way}, load {load}: {ratio(best.mean)} times ({code(plain(rule))})")
    shown = [rule for rule in rules if ":" not in rule or rule == "hash:steal=true"]
    return Answer(
        question="What does it cost to bind a request to a GPU when it arrives?",
        experiment="prompt_aware",
        verdict=[
            f"Mean latency of the best rule over that of one central queue, {'; '.join(texts)}."
        ],
        tables=[
            table(
                ["latency / central", *(f"{way}, load {load}" for way, load in ways)],
                (
                    [code(plain(rule)), *(interval(found[way][rule]) for way in ways)]
                    for rule in shown
                ),
            )
        ],
        ran="nothing anew: the seeds of [the benchmark of dispatch rules]"
        "(../../benchmarks/results/dispatch.md), 8 GPUs and 100 adapters",
        not_shown=(
            "policies at levels of approximate caching, which bind requests early by themselves",
            "several routers that do not know of each other",
        ),
    )


def bound_early(rows: Sequence[Row], way: str, load: str, rule: str) -> Interval:
    """Mean latency of a rule over that of the central queue, seed by seed."""
    mine = {
        (r["dispatch"], r["seed"]): float(r["latency_mean_s"])
        for r in rows
        if (r["way"], r["load"]) == (way, load)
    }
    seeds = sorted({seed for _, seed in mine})
    return student_ratio([mine[rule, seed] / mine["central", seed] for seed in seeds])


def plain(rule: str) -> str:
    """A rule as the benchmark's page has it."""
    return rule.replace("=true", "")


# -- windows ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bounded:
    """A window with its bound, its best schedule, and what each policy loses.

    Attributes:
        case: Its class; ``seed`` is the seed.
        losses: Loss of each policy.
        best: The least loss of any schedule that is known.
    """

    case: str
    seed: int
    requests: int
    bound: float
    best: float
    losses: dict[str, float]

    def verdict(self, policy: str) -> str:
        """Whether a policy is near optimal: proven, refuted, or neither."""
        loss = self.losses[policy]
        if loss <= NEAR * self.bound:
            return REPRODUCES
        return DOES_NOT if loss > NEAR * self.best else UNTOLD


def bounded(rows: Sequence[Row]) -> list[Bounded]:
    """The windows of ``windows.csv``."""
    found = []
    for case, seed in dict.fromkeys((row["case"], row["seed"]) for row in rows):
        mine = [row for row in rows if (row["case"], row["seed"]) == (case, seed)]
        bound = max(float(row["bound"]) for row in mine if row["bound"])
        best = min(float(row["loss"]) for row in mine if row["loss"])
        losses = {row["policy"]: float(row["loss"]) for row in mine if not row["bound"]}
        found.append(Bounded(case, int(seed), int(mine[0]["requests"]), bound, best, losses))
    return found


def windows(rows: Sequence[Row], seconds: float) -> Answer:
    """The answer on the distance to the bound."""
    found = bounded(rows)
    return Answer(
        question="How far is every policy from the proven bound?",
        experiment="prompt_aware",
        verdict=[distances(found), near(found), how_tight(found)],
        tables=[gaps(found)],
        ran=f"{len(found)} windows of {listed(sorted({str(w.requests) for w in found}))} requests "
        f"on one and two GPUs, batches of 2, a tick of five steps, {code('lagrangian')} for "
        f"{seconds:g} s each; quality is the mean of all requests, 0 of those not served, and "
        "1 less for those late",
        not_shown=(
            "a fleet that runs for longer: a window begins with an empty one, and the controller "
            "follows the load after 10 s only",
            "8 GPUs with batches of 8, for which a window would have to be far longer",
            "what a policy could know: the optimum knows all arrivals",
        ),
    )


def worth(window: Bounded, loss: float) -> float:
    """Mean quality of all requests at a loss."""
    return 1.0 - loss / window.requests


def distances(found: Sequence[Bounded]) -> str:
    """Ours, the best policy, the best schedule and the bound, as mean quality."""
    policies = list(found[0].losses)
    means = {p: student([worth(w, w.losses[p]) for w in found]).mean for p in policies}
    name = max(policies, key=lambda policy: means[policy])
    best, bound = (
        student([worth(w, getattr(w, key)) for w in found]).mean for key in ("best", "bound")
    )
    return (
        f"No schedule has a mean quality above {percent(bound)} on these windows, and schedules "
        f"with {percent(best)} are known; {code(TOLERANCE)} has {percent(means[TOLERANCE])}, and "
        f"the best policy, {code(name)}, {percent(means[name])}."
    )


def near(found: Sequence[Bounded]) -> str:
    """Near optimal or not, by window."""
    mine = [window.verdict(TOLERANCE) for window in found]
    return (
        f"Near optimal, a loss within {100 * (NEAR - 1):.0f} % of the least: {code(TOLERANCE)} is "
        f"that in {mine.count(REPRODUCES)} of {len(mine)} windows, is not in "
        f"{mine.count(DOES_NOT)}, and in {mine.count(UNTOLD)} the bound leaves it open."
    )


def how_tight(found: Sequence[Bounded]) -> str:
    """What the bound leaves open."""
    open_points = [100 * (w.best - w.bound) / w.requests for w in found]
    return (
        f"Between bound and best schedule {math.fsum(open_points) / len(found):.1f} points of mean "
        f"quality are open, {max(open_points):.1f} at most."
    )


def gaps(found: Sequence[Bounded]) -> list[str]:
    """Each policy's distance in quality from bound and best schedule, and its verdicts."""
    rows = []
    for policy in found[0].losses:
        cells = []
        for key in ("bound", "best"):
            away = student([(w.losses[policy] - getattr(w, key)) / w.requests for w in found])
            cells.append(f"{100 * away.mean:.1f} ({100 * away.low:.1f} to {100 * away.high:.1f})")
        gap = student(
            [1.0 - w.bound / w.losses[policy] if w.losses[policy] else 0.0 for w in found]
        )
        verdicts = tally(window.verdict(policy) for window in found)
        rows.append([code(policy), *cells, percent(gap.mean), verdicts])
    return table(
        [
            "policy",
            "points of quality below the bound",
            "below the best schedule",
            "gap, (loss - bound) / loss",
            "near optimal: yes / no / open",
        ],
        rows,
    )
