"""(k) Two models: whether serving the old one while the new one wakes spares long runs."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.questions import two_adapters
from experiments.questions.overlap import USUAL, WAYS, online, spec_of, values
from experiments.questions.pictures import lines
from experiments.questions.reading import Case, number, ratios, read, was_run
from experiments.questions.statistics import Interval, mean_ratio
from experiments.questions.words import Answer, code, interval, listed, plain, ratio, table

EXPERIMENT = "overlap_two"

#: Policies with the longest runs and the shortest.
LONG, SHORT = "exhaustive", "fifo"

#: Visits of a few requests of one adapter.
LIMITED = "k-limited"

#: Mean latency over that of long runs up to which they are called needless.
ENOUGH = 1.1

Found = dict[float, dict[str, dict[str, Interval]]]  # ratio -> way -> policy


def answer() -> Answer:
    """The answer."""
    cases = read(EXPERIMENT)
    parts = {
        "one at a time": [case for case in cases if not case.group.startswith("batch")],
        "batches of up to four": [case for case in cases if case.group.startswith("batch")],
    }
    found = {title: by_ratio(part) for title, part in parts.items()}
    return Answer(
        question="Two models: does serving the old one while the new one wakes remove the need for "
        "long runs?",
        experiment=EXPERIMENT,
        verdict=[
            short(found),
            *(sentence(title, rows) for title, rows in found.items()),
            limited(found),
            runs(cases),
            saves(cases),
        ],
        tables=[shown(title, rows, parts[title]) for title, rows in found.items()],
        pictures=[
            lines(
                "two-models",
                {
                    f"{title}, {way}": {
                        name.partition(":")[0]: [(r, row[way][name]) for r, row in rows.items()]
                        for name in next(iter(rows.values()))[way]
                    }
                    for title, rows in found.items()
                    for way in WAYS
                },
                x="wake time / service time",
                y=f"latency / {LONG}",
                caption="Mean latency of each policy over that of long runs, by wake time over "
                "service time, with the GPU blocked by a wake and with the old model serving",
                log="xy",
            )
        ],
        ran=f"{was_run(cases)}: those of `two_adapters/`, and 200 requests at the same load of 0.7 "
        "at every ratio; no bounds on waiting; with blocking loads the GPU holds one model; beside "
        "serving it holds both while one wakes, and when that has served first the other is put "
        f"to sleep; `prefetch={USUAL}`",
        not_shown=(
            "a GPU that has room for both models all the time: it never switches again",
            "the order of more than two models, where the loader is what policies share",
            "long runs: at the largest ratios an instance holds only a few wakes",
        ),
    )


def by_ratio(cases: Sequence[Case]) -> Found:
    """By ratio, each policy's mean latency over that of long runs with the same loads."""
    return {
        r: {
            way: {
                name: mean_ratio(ratios(at(cases, r), spec_of(name, rule), spec_of(LONG, rule)))
                for name in online(cases[0])
            }
            for way, rule in WAYS.items()
        }
        for r in values(cases, "r")
    }


def at(cases: Sequence[Case], r: float) -> list[Case]:
    """The cases of one ratio."""
    return [case for case in cases if number(case.group, "r") == r]


def short(found: dict[str, Found]) -> str:
    """The ratios at which serving first come first served is as good as long runs."""
    texts, needless = [], []
    for title, rows in found.items():
        places = {
            way: [plain(r) for r, row in rows.items() if row[way][SHORT].mean <= ENOUGH]
            for way in WAYS
        }
        needless.append(len(places["beside"]) == len(rows))
        blocking, beside = (listed(places[way]) if places[way] else "none" for way in WAYS)
        texts.append(f"{title} {beside} (with blocking loads {blocking})")
    word = "Yes" if all(needless) else "In part" if any(needless) else "No"
    return (
        f"{word}. If needless means that {code(SHORT)} stays within {100 * (ENOUGH - 1):.0f} % of "
        f"{code(LONG)}, long runs are needless at these wake times over service time: "
        f"{'; '.join(texts)}."
    )


def sentence(title: str, rows: Found) -> str:
    """The spread of the policies, blocking and beside."""
    texts = []
    for way in WAYS:
        worst = {r: max(row[way].values(), key=lambda f: f.mean).mean for r, row in rows.items()}
        lowest = {r: min(row[way].values(), key=lambda f: f.mean).mean for r, row in rows.items()}
        spread = {r: worst[r] / lowest[r] for r in rows}
        most = max(spread, key=lambda r: spread[r])
        texts.append(
            f"{way} {ratio(spread[min(spread)])} times at ratio {plain(min(spread))}, "
            f"{ratio(spread[max(spread)])} at {plain(max(spread))} and at most "
            f"{ratio(spread[most])} (at {plain(most)})"
        )
    return (
        f"{title.capitalize()}, the worst policy's mean latency over the best one's: "
        f"{'; '.join(texts)}."
    )


def limited(found: dict[str, Found]) -> str:
    """How far short visits with full batches are from long runs."""
    texts = []
    for title, rows in found.items():
        blocking, beside = (max(row[way][LIMITED].mean for row in rows.values()) for way in WAYS)
        texts.append(f"{title} {ratio(blocking)} and {ratio(beside)}")
    return (
        f"Visits of at most eight requests ({code(LIMITED)}) lose at most this many times what "
        f"{code(LONG)} does, with blocking loads and beside serving: {'; '.join(texts)}."
    )


def runs(cases: Sequence[Case]) -> str:
    """How many requests are served for each wake."""
    texts = []
    for r in values(cases, "r"):
        mine = [case for case in at(cases, r) if not case.group.startswith("batch")]
        each = [
            mean_ratio(
                [case.requests / max(1.0, float(case.rows[spec]["loads"])) for case in mine]
            ).mean
            for spec in (SHORT, spec_of(SHORT, USUAL), LONG, spec_of(LONG, USUAL))
        ]
        texts.append(
            f"{ratio(each[0])} and {ratio(each[1])} ({ratio(each[2])} and {ratio(each[3])}) at "
            f"{plain(r)}"
        )
    return (
        f"The wake itself makes runs long: requests served a wake by {code(SHORT)}, blocking and "
        f"beside serving (by {code(LONG)}), one at a time: {listed(texts)}."
    )


def saves(cases: Sequence[Case]) -> str:
    """What serving the old model saves, against policies and against the blocking optimum."""
    texts = []
    for r in values(cases, "r"):
        long, first = (
            mean_ratio(ratios(at(cases, r), spec_of(name, USUAL), name)) for name in (LONG, SHORT)
        )
        texts.append(f"{ratio(first.mean)} and {ratio(long.mean)} at {plain(r)}")
    below = [x for x in over_optimum(cases) if x < 1.0]
    count = len(over_optimum(cases))
    return (
        f"Latency over that with blocking loads, of {code(SHORT)} and {code(LONG)}: "
        f"{listed(texts)}. {code(SHORT)} beside serving is below the proven optimum of blocking "
        f"loads, which knows every arrival to come, on {len(below)} of {count} instances."
    )


def over_optimum(cases: Sequence[Case]) -> list[float]:
    """Latency of short runs beside serving over the proven optimum with blocking loads."""
    proven = {
        case.name: case.figure(two_adapters.OPTIMUM, "latency_mean_s")
        for case in two_adapters.proven(read(two_adapters.EXPERIMENT))
    }
    found = []
    for case in cases:
        top, bottom = case.figure(spec_of(SHORT, USUAL)), proven.get(case.name)
        if top and bottom:
            found.append(top / bottom)
    return found


def shown(title: str, rows: Found, cases: Sequence[Case]) -> list[str]:
    """The table."""
    names = [name for name in next(iter(rows.values()))["blocking"] if name != LONG]
    return table(
        [
            f"wake / service, {title}",
            *(f"{name.partition(':')[0]} / {LONG}, {way}" for name in names for way in WAYS),
            f"{LONG}, beside / blocking",
            f"{SHORT} beside / blocking optimum",
        ],
        (
            [
                plain(r),
                *(interval(row[way][name]) for name in names for way in WAYS),
                interval(mean_ratio(ratios(at(cases, r), spec_of(LONG, USUAL), LONG))),
                interval(mean_ratio(over_optimum(at(cases, r)))),
            ]
            for r, row in rows.items()
        ),
    )
