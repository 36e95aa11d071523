"""(b) Routing: whether C(from, to) should be weighed against demand."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.questions.pictures import dots
from experiments.questions.reading import Case, groups, of, ratios, read, was_run
from experiments.questions.statistics import Interval, mean_ratio
from experiments.questions.words import Answer, clear, interval, listed, more, table

EXPERIMENT = "routing"
BLIND = "exhaustive:route=longest"

#: Routes by what the page calls them; all leave a queue when it is empty but the last two.
ROUTES = {
    "cheapest switch": "exhaustive:route=cheapest",
    "oldest head": "exhaustive:route=oldest",
    "in turn": "exhaustive:route=cyclic",
    "cost-aware": "cost-aware",
    "cost-aware (root)": "cost-aware:power=0.5",
    "family-index": "family-index",
    "price-index": "price-index",
}
WEIGHING = ("cost-aware", "cost-aware (root)")
KNOWN = "best known"

#: Classes by what the page calls them.
CLASSES = {
    "equal": "1 s each",
    "spread": "1 / 4 / 16 s",
    "warm-cold": "2 s or 60 s",
    "popular-cold": "60 s if popular",
    "pairs": "7 s by pair",
}


def answer() -> Answer:
    """The answer."""
    cases = read(EXPERIMENT)
    found = {group: compared(of(cases, group)) for group in groups(cases)}
    return Answer(
        question="Should routing weigh the cost of the switch, C(from, to), against demand?",
        experiment=EXPERIMENT,
        verdict=[short(found), cheapest(found), best(found)],
        tables=[
            table(
                ["loss / longest queue", *(CLASSES[group] for group in found)],
                (
                    [name, *(interval(row[name]) if name in row else "" for row in found.values())]
                    for name in (*ROUTES, KNOWN)
                    if any(name in row for row in found.values())
                ),
            )
        ],
        pictures=[
            dots(
                "routing",
                {CLASSES[group]: {"": row} for group, row in found.items() if group != "equal"},
                x="loss / longest queue",
                caption="Mean loss of each route over that of the longest queue, by switching "
                "times",
            )
        ],
        ran=f"{was_run(cases)}, six adapters, batches of up to four, one option a request, no "
        "price on switching itself; `(root)`: the square root of the cost; `best known` is the "
        "lowest loss of any run, that of `auto` included",
        not_shown=(
            "costs that the policy does not know: the instance states them, and `cost-aware` only "
            "averages what it measures",
            "more adapters than six, and other loads",
        ),
    )


def compared(cases: Sequence[Case]) -> dict[str, Interval]:
    """Each route's mean loss over that of the longest queue."""
    measured = {name: ratios(cases, spec, BLIND) for name, spec in ROUTES.items()}
    measured[KNOWN] = [c.best / loss for c in cases if (loss := c.figure(BLIND)) is not None]
    return {name: mean_ratio(values) for name, values in measured.items() if values}


def short(found: dict[str, dict[str, Interval]]) -> str:
    """Where weighing helps, and where it harms."""
    helps, harms, gains = [], [], []
    for group, row in found.items():
        name = min(WEIGHING, key=lambda n: row[n].mean)
        if clear(row[name]) < 0:
            gains.append(CLASSES[group])
            helps.append(f"{CLASSES[group]} ({more(row[name].mean)} with {name})")
        harms += [
            f"{CLASSES[group]} ({more(row[n].mean)} with {n})"
            for n in WEIGHING
            if clear(row[n]) > 0
        ]
    if not helps and not harms:
        return "No difference shows between weighing it and going to the longest queue."
    phrases = [f"it lowers the loss for switches of {listed(helps)}"] if helps else []
    phrases += [f"it raises it for {listed(harms)}"] if harms else []
    same = [name for name in map(CLASSES.__getitem__, found) if name not in gains]
    phrases += [f"no gain shows for {listed(same)}"] if helps and same else []
    return f"{'Yes, where costs differ enough' if helps else 'No'}: {'; '.join(phrases)}."


def cheapest(found: dict[str, dict[str, Interval]]) -> str:
    """Loss of a rule by the cost alone."""
    signs = {group: clear(row["cheapest switch"]) for group, row in found.items()}
    words = {1: "worse", -1: "better", 0: "not clearly different"}
    phrases = [
        f"{words[sign]} for {listed(CLASSES[g] for g in found if signs[g] == sign)}"
        for sign in (1, -1, 0)
        if sign in signs.values()
    ]
    return f"The cost alone (cheapest switch first, whatever waits) is {'; '.join(phrases)}."


def best(found: dict[str, dict[str, Interval]]) -> str:
    """The best policy of each case, and what is left to the best known schedule."""
    phrases = []
    for group, row in found.items():
        policies = {name: row[name].mean for name in ROUTES if name in row} | {"longest queue": 1.0}
        first = min(policies, key=lambda name: policies[name])
        left = policies[first] / row[KNOWN].mean
        phrases.append(f"{CLASSES[group]}: {first}, {more(left)} than the best known schedule")
    return f"Lowest mean loss by case: {'; '.join(phrases)}."
