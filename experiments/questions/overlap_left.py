"""(j) Loads beside serving: what they leave of affinity, of grouping and of larger caches."""

from __future__ import annotations

import math
from collections.abc import Sequence

from experiments.questions.overlap import (
    EXPERIMENT,
    OTHER,
    TYPICAL_S,
    WAYS,
    at,
    generated,
    of_kind,
    spec_of,
    values,
)
from experiments.questions.pictures import lines
from experiments.questions.reading import Case, number, ratios, read, was_run
from experiments.questions.statistics import Interval, mean_ratio
from experiments.questions.words import (
    Answer,
    code,
    interval,
    listed,
    more,
    plain,
    ratio,
    table,
)

#: Orders that favour what is resident or active: what ``fifo`` loses over theirs is their value.
ORDERS = ("affinity", "exhaustive", "cost-aware", "price-index")

#: Seconds of service of a generated request.
SERVICE_S = 3.6

BATCHES = {"batch4documents": "the same for any batch", "batch4production": "measured"}


def answer() -> Answer:
    """The answer."""
    cases = read(EXPERIMENT)
    made, log = generated(cases), of_kind(cases, "log")
    batches = {title: of_kind(cases, kind) for kind, title in BATCHES.items()}
    return Answer(
        question="What do loads beside serving leave of the value of affinity, grouping and larger "
        "caches?",
        experiment=EXPERIMENT,
        verdict=[
            short(made, log),
            affinity(made, log),
            caches(made, log),
            grouping(batches),
            cold(made),
        ],
        tables=[orders(made, log), sizes(made, log), groups_table(batches)],
        pictures=[
            lines(
                "overlap-affinity",
                {
                    title: {
                        f"{k:g} residents": [
                            (s, mean_ratio(value(at(made, s=s, k=k), "affinity", rule)))
                            for s in values(made, "s")
                        ]
                        for k in values(made, "k")
                    }
                    for title, rule in WAYS.items()
                },
                x="seconds of a load",
                y="latency of fifo / affinity",
                caption="What fifo loses over affinity, by load time, with blocking loads and with "
                "loads beside serving",
                log="xy",
            )
        ],
        ran=f"the runs of the question before, {was_run(cases)}; what is left is in logarithms: 0 "
        "% where both orders lose the same, 100 % where loads beside serving change nothing",
        not_shown=(
            "requests that differ in length or weight, whose order has a value of its own",
            "batches larger than four, and step times other than these two",
            "adapters whose popularity changes",
        ),
    )


def value(cases: Sequence[Case], order: str, rule: str) -> list[float]:
    """Latency of ``fifo`` over that of an order, both with the same loads."""
    return ratios(cases, spec_of("fifo", rule), spec_of(order, rule))


def larger(cases: Sequence[Case], policy: str, rule: str, few: float, many: float) -> list[float]:
    """Latency with many residents over that with few, on the same arrivals."""
    spec, found = spec_of(policy, rule), []
    known = {(case.group, case.name): case for case in cases}
    for case in at(cases, k=few):
        other = known[case.group.replace(f"-k{few:g}", f"-k{many:g}"), case.name]
        top, bottom = other.figure(spec), case.figure(spec)
        if top and bottom:
            found.append(top / bottom)
    return found


def left(before: Interval, after: Interval) -> str:
    """How much of a ratio's distance from 1 is left, in logarithms."""
    return f"{round(100 * math.log(after.mean) / math.log(before.mean))} %"


def short(made: Sequence[Case], log: Sequence[Case]) -> str:
    """What is left of affinity over all."""
    texts = []
    for where, cases in (("on generated instances", made), ("on the log", log)):
        before, after = (mean_ratio(value(cases, "affinity", rule)) for rule in WAYS.values())
        other = mean_ratio(value(cases, "affinity", OTHER))
        texts.append(
            f"{where} `fifo` loses {ratio(before.mean)} times what `affinity` does with blocking "
            f"loads and {ratio(after.mean)} times beside serving ({left(before, after)} left; "
            f"{ratio(other.mean)} times with `prefetch={OTHER}`)"
        )
    return f"Of affinity: {'; '.join(texts)}."


def affinity(made: Sequence[Case], log: Sequence[Case]) -> str:
    """How much of the orders' value is left, by load time and on the log."""
    texts = []
    for name in ORDERS:
        parts = []
        for where, cases in (
            *((f"at {plain(s)} s", at(made, s=s)) for s in (TYPICAL_S, max(values(made, "s")))),
            ("on the log", log),
        ):
            before, after = (mean_ratio(value(cases, name, rule)) for rule in WAYS.values())
            parts.append(
                f"{ratio(before.mean)} and {ratio(after.mean)} {where} ({left(before, after)} left)"
            )
        texts.append(f"over {code(name)} {listed(parts)}")
    return (
        "What `fifo` loses, in times, with blocking loads and beside serving (in brackets, how "
        f"much of it is left, in logarithms): {'; '.join(texts)}."
    )


def caches(made: Sequence[Case], log: Sequence[Case]) -> str:
    """What a larger cache is worth, blocking and beside."""
    texts = []
    for where, cases in (
        *((f"loads of {plain(s)} s", at(made, s=s)) for s in (TYPICAL_S, max(values(made, "s")))),
        ("the log", log),
    ):
        few, *_, many = values(cases, "k")
        each = []
        for policy in ("fifo", "affinity"):
            before, after = (
                mean_ratio(larger(cases, policy, rule, few, many)) for rule in WAYS.values()
            )
            each.append(
                f"{code(policy)} {more(before.mean)} and {more(after.mean)} "
                f"({left(before, after)} left)"
            )
        texts.append(f"{where}: {listed(each)}")
    return (
        f"{many:g} residents in place of {few:g} change mean latency, with blocking loads and "
        f"beside serving, by: {'; '.join(texts)}."
    )


def grouping(batches: dict[str, list[Case]]) -> str:
    """What grouping by adapter is worth in batches of up to four."""
    texts = []
    for title, cases in batches.items():
        before, after = (mean_ratio(value(cases, "fcfs-grouped", rule)) for rule in WAYS.values())
        texts.append(
            f"step time {title}: `fifo` loses {ratio(before.mean)} and {ratio(after.mean)} times "
            f"what `fcfs-grouped` does ({left(before, after)} left)"
        )
    return (
        "Grouping requests by adapter in batches of up to four, with blocking loads and beside "
        f"serving, {'; '.join(texts)}."
    )


def orders(made: Sequence[Case], log: Sequence[Case]) -> list[str]:
    """What ``fifo`` loses over each order, by load time."""
    rows = [(f"{plain(s)} s", at(made, s=s)) for s in values(made, "s")] + [("the log's", log)]
    return table(
        [
            "latency of fifo / of",
            *(f"{name}, {way}" for name in ORDERS for way in WAYS),
        ],
        (
            [
                title,
                *(
                    interval(mean_ratio(value(cases, name, rule)))
                    for name in ORDERS
                    for rule in WAYS.values()
                ),
            ]
            for title, cases in rows
        ),
    )


def sizes(made: Sequence[Case], log: Sequence[Case]) -> list[str]:
    """What larger caches are worth, by load time."""
    rows = [(f"{plain(s)} s", at(made, s=s)) for s in values(made, "s")] + [("the log's", log)]
    few, *more_ = values(made, "k")
    wanted = [(name, k) for name in ("fifo", "affinity") for k in more_]
    return table(
        [
            f"latency / {plain(few)} residents",
            *(f"{name}, {plain(k)}, {way}" for name, k in wanted for way in WAYS),
        ],
        (
            [
                title,
                *(
                    interval(mean_ratio(larger(cases, name, rule, few, k)))
                    for name, k in wanted
                    for rule in WAYS.values()
                ),
            ]
            for title, cases in rows
        ),
    )


def groups_table(batches: dict[str, list[Case]]) -> list[str]:
    """What grouping is worth in batches, by load and load time."""
    return table(
        ["step time", "load", "load time", *(f"fifo / fcfs-grouped, {way}" for way in WAYS)],
        (
            [
                title,
                plain(load),
                f"{plain(s)} s",
                *(
                    interval(mean_ratio(value(at(cases, load=load, s=s), "fcfs-grouped", rule)))
                    for rule in WAYS.values()
                ),
            ]
            for title, cases in batches.items()
            for load in values(cases, "load")
            for s in values(cases, "s")
        ),
    )


def cold(made: Sequence[Case]) -> str:
    """Whether the loader keeps up, where affinity still counts."""
    texts = []
    for s in values(made, "s"):
        cases = at(made, s=s)
        busy = [float(c.rows[spec_of("fifo", WAYS["beside"])]["loads"]) * s for c in cases]
        asked = [c.requests * SERVICE_S / number(c.group, "load") for c in cases]
        over = [b > a for b, a in zip(busy, asked, strict=True)]
        texts.append(f"{100 * sum(over) / len(over):.0f} % at {plain(s)} s")
    return (
        "The loader becomes what is short: loads of `fifo` beside serving take longer than all "
        f"arrivals do in {listed(texts)} of the instances."
    )
