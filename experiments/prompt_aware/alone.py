"""(b) Prompt awareness by itself: on less off, all else equal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from experiments.prompt_aware.cases import (
    AWARENESS_RATES,
    LOOK_UP,
    OFF,
    RHOS,
    SPREADS,
    TOLERANCE,
    knowing,
)
from experiments.prompt_aware.claims import DOES_NOT, REPRODUCES, percent, points, side
from experiments.prompt_aware.reading import Runs, average, differences, each
from experiments.questions.pictures import lines
from experiments.questions.statistics import Interval
from experiments.questions.words import Answer, code, plain, table


def earned(found: Runs, policy: str, rate: int, spread: float, of: str = "quality") -> Interval:
    """What awareness earns over awareness off, in shares."""
    case = f"{rate}-c{spread:g}"
    on, off = (each(found, "awareness", case, name) for name in (policy, OFF))
    return differences(on, off, lambda f: float(getattr(f, of)))


def answer(found: Runs) -> Answer:
    """The answer."""
    return Answer(
        question="What does prompt awareness earn by itself?",
        experiment="prompt_aware",
        verdict=[
            short(found),
            unserved(found),
            nothing_known(found),
            looked_up(found),
            in_time(found),
        ],
        tables=[by_spread(found), by_rho(found)],
        pictures=[
            lines(
                "awareness",
                {
                    "tolerance known, by spread": {
                        f"spread {plain(spread)}": [
                            (rate, scaled(earned(found, knowing(1.0), rate, spread)))
                            for rate in AWARENESS_RATES
                        ]
                        for spread in SPREADS
                    },
                    "spread 1, by how well it is known": {
                        f"rho {plain(rho)}": [
                            (rate, scaled(earned(found, knowing(rho), rate, 1.0)))
                            for rate in AWARENESS_RATES
                        ]
                        for rho in RHOS
                    },
                },
                x="requests a minute",
                y="points of quality of those served",
                caption="What prompt awareness earns over awareness off, by load, by the spread of "
                "prompts and by how well tolerance is known",
                reference=0.0,
            )
        ],
        ran=f"steady loads of 5 minutes after one of filling, {seeds(found)} seeds, objective 3, "
        f"{code(TOLERANCE)} and {code(LOOK_UP)} less {code(OFF)}",
        not_shown=(
            "how well any predictor knows tolerance: rho is assumed, and so is the spread",
            "prompts whose tolerance depends on their similarity, for which see hits below",
        ),
    )


def seeds(found: Runs) -> int:
    """Seeds of a case."""
    return len(each(found, "awareness", f"{AWARENESS_RATES[0]}-c{SPREADS[0]:g}", OFF))


def scaled(found: Interval) -> Interval:
    """Shares as points."""
    return Interval(100 * found.mean, 100 * found.low, 100 * found.high, found.count)


def short(found: Runs) -> str:
    """Where it helps, where most, and where not."""
    cells = {
        (rate, spread): earned(found, knowing(1.0), rate, spread)
        for rate, spread in product(AWARENESS_RATES, SPREADS[1:])
    }
    (rate, spread), most = max(cells.items(), key=lambda item: item[1].mean)
    sides = [side(interval) for interval in cells.values()]
    return (
        f"With tolerance known and prompts that differ, it helps clearly in "
        f"{sides.count(REPRODUCES)} of {len(cells)} cells of load and spread and hurts clearly in "
        f"{sides.count(DOES_NOT)}; most at {rate} a minute and a spread of {plain(spread)}, "
        f"{points(most)} points of quality of those served."
    )


def unserved(found: Runs) -> str:
    """The same with those not served at 0."""
    sides = [
        side(earned(found, knowing(1.0), rate, spread, of="quality_of_all"))
        for rate, spread in product(AWARENESS_RATES, SPREADS[1:])
    ]
    return (
        f"With those not served at 0 it helps clearly in {sides.count(REPRODUCES)} and hurts in "
        f"{sides.count(DOES_NOT)} of {len(sides)} cells."
    )


def nothing_known(found: Runs) -> str:
    """With rho or spread 0 there is nothing to earn; a check of the comparison."""
    cells = [
        side(earned(found, knowing(rho), rate, spread))
        for rate, (rho, spread) in product(AWARENESS_RATES, ((0.0, 1.0), (1.0, 0.0)))
    ]
    told = len(cells) - cells.count("cannot be told")
    return (
        f"Where nothing is known (rho 0) or all prompts are alike (spread 0), it must earn "
        f"nothing: a difference is clear in {told} of {len(cells)} cells, where chance gives "
        f"{0.05 * len(cells):.1f}."
    )


def looked_up(found: Runs) -> str:
    """What the look-up earns where tolerance does not depend on it."""
    sides = [side(earned(found, LOOK_UP, rate, 1.0)) for rate in AWARENESS_RATES]
    return (
        f"The level of the look-up, {code(LOOK_UP)}, says nothing of tolerance here: it helps at "
        f"{sides.count(REPRODUCES)} and hurts at {sides.count(DOES_NOT)} of {len(sides)} loads."
    )


def in_time(found: Runs) -> str:
    """What awareness does to violations."""
    cells = {
        rate: earned(found, knowing(1.0), rate, 1.0, of="violations") for rate in AWARENESS_RATES
    }
    texts = [f"{points(interval)} at {rate}" for rate, interval in cells.items()]
    return f"It is about quality: violations change by {', '.join(texts)} points."


def by_spread(found: Runs) -> list[str]:
    """Points earned with tolerance known, by load and spread."""
    rows = []
    for rate in AWARENESS_RATES:
        off = each(found, "awareness", f"{rate}-c1", OFF)
        rows.append(
            [
                f"{rate} a minute",
                percent(average(off, lambda f: f.quality)),
                *(points(earned(found, knowing(1.0), rate, spread)) for spread in SPREADS),
            ]
        )
    head = ["points earned, rho 1", "quality of those served, off, spread 1"]
    return table([*head, *(f"spread {plain(spread)}" for spread in SPREADS)], rows)


def by_rho(found: Runs) -> list[str]:
    """Points earned at spread 1, by load and by how well tolerance is known."""
    policies: Sequence[str] = [*map(knowing, RHOS), LOOK_UP]
    return table(
        ["points earned, spread 1", *(f"rho {plain(rho)}" for rho in RHOS), "look-up"],
        (
            [f"{rate} a minute", *(points(earned(found, policy, rate, 1.0)) for policy in policies)]
            for rate in AWARENESS_RATES
        ),
    )
