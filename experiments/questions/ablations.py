"""(e) Ablations of ``pats``: what each factor of its score and each of its steps earns."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.questions.pictures import dots
from experiments.questions.reading import Case, groups, of, ratios, read, was_run
from experiments.questions.statistics import Interval, mean_ratio
from experiments.questions.words import Answer, clear, code, interval, listed, more, table

EXPERIMENT = "ablations"
DEFAULT = "pats"

#: What is taken out, by what the page calls it.
REMOVED = {
    "followers": "pats:followers=false",
    "pruning": "pats:prune=false",
    "waiting (gamma 0)": "pats:gamma=0",
    "cosine": "pats:use_cosine=false",
}
GAMMA = {f"gamma {g}": f"pats:gamma={g}" for g in ("0.01", "1", "10")}
THRESHOLD = {f"threshold {t}": f"pats:threshold={t}" for t in ("0", "0.25", "0.75", "1")}
VARIANTS = {**{f"without {n}": s for n, s in REMOVED.items()}, **GAMMA, **THRESHOLD}
ORDER = {"fifo at the same steps": "fifo:option=pruned"}

#: Classes by what the page calls them.
CLASSES = {
    "documents": "documents",
    "documents-mixed": "documents with three sizes",
    "measured": "a100-40g",
    "measured-mixed": "a100-40g with three sizes",
}

Found = dict[str, dict[str, Interval]]


def answer() -> Answer:
    """The answer."""
    cases = read(EXPERIMENT)
    found: Found = {}
    for group in groups(cases):
        mine = of(cases, group)
        found[CLASSES[group]] = {
            name: mean_ratio(ratios(mine, spec, DEFAULT))
            for name, spec in (VARIANTS | ORDER).items()
        }
    names = [*VARIANTS, *ORDER]
    return Answer(
        question="What does each factor of PATS earn?",
        experiment=EXPERIMENT,
        verdict=[
            short(found),
            *(factor(found, name) for name in REMOVED),
            knob(found, "gamma", "0.1", ["without waiting (gamma 0)", *GAMMA]),
            tail(cases),
            knob(found, "the threshold", "0.5", list(THRESHOLD)),
        ],
        tables=[
            table(
                ["loss / pats", *found],
                ([name, *(interval(row[name]) for row in found.values())] for name in names),
            )
        ],
        pictures=[
            dots(
                "ablations",
                {title: {"": row} for title, row in found.items()},
                x="loss / pats",
                caption="Mean loss of pats without a factor, or with another constant, over its "
                "default",
            )
        ],
        ran=f"{was_run(cases)}, complexities spread over 0 to 0.4 and 0.6 to 1, load 1.1; with one "
        "image size every demand points the same way and the cosine is the same for all, so that "
        "it can only matter with three sizes (24 GiB and a largest batch as second resource)",
        not_shown=(
            "interactions of factors: one is changed at a time",
            "other prices of latency, at which other thresholds are best",
        ),
    )


def pooled(found: Found, name: str) -> Sequence[tuple[str, Interval]]:
    """A variant's interval in each class."""
    return [(title, row[name]) for title, row in found.items()]


def short(found: Found) -> str:
    """The factors in the order of what they earn."""
    means = {n: [f.mean for _, f in pooled(found, f"without {n}")] for n in REMOVED}
    order = sorted(means, key=lambda n: -max(means[n]))
    phrases = [
        f"{code(name)} ({more(min(means[name]))} to {more(max(means[name]))})"
        if more(min(means[name])) != more(max(means[name]))
        else f"{code(name)} ({more(means[name][0])})"
        for name in order
    ]
    return f"By the loss without it, from class to class: {listed(phrases)}."


def factor(found: Found, name: str) -> str:
    """Gain of one factor."""
    signs = {title: clear(f) for title, f in pooled(found, f"without {name}")}
    parts = []
    for sign, verb in ((1, "lowers the loss"), (-1, "raises it")):
        phrases = [
            f"{title} (without it {more(found[title][f'without {name}'].mean)})"
            for title, s in signs.items()
            if s == sign
        ]
        if phrases:
            parts.append(f"{verb} on {listed(phrases)}")
    nothing = [title for title, sign in signs.items() if sign == 0]
    if nothing:
        parts.append(f"makes no difference that shows on {listed(nothing)}")
    return f"{name.capitalize()}: {'; '.join(parts)}."


def tail(cases: Sequence[Case]) -> str:
    """Effect of waiting in the score on the longest latencies."""
    phrases = []
    for name, spec in {"gamma 0": REMOVED["waiting (gamma 0)"], **GAMMA}.items():
        found = (case.ratio(spec, DEFAULT, "latency_p99_s") for case in cases)
        phrases.append(f"{name} {interval(mean_ratio([x for x in found if x is not None]))}")
    return (
        "The 99th percentile of latency, which waiting in the score is there for, over that at the "
        f"default gamma 0.1: {listed(phrases)}."
    )


def knob(found: Found, what: str, default: str, names: Sequence[str]) -> str:
    """Where another constant is better than the default."""
    phrases = []
    for title, row in found.items():
        best = min(names, key=lambda name: row[name].mean)
        if clear(row[best]) < 0:
            phrases.append(f"{title} ({best}: {more(row[best].mean)})")
    if not phrases:
        return (
            f"No other value of {what} that was tried is clearly better than the default {default}."
        )
    return f"Another value of {what} than the default {default} is better on {listed(phrases)}."
