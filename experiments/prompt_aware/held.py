"""(a) Which of the document's claims hold, and against which baseline?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

from experiments.prompt_aware.cases import (
    BASELINES,
    COMMON,
    DEEPEST,
    FULL_STEPS,
    HIGH,
    LOW,
    OBJECTIVES,
    SYSTEMS,
    TOLERANCE,
    Phase,
    day_phase,
    minutes,
    square_phase,
    with_batching,
)
from experiments.prompt_aware.claims import (
    COMPARISONS,
    PROMISES,
    REPRODUCES,
    Comparison,
    percent,
    tally,
)
from experiments.prompt_aware.reading import Figures, Runs, average, each
from experiments.questions.words import Answer, code, listed, table
from pats_opt.generate.skipping import PUBLISHED

RULES = ("own", COMMON)


class Part(NamedTuple):
    """A part of a load: the load's name, its phases, and what tells them apart."""

    load: str
    phases: tuple[str, ...]
    phase: Phase


PARTS = {
    "square wave, low": Part("square", ("low",), square_phase),
    "square wave, high": Part("square", ("ramp", "high"), square_phase),
    "day, busy hours": Part("day", ("busy",), day_phase),
    "day, whole": Part("day", ("busy", "quiet"), day_phase),
}
#: Parts whose figures are shown besides, as the controller follows or has followed.
SHOWN = PARTS | {
    "square wave, first 30 s of high": Part("square", ("ramp",), square_phase),
    "square wave, the rest of high": Part("square", ("high",), square_phase),
}
#: The setting of the document's figure.
HEADLINE = ("square wave, high", 3, "own")


class Setting(NamedTuple):
    """A part of a load, an objective, and whose batching rule."""

    part: str
    objective: int
    rule: str


def settings() -> Iterator[Setting]:
    """Every setting in which claims are tested."""
    return (Setting(*each) for each in product(PARTS, OBJECTIVES, RULES))


def at(found: Runs, policy: str, setting: Setting) -> list[Figures]:
    """Figures of a policy in a setting, a seed each."""
    part = SHOWN[setting.part]
    case = f"{part.load}-slo{setting.objective}"
    return each(found, "baselines", case, with_batching(policy, setting.rule), part.phases)


def answer(found: Runs) -> Answer:
    """The answer."""
    seeds = len(at(found, TOLERANCE, Setting(*HEADLINE)))
    return Answer(
        question="Which of the document's claims hold, and against which baseline?",
        experiment="prompt_aware",
        verdict=[
            short(found),
            *(compared(found, claim) for claim in COMPARISONS),
            promised(found),
            by_construction(found),
            dropped(found),
        ],
        tables=[
            headline(found),
            counts(found),
            promises(found),
            *(by_setting(found, claim) for claim in COMPARISONS),
            figures(found),
        ],
        ran=f"{seeds} seeds of a square wave of {LOW} and {HIGH} requests a minute, 300 s each, "
        "and of a day with the same peak in half an hour, at latency objectives of "
        f"{listed(map(str, OBJECTIVES))} services at K = 0, every policy with its own batching "
        f"rule and with {code(COMMON)}; one drop rule, one "
        f"estimate of demand, paired seeds. Ours is {code(TOLERANCE)}, which knows how much "
        "each prompt loses: the most favourable reading",
        not_shown=(
            "real image quality: quality is a published curve with an assumed spread of 1",
            "another gain of batches than 1.65 at 8, which the code of Argus assumes",
            "other objectives, which decide how large batches may be: the best batch takes half of "
            "one",
            "the strategy switch of Argus and baselines with smaller models",
        ),
    )


def verdicts(found: Runs, claim: Comparison, baseline: str) -> dict[Setting, str]:
    """A claim's verdict against a baseline in every setting."""
    return {
        setting: claim.verdict(at(found, TOLERANCE, setting), at(found, baseline, setting))
        for setting in settings()
    }


def short(found: Runs) -> str:
    """How many baselines each claim holds against where the document's figure is."""
    setting, texts = Setting(*HEADLINE), []
    for claim in COMPARISONS:
        held = [b for b in BASELINES if verdicts(found, claim, b)[setting] == REPRODUCES]
        against = listed(map(code, held)) if held else "no baseline"
        texts.append(f"{claim.title} against {against}")
    return (
        f"At the high load of the square wave, where the document's figure is: {'; '.join(texts)}."
    )


def compared(found: Runs, claim: Comparison) -> str:
    """How often a claim holds against each baseline."""
    texts = []
    for baseline in BASELINES:
        mine = list(verdicts(found, claim, baseline).values())
        texts.append(f"{code(baseline)} in {mine.count(REPRODUCES)}")
    count = len(list(settings()))
    return (
        f"{claim.title[0].upper()}{claim.title[1:]}: of {count} settings it reproduces against "
        f"{listed(texts)}."
    )


def promised(found: Runs) -> str:
    """How often the claims about the system itself hold."""
    texts = []
    for claim in PROMISES:
        mine = [claim.verdict(at(found, TOLERANCE, setting)) for setting in settings()]
        texts.append(f"{claim.title}, in {mine.count(REPRODUCES)} of {len(mine)}")
    return f"Of the system itself: {'; '.join(texts)}."


def by_construction(found: Runs) -> str:
    """What quality above 90 % is worth as evidence."""
    deepest = average(at(found, BASELINES[2], Setting(*HEADLINE)), lambda f: f.quality)
    return (
        "Quality above 90 % of those served is no evidence: by the published curve every request "
        f"at K = 25 has {percent(PUBLISHED[-1][1])} on the mean, and {code(BASELINES[2])}, which "
        f"does just that, has {percent(deepest)}. The fleet serves {FULL_STEPS} requests a minute "
        f"at K = 0 and {DEEPEST} at K = 25 in full batches, so near {HIGH} no policy can do much "
        "else."
    )


def dropped(found: Runs) -> str:
    """What the drop rule costs where the fleet is hardly busy."""
    setting = Setting("square wave, low", OBJECTIVES[-1], "own")
    texts = [
        f"{code(b)} {percent(average(at(found, b, setting), lambda f: f.violations))}"
        for b in (*BASELINES, TOLERANCE)
    ]
    return (
        "All policies make a batch of all that wait smaller where its first request would be late, "
        "and drop a request that would still be late, or that makes no batch smaller by leaving. "
        "(Proteus drops it without trying.) So a rule that waits for company loses little on a "
        f"fleet that is hardly busy: at {LOW} a minute and an objective of {OBJECTIVES[-1]} "
        f"services there are violations of {listed(texts)}."
    )


def headline(found: Runs) -> list[str]:
    """Each claim's figure and verdict against each baseline, where the document's figure is."""
    setting = Setting(*HEADLINE)
    ours = at(found, TOLERANCE, setting)
    rows = []
    for baseline in BASELINES:
        theirs = at(found, baseline, setting)
        cells = [f"{c.figure(ours, theirs)}: {c.verdict(ours, theirs)}" for c in COMPARISONS]
        rows.append([code(baseline), *cells])
    return table(["square wave, high, objective 3, own batching", *titles()], rows)


def counts(found: Runs) -> list[str]:
    """In how many settings each claim reproduces, does not, cannot be told."""
    return table(
        [f"settings of {len(list(settings()))}: reproduces / does not / cannot be told", *titles()],
        (
            [code(b), *(tally(verdicts(found, claim, b).values()) for claim in COMPARISONS)]
            for b in BASELINES
        ),
    )


def promises(found: Runs) -> list[str]:
    """The claims about the system itself, by part and objective, with its own batching."""
    rows = []
    for part, objective in product(PARTS, OBJECTIVES):
        mine = at(found, TOLERANCE, Setting(part, objective, "own"))
        cells = [f"{claim.figure(mine)}: {claim.verdict(mine)}" for claim in PROMISES]
        rows.append([part, str(objective), *cells])
    return table(["load", "objective", *(claim.title for claim in PROMISES)], rows)


def by_setting(found: Runs, claim: Comparison) -> list[str]:
    """A claim's verdicts in every setting."""
    of = {baseline: verdicts(found, claim, baseline) for baseline in BASELINES}
    rows = [
        [setting.part, str(setting.objective), setting.rule, *(of[b][setting] for b in BASELINES)]
        for setting in settings()
    ]
    return table([claim.title, "objective", "batching", *map(code, BASELINES)], rows)


def figures(found: Runs) -> list[str]:
    """What every policy does at each part of the loads, objective 3, own batching."""
    rows = []
    for name, part in SHOWN.items():
        span = minutes(part.phase, *part.phases)
        for policy in (*BASELINES, *SYSTEMS):
            mine = at(found, policy, Setting(name, HEADLINE[1], "own"))
            rows.append(
                [
                    name,
                    code(policy),
                    f"{average(mine, lambda f: f.in_time) / span:.0f}",
                    percent(average(mine, lambda f: f.violations)),
                    percent(average(mine, lambda f: f.quality)),
                    percent(average(mine, lambda f: f.quality_of_all)),
                    f"{average(mine, lambda f: f.level):.1f}",
                ]
            )
    return table(
        ["load", "policy", "in time a minute", "violations", "quality", "unserved 0", "mean K"],
        rows,
    )


def titles() -> Sequence[str]:
    """The claims."""
    return [claim.title for claim in COMPARISONS]
