"""(d) Timers: whether waiting at an empty queue pays over deciding at events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from experiments.questions.pictures import lines
from experiments.questions.reading import Case, groups, number, of, ratios, read, was_run
from experiments.questions.statistics import Interval, mean_ratio
from experiments.questions.words import Answer, clear, code, interval, more, plain, table

EXPERIMENT = "timers"
EVENTS = "drain-first:max_wait_s=null"

#: Timers by what the page calls them: a multiple of the switch's time.
TIMERS = {
    "0.1 C": "patient:max_wait_s=null:patience=0.1:likely=0",
    "0.5 C": "patient:max_wait_s=null:patience=0.5:likely=0",
    "1 C": "patient:max_wait_s=null:patience=1:likely=0",
    "2 C": "patient:max_wait_s=null:patience=2:likely=0",
    "0.5 C if likely": "patient:max_wait_s=null:patience=0.5:likely=0.5",
}
OTHERS = {"price-index": "price-index"}
POLICIES = {**TIMERS, **OTHERS}


class Place(NamedTuple):
    """Where policies are compared.

    Attributes:
        popular: Whether one adapter has most of the requests.
        ratio: Switch time / service time.
        load: Load of service alone.
    """

    popular: bool
    ratio: float
    load: float

    def __str__(self) -> str:
        """The place in words."""
        who = ", one adapter popular" if self.popular else ""
        return f"switch/service {plain(self.ratio)} and load {plain(self.load)}{who}"


Found = dict[Place, dict[str, Interval]]


def answer() -> Answer:
    """The answer."""
    cases = read(EXPERIMENT)
    found = by_place(cases)
    names = [name for name in POLICIES if any(name in row for row in found.values())]
    return Answer(
        question="Does a timer help over decisions at events?",
        experiment=EXPERIMENT,
        verdict=[short(found), *(one(found, name) for name in names)],
        tables=[
            table(
                ["one adapter popular", "switch / service", "load", *names],
                (
                    [
                        "yes" if place.popular else "no",
                        plain(place.ratio),
                        plain(place.load),
                        *(interval(row[name]) for name in names),
                    ]
                    for place, row in found.items()
                ),
            )
        ],
        pictures=[
            lines(
                "timers",
                {
                    f"switch / service {plain(r)}": {
                        name: [
                            (place.load, row[name])
                            for place, row in found.items()
                            if place.ratio == r and not place.popular
                        ]
                        for name in names
                    }
                    for r in sorted({place.ratio for place in found})
                },
                x="load",
                y="loss / drain-first",
                caption="Mean loss with a timer over that of drain-first, by load",
                log="y",
            )
        ],
        ran=f"{was_run(cases)}, four adapters, Poisson arrivals, batches of one, one option a "
        "request, no price on switching itself and no bound on waiting; C is the time to load the "
        "adapter again; a timer `if likely` is set where an arrival before its end has a chance "
        "of one half or more",
        not_shown=(
            "arrivals that come in sessions, where an empty queue tells that its session goes on",
            "batches above one",
            "a price on switching itself, which makes waiting cheaper",
        ),
    )


def by_place(cases: Sequence[Case]) -> Found:
    """Each policy's mean loss over that of deciding at events."""
    found = {}
    for group in groups(cases):
        place = Place(group.startswith("popular"), number(group, "r"), number(group, "load"))
        mine = of(cases, group)
        measured = {name: ratios(mine, spec, EVENTS) for name, spec in POLICIES.items()}
        found[place] = {name: mean_ratio(values) for name, values in measured.items() if values}
    return dict(sorted(found.items()))


def short(found: Found) -> str:
    """Where any timer helps, where some harm."""
    helps = [
        (row[name].mean, place, name)
        for place, row in found.items()
        for name in TIMERS
        if clear(row[name]) < 0
    ]
    places = len({place for _, place, _ in helps})
    harmed = sum(any(clear(row[name]) > 0 for name in TIMERS) for row in found.values())
    if not helps:
        return (
            f"No: at none of {len(found)} combinations of load, switch time and popularity does "
            f"any of {len(TIMERS)} timers lower the loss; at {harmed} some raise it."
        )
    gain, place, name = min(helps)
    return (
        f"{'Yes' if places * 2 > len(found) else 'Seldom'}: at {places} of {len(found)} "
        "combinations of load, switch time and popularity some timer lowers the loss, most at "
        f"{place} ({more(gain)} with {name}); at {harmed} some timer raises it."
    )


def one(found: Found, name: str) -> str:
    """At how many places a policy is better or worse than deciding at events."""
    signs = [clear(row[name]) for row in found.values()]
    means = {place: row[name].mean for place, row in found.items()}
    low, high = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    label = f"A timer of {name}" if name in TIMERS else code(name)
    return (
        f"{label} lowers the loss at {signs.count(-1)} of {len(signs)} and raises it at "
        f"{signs.count(1)}: {more(means[low])} at {low}, {more(means[high])} at {high}."
    )
