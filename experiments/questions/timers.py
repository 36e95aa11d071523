"""(d) Timers: whether waiting at an empty queue pays over deciding at events."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.questions.pictures import lines
from experiments.questions.reading import Case, number, ratios, read, was_run
from experiments.questions.statistics import Interval, mean_ratio
from experiments.questions.words import Answer, clear, code, interval, listed, more, plain, table

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

Place = tuple[float, float]  # switch time / service time, load


def answer() -> Answer:
    """The answer."""
    cases = read(EXPERIMENT)
    found = by_place(cases)
    return Answer(
        question="Does a timer help over decisions at events?",
        experiment=EXPERIMENT,
        verdict=[short(found), *by_timer(found)],
        tables=[
            table(
                [
                    "switch / service",
                    "load",
                    *(name for name in (*TIMERS, *OTHERS) if name in known(found)),
                ],
                (
                    [
                        plain(r),
                        plain(load),
                        *(interval(row[n]) for n in (*TIMERS, *OTHERS) if n in row),
                    ]
                    for (r, load), row in found.items()
                ),
            )
        ],
        pictures=[
            lines(
                "timers",
                {
                    f"switch / service {plain(r)}": {
                        name: [
                            (load, row[name])
                            for (at, load), row in found.items()
                            if at == r and name in row
                        ]
                        for name in (*TIMERS, *OTHERS)
                        if name in known(found)
                    }
                    for r in sorted({at for at, _ in found})
                },
                x="load",
                y="loss / drain-first",
                caption="Mean loss with a timer over that of drain-first, by load",
                log="y",
            )
        ],
        ran=f"{was_run(cases)}, four adapters, Poisson arrivals, batches of one, one option a "
        "request, "
        "no price on switching itself and no bound on waiting; C is the time to load the adapter "
        "again",
        not_shown=(
            "arrivals that come in sessions, where an empty queue tells that its session goes on",
            "batches above one",
        ),
    )


def known(found: dict[Place, dict[str, Interval]]) -> set[str]:
    """The policies that were run."""
    return {name for row in found.values() for name in row}


def by_place(cases: Sequence[Case]) -> dict[Place, dict[str, Interval]]:
    """Each policy's mean loss over that of deciding at events, by ratio and load."""
    places = sorted({(number(c.group, "r"), number(c.group, "load")) for c in cases})
    found = {}
    for r, load in places:
        mine = [c for c in cases if (number(c.group, "r"), number(c.group, "load")) == (r, load)]
        measured = {n: ratios(mine, s, EVENTS) for n, s in (TIMERS | OTHERS).items()}
        found[r, load] = {name: mean_ratio(values) for name, values in measured.items() if values}
    return found


def short(found: dict[Place, dict[str, Interval]]) -> str:
    """Where any timer helps, where all harm."""
    helps = {
        place: min((row[n].mean, n) for n in TIMERS if clear(row[n]) < 0)
        for place, row in found.items()
        if any(clear(row[n]) < 0 for n in TIMERS)
    }
    harmed = sum(any(clear(row[n]) > 0 for n in TIMERS) for row in found.values())
    if not helps:
        return (
            f"No: at none of {len(found)} pairs of load and switch time does any of "
            f"{len(TIMERS)} timers "
            f"lower the loss; at {harmed} some raise it."
        )
    (r, load), (gain, name) = min(helps.items(), key=lambda item: item[1])
    return (
        f"{'Yes' if len(helps) * 2 > len(found) else 'Seldom'}: at {len(helps)} of {len(found)} "
        "pairs of "
        f"load and switch time some timer lowers the loss, most at switch/service {plain(r)} and "
        "load "
        f"{plain(load)} ({more(gain)} with {name}); at {harmed} some timer raises it."
    )


def by_timer(found: dict[Place, dict[str, Interval]]) -> list[str]:
    """For each timer, where it helps and where it harms."""
    told = []
    for name in (n for n in (*TIMERS, *OTHERS) if n in known(found)):
        signs = {place: clear(row[name]) for place, row in found.items()}
        parts = [
            f"{verb} at {_places(place for place in found if signs[place] == sign)}"
            for sign, verb in ((-1, "lowers the loss"), (1, "raises it"))
            if sign in signs.values()
        ]
        means = [row[name].mean for row in found.values()]
        label = f"A timer of {name}" if name in TIMERS else code(name)
        told.append(
            f"{label} {' and '.join(parts) if parts else 'makes no difference that shows'} "
            f"(between {more(min(means))} and {more(max(means))})."
        )
    return told


def _places(places: object) -> str:
    found: dict[float, list[str]] = {}
    for r, load in places:  # type: ignore[attr-defined]
        found.setdefault(r, []).append(plain(load))
    return listed(f"ratio {plain(r)} (load {listed(loads)})" for r, loads in found.items())
