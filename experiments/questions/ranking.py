"""(c) Rankings: windows of a log against generated instances, and how many requests settle one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from experiments.questions.pictures import dots, lines
from experiments.questions.reading import Case, of, read, was_run
from experiments.questions.statistics import Floats, Interval, kendall, mean, mean_ratio
from experiments.questions.words import (
    Answer,
    code,
    interval,
    listed,
    more,
    table,
)

EXPERIMENT, DEFAULTS = "ranking", "ranking_defaults"

LENGTHS = (20, 50, 100, 200, 500)
COMPARED = 100  # requests an instance, where sources are compared
REFERENCE = (200, 500)  # lengths whose instances make the reference ranking

#: Sources by what the page calls them, and the class of a length.
SOURCES = {"trace": "the log", "plain": "plain generated", "calibrated": "calibrated generated"}

#: Instances a sample, samples of each size, and the agreement that counts as settled.
SAMPLES = (1, 2, 4, 8)
DRAWS = 400
SETTLED = 0.9

Scores = Mapping[str, Interval]


def answer() -> Answer:
    """The answer."""
    cases, own = read(EXPERIMENT), read(DEFAULTS)
    equal = {s: scores(of(cases, f"{s}-n{COMPARED}")) for s in SOURCES}
    default = {s: scores(of(own, f"{s}-n{COMPARED}")) for s in ("trace", "plain")}
    tau = {(s, n): agreement(cases, s, n) for s in ("trace", "plain") for n in LENGTHS}
    return Answer(
        question="How do policies rank on real traces against synthetic ones, and how many "
        "requests does a ranking need?",
        experiment=f"{EXPERIMENT}/` and `{DEFAULTS}",
        verdict=[
            short(equal, tau),
            leaders(equal),
            alike(equal),
            movers(equal),
            own_steps(equal, default),
            needs(tau),
        ],
        tables=[ranked(equal, default), stability(tau)],
        pictures=[
            dots(
                "ranking",
                {
                    f"{COMPARED} requests, same rule for steps": {
                        SOURCES[s]: dict(in_order(equal)[s]) for s in SOURCES
                    }
                },
                x="loss / best policy of the instance",
                caption="Mean loss of each policy over the best policy of the instance, by source",
            ),
            lines(
                "ranking-stability",
                {
                    SOURCES[s]: {
                        instances(m): [(float(n), tau[s, n][m]) for n in LENGTHS if m in tau[s, n]]
                        for m in SAMPLES
                    }
                    for s in ("trace", "plain")
                },
                x="requests an instance",
                y="Kendall's tau with the reference ranking",
                caption="Agreement of a ranking from m instances of n requests with the reference "
                "ranking; the band is the mean's interval",
                log="x",
                reference=SETTLED,
            ),
        ],
        ran=f"{was_run([*cases, *own])}; all at one request every 5 s on average, under the "
        "profile `production`, with 30 or 15 steps; windows of the log share no request with "
        "others of their length",
        not_shown=(
            "other logs: this one has 2,232 requests with adapters, so windows of different "
            "lengths share requests, and its ranking at one length is not independent of that at "
            "another",
            "the log at its own, light load",
            "other prices, profiles and several GPUs",
        ),
    )


def policy(spec: str) -> str:
    """The policy's name."""
    return spec.partition(":")[0]


def logs(cases: Sequence[Case]) -> tuple[list[str], Floats]:
    """Log loss ratios to the best policy of each case: a row a case, a column a policy."""
    names = [s for s in cases[0].rows if all(s in case.rows for case in cases)]
    best = [min(float(case.rows[s]["loss"]) for s in names) for case in cases]
    found = [
        [float(c.rows[s]["loss"]) / b for s in names] for c, b in zip(cases, best, strict=True)
    ]
    return [policy(s) for s in names], np.log(np.array(found))


def scores(cases: Sequence[Case]) -> dict[str, Interval]:
    """Each policy's mean loss over the best policy of the instance."""
    names, found = logs(cases)
    return {name: mean_ratio(np.exp(found[:, i]).tolist()) for i, name in enumerate(names)}


def tau_of(first: Scores, second: Scores) -> float:
    """Agreement of two rankings, over the policies in both."""
    names = [name for name in first if name in second]
    return kendall(
        np.array([first[n].mean for n in names]), np.array([second[n].mean for n in names])
    )


def agreement(cases: Sequence[Case], source: str, length: int) -> dict[int, Interval]:
    """Tau of the ranking from m instances of a length with the source's reference, by m.

    The reference is made of the source's longer instances, without those of the sample.
    """
    of_source = [c for c in cases if c.group.startswith(f"{source}-n")]
    names, found = logs(of_source)
    assert names
    lengths = np.array([c.requests for c in of_source])
    mine, longer = np.flatnonzero(lengths == length), np.isin(lengths, REFERENCE)
    rng = np.random.default_rng(length)
    result = {}
    for m in SAMPLES:
        if m > len(mine):
            continue
        taus = []
        for _ in range(DRAWS):
            chosen = rng.choice(mine, m, replace=False)
            rest = longer.copy()
            rest[chosen] = False
            taus.append(kendall(found[chosen].mean(axis=0), found[rest].mean(axis=0)))
        result[m] = mean(taus)
    return result


def in_order(equal: Mapping[str, Scores]) -> dict[str, list[tuple[str, Interval]]]:
    """Each source's scores in the order of the log's ranking."""
    order = sorted(equal["trace"], key=lambda name: equal["trace"][name].mean)
    return {s: [(n, rows[n]) for n in order if n in rows] for s, rows in equal.items()}


def settled(
    tau: Mapping[tuple[str, int], Mapping[int, Interval]], source: str
) -> list[tuple[int, int]]:
    """The pairs (instances, requests) whose rankings agree enough on average, cheapest first."""
    good = [
        (m, n)
        for (s, n), by_m in tau.items()
        if s == source
        for m, t in by_m.items()
        if t.mean > SETTLED
    ]
    return sorted(good, key=lambda pair: (pair[0] * pair[1], pair[0]))


def short(
    equal: Mapping[str, Scores], tau: Mapping[tuple[str, int], Mapping[int, Interval]]
) -> str:
    """Agreement of sources, and what settles a ranking."""
    plain, calibrated = (tau_of(equal["trace"], equal[s]) for s in ("plain", "calibrated"))
    parts = []
    for source in ("trace", "plain"):
        good = settled(tau, source)
        parts.append(
            f"{good[0][0]} x {good[0][1]} requests on {SOURCES[source]}"
            if good
            else f"more than was tried on {SOURCES[source]}"
        )
    return (
        f"The rankings on the log and on generated instances agree with Kendall's tau {plain:.2f} "
        f"(plain) and {calibrated:.2f} (calibrated to the log); a ranking within tau {SETTLED} of "
        f"the reference takes {listed(parts)}."
    )


def leaders(equal: Mapping[str, Scores]) -> str:
    """The best three of each source, at the same rule for steps."""
    told = []
    for source, rows in equal.items():
        best = sorted(rows, key=lambda name: rows[name].mean)[:3]
        told.append(f"{SOURCES[source]}: {listed(f'{code(n)} {interval(rows[n])}' for n in best)}")
    return (
        f"Best at the same rule for steps, loss over the instance's best policy: {'; '.join(told)}."
    )


def alike(equal: Mapping[str, Scores]) -> str:
    """How many policies cannot be told from their neighbour in the ranking of the log."""
    rows = sorted(equal["trace"].values(), key=lambda f: f.mean)
    pairs = list(pairwise(rows))
    overlap = sum(a.high >= b.low for a, b in pairs)
    return (
        f"On the log {overlap} of {len(pairs)} neighbours in the ranking have intervals that "
        f"overlap, while the last loses {more(rows[-1].mean / rows[0].mean)} than the first."
    )


def movers(equal: Mapping[str, Scores]) -> str:
    """The policies whose place differs most."""
    places = {
        s: {n: i + 1 for i, n in enumerate(sorted(rows, key=lambda n: rows[n].mean))}
        for s, rows in equal.items()
    }
    shift = {
        n: places["plain"][n] - place
        for n, place in places["trace"].items()
        if n in places["plain"]
    }
    most = sorted(shift, key=lambda n: -abs(shift[n]))[:3]
    told = [
        f"{code(n)} ({places['trace'][n]} on the log, {places['plain'][n]} plain)" for n in most
    ]
    return f"Places that differ most between the log and plain generated instances: {listed(told)}."


def own_steps(equal: Mapping[str, Scores], default: Mapping[str, Scores]) -> str:
    """What the policies' own defaults change."""
    rows = default["trace"]
    first, second = sorted(rows, key=lambda name: rows[name].mean)[:2]
    order = sorted(equal["trace"], key=lambda name: equal["trace"][name].mean)
    place = order.index(first) + 1
    ahead = rows[second].mean / rows[first].mean
    return (
        f"With every policy at its defaults (own step counts and bounds on waiting) {code(first)} "
        f"leads on the log, the next one, {code(second)}, loses {more(ahead)}; at the same rule "
        f"for steps it is on place {place} of {len(order)}. The ranking agrees with that at the "
        f"same rule with tau {tau_of(equal['trace'], rows):.2f}, and with its own on plain "
        f"generated instances with {tau_of(rows, default['plain']):.2f}."
    )


def needs(tau: Mapping[tuple[str, int], Mapping[int, Interval]]) -> str:
    """Whether length or number settles a ranking."""
    told = []
    for source in ("trace", "plain"):
        good = settled(tau, source)
        one = [n for n in LENGTHS if tau[source, n].get(1) and tau[source, n][1].mean > SETTLED]
        last = tau[source, LENGTHS[-1]][1].mean
        told.append(
            f"on {SOURCES[source]} "
            + (
                f"{listed(f'{m} x {n}' for m, n in good[:3])} suffice"
                if good
                else "none of them does"
            )
            + (
                f", one instance alone from {one[0]} requests on"
                if one
                else f", while one instance of {LENGTHS[-1]} reaches {last:.2f}"
            )
        )
    return (
        f"Of samples of {listed(map(str, SAMPLES))} instances of {listed(map(str, LENGTHS))} "
        f"requests: {'; '.join(told)}."
    )


def ranked(equal: Mapping[str, Scores], default: Mapping[str, Scores]) -> list[str]:
    """The table of losses."""
    columns = {
        **{f"{SOURCES[s]}, same rule": rows for s, rows in equal.items()},
        **{f"{SOURCES[s]}, defaults": rows for s, rows in default.items()},
    }
    every = {name for rows in columns.values() for name in rows}
    order = [name for name, _ in in_order(equal)["trace"]]
    order += sorted(every - set(order), key=lambda n: default["trace"][n].mean)
    return table(
        [f"loss / best policy, {COMPARED} requests", *columns],
        (
            [name, *(interval(rows[name]) if name in rows else "" for rows in columns.values())]
            for name in order
        ),
    )


def instances(count: int) -> str:
    """A number of instances in words."""
    return f"{count} instance{'s' if count > 1 else ''}"


def stability(tau: Mapping[tuple[str, int], Mapping[int, Interval]]) -> list[str]:
    """The table of agreement."""
    return table(
        ["tau with the reference", "requests", *(instances(m) for m in SAMPLES)],
        (
            [SOURCES[s], str(n), *(f"{by_m[m].mean:.2f}" if m in by_m else "" for m in SAMPLES)]
            for (s, n), by_m in tau.items()
        ),
    )
