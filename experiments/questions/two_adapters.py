"""(a) Two adapters: when to leave a queue, against the offline and the online optimum."""

from __future__ import annotations

import math
from collections.abc import Sequence

from experiments.questions.online import given_away, with_both
from experiments.questions.pictures import lines
from experiments.questions.reading import Case, groups, number, ratios, read, was_run
from experiments.questions.statistics import Interval, mean_ratio
from experiments.questions.words import (
    Answer,
    clear,
    code,
    interval,
    listed,
    more,
    plain,
    ratio,
    table,
)

EXPERIMENT = "two_adapters"
OPTIMUM = "exact"

#: Policies by what the page calls them.
POLICIES = {
    "amortized": "amortized:max_wait_s=null",
    "amortized, bound 60 s": "amortized",
    "exhaustive": "exhaustive",
    "gated": "gated",
    "fifo": "fifo",
    "family-index": "family-index",
    "patient": "patient:max_wait_s=null",
    "price-index": "price-index",
}
ASKED = "amortized"

#: What they are called on the systems whose online optimum is known, which have one option too.
ONLINE = {
    "price-index": "price-index",
    "family-index": "family-index:option=fewest",
    "exhaustive": "exhaustive:option=fewest",
    "amortized, bound 60 s": "amortized:option=fewest",
    "gated": "gated:option=fewest",
}

#: Mean loss over the optimum up to which a rule is called enough.
ENOUGH = 1.1

ALONE, BATCHED = "one at a time", "batches of up to four"


def answer() -> Answer:
    """The answer."""
    cases = proven(read(EXPERIMENT))
    parts = {
        ALONE: [case for case in cases if not case.group.startswith("batch")],
        BATCHED: [case for case in cases if case.group.startswith("batch")],
    }
    found = {title: by_switch(part) for title, part in parts.items()}
    return Answer(
        question="Two adapters: is it enough to serve for a switch's cost and then leave if "
        "demand justifies it?",
        experiment=EXPERIMENT,
        verdict=[
            short(found),
            *(sentence(title, rows) for title, rows in found.items()),
            bound(cases),
            online(),
        ],
        tables=[shown(title, rows) for title, rows in found.items()],
        pictures=[
            lines(
                "two-adapters",
                {
                    title: {
                        name: [(r, row[name]) for r, row in rows.items() if name in row]
                        for name in POLICIES
                        if name in next(iter(rows.values()))
                    }
                    for title, rows in found.items()
                },
                x="switch time / service time",
                y="loss / optimum",
                caption="Mean loss over the proven optimum by switch time over service time",
                log="xy",
            )
        ],
        ran=f"{was_run(cases)}, Poisson and bursty arrivals (coefficient of variation 3), one "
        "option a request, no price on switching itself, so that only latency counts; the optimum "
        "is proven on all of them",
        not_shown=(
            "what an online policy could reach at best on these very instances: the optimum knows "
            "every arrival to come",
            "requests of unequal weight or length, where leaving a queue before it is empty may "
            "pay even one at a time",
            "long runs: at the largest ratios an instance holds only a few rounds",
            "loads other than those named in `suite.toml`, where a round has about 12 requests "
            "(24 in batches)",
        ),
    )


def proven(cases: Sequence[Case]) -> list[Case]:
    """Those whose optimum is proven."""
    return [c for c in cases if c.rows.get(OPTIMUM, {}).get("point") == "optimal"]


def by_switch(cases: Sequence[Case]) -> dict[float, dict[str, Interval]]:
    """By switch time over service time, each policy's mean loss over the optimum."""
    found: dict[float, dict[str, Interval]] = {}
    for r in sorted({number(group, "r") for group in groups(cases)}):
        mine = [case for case in cases if number(case.group, "r") == r]
        measured = {name: ratios(mine, spec, OPTIMUM) for name, spec in POLICIES.items()}
        found[r] = {name: mean_ratio(values) for name, values in measured.items() if values}
    return found


def short(found: dict[str, dict[float, dict[str, Interval]]]) -> str:
    """The ratios at which the rule is enough."""
    phrases = []
    for title, rows in found.items():
        good = [r for r, row in rows.items() if row[ASKED].mean <= ENOUGH]
        if len(good) == len(rows):
            phrases.append(f"yes {title}, within {more(ENOUGH).split(' more')[0]} at every ratio")
        elif good:
            phrases.append(f"{title} only at switch/service {listed(map(plain, good))}")
        else:
            phrases.append(f"{title} nowhere")
    return (
        f"If enough means a mean loss within {100 * (ENOUGH - 1):.0f} % of the offline optimum: "
        f"{'; '.join(phrases)}. {nearest(found)}"
    )


def nearest(found: dict[str, dict[float, dict[str, Interval]]]) -> str:
    """The policy nearest to the optimum over all ratios."""
    means = {
        name: [row[name].mean for rows in found.values() for row in rows.values()]
        for name in POLICIES
    }
    best = min(means, key=lambda name: math.fsum(map(math.log, means[name])))
    return (
        f"Nearest over all is {code(best)}, at {ratio(min(means[best]))} to "
        f"{ratio(max(means[best]))} times the optimum."
    )


def sentence(title: str, rows: dict[float, dict[str, Interval]]) -> str:
    """Distance of the rule from the optimum, and the policy that is nearest."""
    asked = {r: row[ASKED].mean for r, row in rows.items()}
    worst = max(asked, key=lambda r: asked[r])
    best = min(asked, key=lambda r: asked[r])
    near: dict[str, list[str]] = {}
    for r, row in rows.items():
        lowest = min(found.mean for found in row.values())
        for name, found in row.items():
            if found.mean <= lowest + 0.005:
                near.setdefault(name, []).append(plain(r))
    who = [
        f"{code(name)} (at {'every ratio' if len(places) == len(rows) else listed(places)})"
        for name, places in near.items()
    ]
    return (
        f"{title.capitalize()}, {code(ASKED)} loses {ratio(asked[best])} times the optimum at its "
        f"best (ratio {plain(best)}) and {ratio(asked[worst])} times at its worst (ratio "
        f"{plain(worst)}). Nearest to the optimum, to within 0.005: {'; '.join(who)}."
    )


def bound(cases: Sequence[Case]) -> str:
    """Cost of the default bound on waiting."""
    phrases = []
    for r in sorted({number(case.group, "r") for case in cases}):
        mine = [case for case in cases if number(case.group, "r") == r]
        cost = mean_ratio(ratios(mine, "amortized", "amortized:max_wait_s=null"))
        if clear(cost):
            phrases.append(f"{more(cost.mean)} at {plain(r)}")
    if not phrases:
        return "Its default bound on waiting of 60 s changes nothing that can be told from chance."
    return (
        f"Its default bound on waiting of 60 s makes it lose {listed(phrases)}; elsewhere no "
        "difference shows."
    )


def online() -> str:
    """What policies lose more than the online optimum, on systems of the same kind."""
    texts = []
    for size, title in ((1, ALONE), (4, BATCHED)):
        grid = [s for s in with_both() if s.cell.options == 1 and s.cell.batch == size]
        texts.append(f"{title} ({len(grid)} systems) {listed(given_away(grid, ONLINE))}")
    return (
        "Against the online optimum, which does not know what comes, on [systems]"
        f"(online_limit/result.md) whose switches have a price besides: {'; '.join(texts)}."
    )


def shown(title: str, rows: dict[float, dict[str, Interval]]) -> list[str]:
    """The table."""
    names = [name for name in POLICIES if any(name in row for row in rows.values())]
    return table(
        [f"switch / service, {title}", *names],
        (
            [plain(r), *(interval(row[name]) if name in row else "" for name in names)]
            for r, row in rows.items()
        ),
    )
