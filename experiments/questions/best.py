"""Which policy loses least against the proven optimum, and where ours does not."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from experiments.questions.online import given_away, with_both
from experiments.questions.reading import Case, groups, of, ratios, read, was_run
from experiments.questions.statistics import Interval, mean, mean_ratio
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

EXPERIMENT = "generated"
SOURCES = {"generated": "generated suites", "trace": "slices of the log"}
OPTIMUM, OURS = "auto", "price-index"

#: Parts of the loss that the instances price, by column.
TERMS = {"loss_quality": "quality", "loss_latency": "latency", "loss_switching": "switching"}


def answer() -> Answer:
    """The answer."""
    parts = {title: proven(read(folder)) for folder, title in SOURCES.items()}
    cases = [case for part in parts.values() for case in part]
    order = ranked(cases)
    return Answer(
        question="Which policy loses least?",
        experiment=EXPERIMENT,
        verdict=[
            short(order),
            *(sentence(title, part) for title, part in parts.items()),
            steps(order),
            where(cases, order),
            why(cases),
            online(),
        ],
        tables=[shown(order, parts), terms(cases)],
        ran=f"{was_run(cases)}: {listed(f'{len(p)} {t}' for t, p in parts.items())}, those with a "
        "proven optimum; the second folder is `trace/`",
        not_shown=(
            "other prices of latency, quality and switching: they decide how many steps are worth "
            "their time",
            "instances of more than 40 requests, where no optimum is at hand: see the rankings",
        ),
    )


def online() -> str:
    """What of the excess over the offline optimum is the policies', on systems with both optima."""
    grid = with_both()
    saved = mean([system.future() for system in grid])
    given = given_away(grid, {name: name for name in (OURS, "exhaustive:option=fewest", "pats")})
    return (
        f"Mean loss against the online optimum, where that is known ({len(grid)} systems of "
        f"[two adapters](online_limit/result.md)): {listed(given)}. The offline optimum has "
        f"{100.0 * saved.mean:.0f} % less loss than the online one, as it knows the future."
    )


def proven(cases: Sequence[Case]) -> list[Case]:
    """Those whose optimum is proven."""
    return [c for c in cases if c.rows.get(OPTIMUM, {}).get("point") == "optimal"]


def ranked(cases: Sequence[Case]) -> dict[str, Interval]:
    """Each policy's mean loss over the optimum, lowest first; only those that solve every case."""
    specs = dict.fromkeys(spec for case in cases for spec in case.rows if spec != OPTIMUM)
    found = {spec: ratios(cases, spec, OPTIMUM) for spec in specs}
    means = {s: mean_ratio(values) for s, values in found.items() if len(values) == len(cases)}
    return dict(sorted(means.items(), key=lambda item: item[1].mean))


def short(order: dict[str, Interval]) -> str:
    """Who is first, with its defaults and over all."""
    plainly = [spec for spec in order if ":" not in spec]
    texts = [f"{code(spec)} {more(order[spec].mean)}" for spec in plainly[:3]]
    best = next(iter(order))
    beyond = (
        ""
        if best == plainly[0]
        else f"; with other step rules {code(best)} {more(order[best].mean)}"
    )
    return (
        "With their defaults, mean loss against the offline optimum, which knows all arrivals: "
        f"{listed(texts)}{beyond}. Against the best online policy, where that is known: "
        f"{listed(given_away(with_both(), {OURS: OURS, 'pats': 'pats'}))}."
    )


def sentence(title: str, cases: Sequence[Case]) -> str:
    """The first ones of a source, and how often ours is the best of all policies there."""
    order = ranked(cases)
    first = [f"{code(spec)} {interval(found)}" for spec, found in list(order.items())[:4]]
    policies = [spec for spec in order if spec != OURS]
    wins = sum(
        all((case.figure(OURS) or 0.0) <= (case.figure(s) or 0.0) for s in policies)
        for case in cases
    )
    return (
        f"On {title}, mean loss over the offline optimum: {listed(first)}. {code(OURS)} has "
        f"the lowest loss of all on {wins} of {len(cases)} instances."
    )


def steps(order: dict[str, Interval]) -> str:
    """What the step rule is worth to an order rule."""
    texts = []
    for spec, found in order.items():
        name, _, rule = spec.partition(":option=")
        if rule and name in order:
            change = more(found.mean / order[name].mean)
            texts.append(f"{code(spec)} has {change} loss than {code(name)}")
    return f"How many steps a request gets weighs as much as the order: {listed(texts)}."


def where(cases: Sequence[Case], order: dict[str, Interval]) -> str:
    """On which classes another policy has the lower mean."""
    texts = []
    for group in groups(cases):
        mine = of(cases, group)
        means = {
            spec: mean_ratio([case.ratio(spec, OURS) or 1.0 for case in mine])
            for spec in order
            if spec != OURS
        }
        best = min(means, key=lambda spec: means[spec].mean)
        if means[best].mean < 1.0:
            sure = "" if clear(means[best]) else ", not clearly"
            texts.append(f"{group} ({code(best)} {more(means[best].mean)}{sure})")
    if not texts:
        return f"No class has a policy of lower mean loss than {code(OURS)}."
    return f"Classes on which another policy has the lower mean loss: {'; '.join(texts)}."


def why(cases: Sequence[Case]) -> str:
    """Which part of the loss the excess over the optimum is made of."""
    excess = {
        name: fmean(part(c, OURS, t) - part(c, OPTIMUM, t) for c in cases)
        for t, name in TERMS.items()
    }
    total = sum(excess.values())
    texts = [f"{name} {100 * share / total:.0f} %" for name, share in excess.items()]
    switches = [fmean(case.figure(s, "switches") or 0.0 for case in cases) for s in (OURS, OPTIMUM)]
    return (
        f"The excess of {code(OURS)} over the offline optimum is made of {listed(texts)}: it "
        f"switches {plain(round(switches[0], 1))} times an instance where the optimum, which knows "
        f"who comes next, switches {plain(round(switches[1], 1))} times."
    )


def part(case: Case, solver: str, column: str) -> float:
    """A part of a solver's loss, over the optimum."""
    return (case.figure(solver, column) or 0.0) / (case.figure(OPTIMUM) or 1.0)


def shown(order: dict[str, Interval], parts: dict[str, list[Case]]) -> list[str]:
    """The table of all policies."""
    by_part = {title: ranked(cases) for title, cases in parts.items()}
    both = [case for cases in parts.values() for case in cases]
    return table(
        ["loss / offline optimum", "all", *by_part, "worst", f"against `{OURS}`"],
        (
            [
                spec,
                interval(found),
                *(interval(means[spec]) for means in by_part.values()),
                ratio(max(ratios(both, spec, OPTIMUM))),
                interval(mean_ratio(ratios(both, spec, OURS))) if spec != OURS else "",
            ]
            for spec, found in order.items()
        ),
    )


def terms(cases: Sequence[Case]) -> list[str]:
    """The table of the loss's parts by class."""
    solvers = (OPTIMUM, OURS, "pats")
    return table(
        [
            "part of the loss / offline optimum",
            *(f"{name}: {s}" for name in TERMS.values() for s in solvers),
        ],
        (
            [
                group,
                *(
                    ratio(fmean(part(case, solver, column) for case in of(cases, group)))
                    for column in TERMS
                    for solver in solvers
                ),
            ]
            for group in groups(cases)
        ),
    )
