"""The page ``experiments/online_limit/result.md``: what was asked, and what the runs answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from experiments.online_limit import beside
from experiments.online_limit.cases import (
    BURSTY_CV,
    EXPLAINED,
    LOADS,
    MANY,
    OURS,
    POLICIES,
    RATIOS,
    cells,
)
from experiments.online_limit.reading import System, systems
from experiments.online_limit.regret import UNLISTED, WAYS
from experiments.online_limit.run import OFFLINE, QUEUE
from experiments.questions import page
from experiments.questions.statistics import Interval, mean
from experiments.questions.words import Answer, code, listed, percent, table
from pats_opt.wording import counted

PAGE = Path(__file__).parent / "result.md"

#: Share of the online optimum up to which a policy counts as near it, and that by which a policy
#: may be worse than another one and still count as no worse.
NEAR, LEVEL = 0.03, 0.01

INTRODUCTION = """# The limit of online policies on a grid of systems

Written by `python -m experiments.online_limit` from the tables in
`experiments/online_limit/result/`: every figure and every verdict below is computed, none is typed.
All losses are per request. A system is one GPU with two adapters, unless there are more; its load
is offered load (full batches at full steps, a switch each), a switch is given in services of a full
image. What a policy gives away is its excess over the online optimum on the same paths, as a share
of the online optimum. What stands in brackets is a 95 % confidence interval (percentile bootstrap
over systems, seeded), or the least and the most where it says *from*."""


def main() -> None:
    """Write the page."""
    page.write(answers(), PAGE, INTRODUCTION)


def answers() -> list[Answer]:
    """Return the answers in the order of the page."""
    found = systems()
    grid = [system for system in found if system.optimum is not None]
    many = [system for system in found if system.cell.adapters in MANY]
    return [
        future(grid),
        policies(grid),
        decisions(grid),
        bounds(grid, many),
        beside.answer(),
    ]


def spread(values: Sequence[float]) -> str:
    """Return a mean with the least and the most."""
    middle = sum(values) / len(values)
    return f"{percent(middle)} (from {percent(min(values))} to {percent(max(values))})"


def interval(found: Interval) -> str:
    """Return a mean share with its interval."""
    return f"{percent(found.mean)} ({percent(found.low)} to {percent(found.high)})"


def by_load(grid: Sequence[System], value: Callable[[System], float]) -> list[str]:
    """Return a table of means by switch and load."""
    rows = []
    for ratio in RATIOS:
        mine = [
            [value(s) for s in grid if (s.cell.ratio, s.cell.load) == (ratio, load)]
            for load in LOADS
        ]
        rows.append([f"switch {ratio:g}", *[spread(values) for values in mine]])
    return table(["", *[f"load {load:g}" for load in LOADS]], rows)


def future(grid: Sequence[System]) -> Answer:
    """Answer how much the future is worth."""
    saved = [system.future() for system in grid]
    batches = {
        batch: mean([s.future() for s in grid if s.cell.batch == batch])
        for batch in sorted({s.cell.batch for s in grid})
    }
    ours = {
        arrivals: mean([1.0 - _offline(s, arrivals) / _ours(s, arrivals) for s in grid])
        for arrivals in ("poisson", "bursty")
    }
    return Answer(
        question="How much is the future worth?",
        experiment="online_limit/result",
        verdict=[
            f"Knowing all arrivals saves {interval(mean(saved))} of what the online optimum loses, "
            f"over {counted(len(grid), 'system')} with Poisson arrivals. Of the grid of "
            f"{sum(1 for _ in cells())}, those are left out whose optimum queues of {QUEUE} are "
            "too short to prove.",
            "By the largest batch: "
            + listed([f"{batch}: {interval(found)}" for batch, found in batches.items()])
            + ".",
            f"Of what `{OURS}` loses, it saves {interval(ours['poisson'])} with Poisson arrivals, "
            f"and {interval(ours['bursty'])} where as many come in bursts (coefficient of "
            f"variation {BURSTY_CV:g}), for which no online optimum is known.",
        ],
        tables=[by_load(grid, lambda system: system.future())],
        ran="offline optima of windows of 12 and 24 requests on 6 paths of each system",
        not_shown=[
            "single systems closely: a mean over the paths of one has an interval of some 10 %",
            "arrivals whose rate changes slowly, as over a day",
        ],
    )


def _offline(system: System, arrivals: str) -> float:
    found = system.loss(OFFLINE, arrivals)
    assert found is not None
    return found


def _ours(system: System, arrivals: str) -> float:
    found = system.loss(OURS, arrivals)
    assert found is not None
    return found


def policies(grid: Sequence[System]) -> Answer:
    """Answer how good every policy is."""
    given = {policy: [system.excess(policy) for system in grid] for policy in POLICIES}
    known = {policy: [x for x in values if x is not None] for policy, values in given.items()}
    order = sorted(POLICIES, key=lambda policy: sum(known[policy]) / len(known[policy]))
    rows = [
        [
            code(policy),
            interval(mean(known[policy])),
            percent(max(known[policy])),
            f"{sum(value <= NEAR for value in known[policy])}",
            f"{len(grid) - len(known[policy])}",
        ]
        for policy in order
    ]
    far = [s for s in grid if (s.excess(OURS) or 0.0) > NEAR]
    surely = [s for s in far if (s.excess(OURS, "more_low") or 0.0) > NEAR]
    beaten = [(s, *_best_other(s)) for s in grid]
    worse = [(s, policy, by) for s, policy, by in beaten if by > LEVEL]
    near = len(grid) - len(far)
    sentences = [
        f"`{OURS}` gives away {interval(mean(known[OURS]))}, at most {percent(max(known[OURS]))}; "
        f"the next, {code(_next(order))}, {interval(mean(known[_next(order)]))}.",
        f"`{OURS}` is within {percent(NEAR)} of the online optimum on {near} of {len(grid)} "
        f"systems. It is not, and the whole interval says so, on {len(surely)}: "
        + ("; ".join(f"{s.cell.name} ({percent(s.excess(OURS) or 0.0)})" for s in surely) or "none")
        + ".",
    ]
    if worse:
        sentences.append(
            f"Another policy loses over {percent(LEVEL)} less on "
            f"{counted(len(worse), 'system')}: "
            + "; ".join(f"{s.cell.name} ({code(p)}, {percent(by)})" for s, p, by in worse)
            + "."
        )
    else:
        sentences.append(f"No other policy loses over {percent(LEVEL)} less on any system.")
    return Answer(
        question="How good is every policy?",
        experiment="online_limit/result",
        verdict=sentences,
        tables=[
            table(
                ["policy", "gives away", "at most", f"within {percent(NEAR)}", "losses grow"], rows
            )
        ],
        ran=f"each policy on 4 paths of 500 requests of each of {counted(len(grid), 'system')}",
        not_shown=[
            "deadlines, rejection, several GPUs and caches, which the optimum does not know"
        ],
    )


def _next(order: Sequence[str]) -> str:
    return next(policy for policy in order if policy != OURS)


def _best_other(system: System) -> tuple[str, float]:
    """Return the best policy but ours, and by how much less it loses, as a share of the optimum."""
    ours = system.excess(OURS)
    assert ours is not None
    others = [(ours - x, p) for p in POLICIES if p != OURS and (x := system.excess(p)) is not None]
    by, policy = max(others)
    return policy, by


def decisions(grid: Sequence[System]) -> Answer:
    """Answer which decisions differ from the best ones."""
    lost = {
        policy: {way: mean([_share(s, policy, way) for s in grid]) for way in WAYS}
        for policy in EXPLAINED
    }
    first = {
        policy: max((way for way in WAYS if way != UNLISTED), key=lambda way: found[way].mean)
        for policy, found in lost.items()
    }
    rows = [
        [code(policy), *[percent(found[way].mean) for way in WAYS if way != UNLISTED]]
        for policy, found in lost.items()
    ]
    return Answer(
        question="Which decisions differ from the best ones?",
        experiment="online_limit/result",
        verdict=[
            "What loses most: "
            + listed(
                [
                    f"{code(policy)} {way} ({interval(lost[policy][way])} of the optimum)"
                    for policy, way in first.items()
                ]
            )
            + ".",
        ],
        tables=[table(["policy", *[way for way in WAYS if way != UNLISTED]], rows)],
        ran="the decisions on the paths of the policies, each at its loss beyond the best one",
        not_shown=["batches that are never best, which the decision process leaves out"],
    )


def _share(system: System, policy: str, way: str) -> float:
    assert system.optimum is not None
    return float(system.decisions[policy][way]) / system.optimum


def bounds(grid: Sequence[System], many: Sequence[System]) -> Answer:
    """Answer how near the bounds come that need no decision process of the whole."""
    priced = [s.bound / (s.optimum or 1.0) for s in grid]
    clairvoyant = [_offline(s, "poisson") / (s.optimum or 1.0) for s in grid]
    higher = sum(p > c for p, c in zip(priced, clairvoyant, strict=True))
    rows = []
    for adapters, ratio in product(MANY, RATIOS):
        [system] = [s for s in many if (s.cell.adapters, s.cell.ratio) == (adapters, ratio)]
        offline, ours = _offline(system, "poisson"), _ours(system, "poisson")
        rest = ours / max(offline, system.bound) - 1.0
        rows.append(
            [
                f"{adapters} adapters, switch {ratio:g}",
                *[f"{value:.3f}" for value in (system.bound, offline, ours)],
                percent(rest),
            ]
        )
    return Answer(
        question="How near is a bound without the whole decision process?",
        experiment="online_limit/result",
        verdict=[
            f"The bound by a price of the GPU reaches {spread(priced)} of the online optimum, the "
            f"mean of the offline optimum {spread(clairvoyant)}. The bound is the higher one on "
            f"{higher} of {len(grid)} systems.",
        ],
        tables=[
            by_load(grid, lambda s: s.bound / (s.optimum or 1.0)),
            table(
                ["", "bound", "offline optimum", code(OURS), "above the higher one, at most"], rows
            ),
        ],
        ran="the grid, and systems with many adapters, which are too large for the online optimum",
        not_shown=["several residents or GPUs, which the bound does not know"],
    )
