"""(c) Rankings: windows of a log against generated instances, and how many requests settle one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from experiments.questions import stability
from experiments.questions.pictures import dots, lines
from experiments.questions.reading import Case, of, read, was_run
from experiments.questions.statistics import Interval, kendall, mean_ratio
from experiments.questions.words import Answer, code, interval, listed, more, table

EXPERIMENT, DEFAULTS = "ranking", "ranking_defaults"

#: Requests an instance, where sources are compared.
COMPARED = 100

#: Sources by what the page calls them.
SOURCES = {"trace": "the log", "plain": "plain generated", "calibrated": "calibrated generated"}

#: The policy that chooses steps itself.
OWN = "price-index"

#: By policy: mean loss over the best policy of the instance.
Scores = Mapping[str, Interval]


def answer() -> Answer:
    """The answer."""
    cases, own = read(EXPERIMENT), read(DEFAULTS)
    equal = {s: scores(of(cases, f"{s}-n{COMPARED}")) for s in SOURCES}
    parts = {s: of(own, f"{s}-n{COMPARED}") for s in ("trace", "plain")}
    default = {s: scores(part, lambda spec: ":" not in spec) for s, part in parts.items()}
    fewest = {s: scores(part, fewest_steps) for s, part in parts.items()}
    agree = {
        SOURCES[s]: stability.agreements([c for c in cases if c.group.startswith(f"{s}-n")])
        for s in ("trace", "plain")
    }
    return Answer(
        question="How do policies rank on real traces against synthetic ones, and how many "
        "requests does a ranking need?",
        experiment=f"{EXPERIMENT}/` and `{DEFAULTS}",
        verdict=[
            short(equal, agree),
            leaders(equal),
            alike(equal),
            movers(equal),
            own_steps(equal, default),
            without_steps(fewest),
            stability.sentence(agree),
        ],
        tables=[ranked(equal, default, fewest), stability.shown(agree)],
        pictures=[
            dots(
                "ranking",
                {
                    f"{COMPARED} requests, same rule for steps": {
                        SOURCES[s]: {name: equal[s][name] for name in in_order(equal["trace"])}
                        for s in SOURCES
                    }
                },
                x="loss / best policy of the instance",
                caption="Mean loss of each policy over the best policy of the instance, by source",
            ),
            lines(
                "ranking-stability",
                {
                    source: {
                        stability.instances(m): [
                            (float(n), by_m[m].tau) for n, by_m in by_length.items() if m in by_m
                        ]
                        for m in stability.SAMPLES
                    }
                    for source, by_length in agree.items()
                },
                x="requests an instance",
                y="Kendall's tau with the reference",
                caption="Agreement of a ranking by some instances of n requests with the reference",
                log="x",
                reference=stability.SETTLED,
            ),
        ],
        ran=f"{was_run([*cases, *own])}; all at one request every 5 s on average, under the "
        "profile `production`, with 30 or 15 steps; windows of the log share no request with "
        "others of their length; at the same rule for steps prompts of low complexity get 15 "
        f"(but {code(OWN)} chooses steps itself)",
        not_shown=(
            "other logs: this one has 2,232 requests with adapters, so windows of different "
            "lengths share requests, and its ranking at one length is not independent of that at "
            "another",
            "the log at its own, light load",
            "other prices, profiles and several GPUs",
        ),
    )


def fewest_steps(spec: str) -> bool:
    """Whether a run gives every request the fewest steps, or chooses steps itself."""
    return "option=fewest" in spec or spec in ("pats:threshold=1", OWN)


def scores(
    cases: Sequence[Case], chosen: Callable[[str], bool] = lambda _: True
) -> dict[str, Interval]:
    """Each chosen policy's mean loss over the best of them on the instance."""
    specs, found = stability.logs(cases, chosen)
    columns = np.exp(found).T.tolist()
    return {s.partition(":")[0]: mean_ratio(c) for s, c in zip(specs, columns, strict=True)}


def in_order(rows: Scores) -> list[str]:
    """The policies, best first."""
    return sorted(rows, key=lambda name: rows[name].mean)


def tau_of(first: Scores, second: Scores) -> float:
    """Agreement of two rankings, over the policies in both."""
    names = [name for name in first if name in second]
    means = [np.array([rows[name].mean for name in names]) for rows in (first, second)]
    return kendall(means[0], means[1])


def short(equal: Mapping[str, Scores], agree: Mapping[str, stability.Agreements]) -> str:
    """Agreement of sources, and what settles a ranking."""
    plain, calibrated = (tau_of(equal["trace"], equal[s]) for s in ("plain", "calibrated"))
    settled = listed(f"{stability.cheapest(a)} on {source}" for source, a in agree.items())
    return (
        f"The rankings on the log and on generated instances agree with Kendall's tau {plain:.2f} "
        f"(plain) and {calibrated:.2f} (calibrated to the log); a ranking within tau "
        f"{stability.SETTLED} of the reference takes {settled} instances."
    )


def leaders(equal: Mapping[str, Scores]) -> str:
    """The best three of each source, at the same rule for steps."""
    best = [
        f"{SOURCES[source]}: "
        + listed(f"{code(name)} {interval(rows[name])}" for name in in_order(rows)[:3])
        for source, rows in equal.items()
    ]
    return (
        f"Best at the same rule for steps, loss over the instance's best policy: {'; '.join(best)}."
    )


def alike(equal: Mapping[str, Scores]) -> str:
    """Number of policies that cannot be told from their neighbour in the ranking of the log."""
    rows = [equal["trace"][name] for name in in_order(equal["trace"])]
    pairs = list(pairwise(rows))
    overlap = sum(a.high >= b.low for a, b in pairs)
    return (
        f"On the log {overlap} of {len(pairs)} neighbours in the ranking have intervals that "
        f"overlap, while the last loses {more(rows[-1].mean / rows[0].mean)} than the first."
    )


def movers(equal: Mapping[str, Scores]) -> str:
    """The policies whose place differs most."""
    log, plain = in_order(equal["trace"]), in_order(equal["plain"])
    most = sorted(log, key=lambda name: -abs(plain.index(name) - log.index(name)))[:3]
    texts = [
        f"{code(name)} ({log.index(name) + 1} on the log, {plain.index(name) + 1} plain)"
        for name in most
    ]
    return (
        f"Places that differ most between the log and plain generated instances: {listed(texts)}."
    )


def own_steps(equal: Mapping[str, Scores], default: Mapping[str, Scores]) -> str:
    """What the policies' own defaults change."""
    rows, same = default["trace"], in_order(equal["trace"])
    first, second = in_order(rows)[:2]
    ahead = rows[second].mean / rows[first].mean
    pats = in_order(rows).index("pats") + 1
    return (
        f"With every policy at its defaults (own step counts and bounds on waiting) {code(first)} "
        f"leads on the log, and the next one, {code(second)}, loses {more(ahead)}; `pats`, which "
        f"prunes by default, is on place {pats} of {len(rows)}, and at the same rule for steps on "
        f"place {same.index('pats') + 1} of {len(same)}. The two rankings agree with tau "
        f"{tau_of(equal['trace'], rows):.2f}, and the defaults' ranking with its own on plain "
        f"generated instances with {tau_of(rows, default['plain']):.2f}."
    )


def without_steps(fewest: Mapping[str, Scores]) -> str:
    """What is left between policies where none can gain by its choice of steps."""
    texts = []
    for source, rows in fewest.items():
        order = in_order(rows)
        rivals = [name for name in order if name != OWN]
        texts.append(
            f"on {SOURCES[source]} {code(OWN)}, which chooses steps itself, is on place "
            f"{order.index(OWN) + 1} of {len(order)} and loses "
            f"{more(rows[OWN].mean / rows[rivals[0]].mean)} than {code(rivals[0])}"
        )
    return f"With the fewest steps for every request: {'; '.join(texts)}."


def ranked(
    equal: Mapping[str, Scores], default: Mapping[str, Scores], fewest: Mapping[str, Scores]
) -> list[str]:
    """The table of losses."""
    columns = {
        **{f"{SOURCES[s]}, same rule": rows for s, rows in equal.items()},
        **{f"{SOURCES[s]}, defaults": rows for s, rows in default.items()},
        **{f"{SOURCES[s]}, fewest steps": rows for s, rows in fewest.items()},
    }
    order = in_order(equal["trace"])
    order += [name for name in in_order(default["trace"]) if name not in order]
    return table(
        [f"loss / best policy, {COMPARED} requests", *columns],
        (
            [name, *(interval(rows[name]) if name in rows else "" for rows in columns.values())]
            for name in order
        ),
    )
