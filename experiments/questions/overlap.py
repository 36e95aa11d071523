"""(i) Loads beside serving: what they save."""

from __future__ import annotations

import math
from collections.abc import Sequence

from experiments.questions.pictures import lines
from experiments.questions.reading import Case, number, of, ratios, read, was_run
from experiments.questions.statistics import Interval, mean, mean_ratio
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

EXPERIMENT = "overlap"
SMALL = "overlap_small"

#: Prefetching that is compared with blocking loads, and the other one.
USUAL, OTHER = "ahead", "next"

#: What a throw-away simulation had said: mean latency near saturation, blocking and beside.
CLAIMED = (21.0, 9.0)

#: Near saturation: this load, and a load time of the log.
NEAR, TYPICAL_S = 0.95, 4.4

#: How the page calls loads, with the rule of prefetching that goes with them.
WAYS = {"blocking": "", "beside": USUAL}


def answer() -> Answer:
    """The answer."""
    cases, small = read(EXPERIMENT), read(SMALL)
    made, log = generated(cases), of_kind(cases, "log")
    return Answer(
        question="What do loads beside serving save?",
        experiment=EXPERIMENT,
        verdict=[
            short(made, log),
            claim(made, log),
            by_load_time(made),
            rules(made, log, small),
            worst(cases),
            optimum(small),
        ],
        tables=[savings(made, log), policies(made, log), solved(small)],
        pictures=[
            lines(
                "overlap",
                {
                    f"{k:g} residents": {
                        f"load {plain(load)}": [
                            (s, mean_ratio(saved(at(made, load=load, s=s, k=k))))
                            for s in values(made, "s")
                        ]
                        for load in values(made, "load")
                    }
                    for k in values(made, "k")
                },
                x="seconds of a load",
                y="latency / blocking",
                caption="Mean latency with loads beside serving over that with blocking loads, "
                "mean of the policies, by load time",
                log="xy",
            )
        ],
        ran=f"{was_run(cases)}; one GPU with one channel of the loader, equal requests of one "
        "option, only latency costs; generated ones (Poisson, and bursty with a coefficient of "
        "variation of 3) draw 12 adapters by popularity and serve one request at a time in 3.6 s; "
        "windows of the log have its families and are sped up to each load, with load times of "
        "`production` (median 4.4 s); loads count service alone; caches start full; the optimum "
        f"(8 requests) and the bound (40 requests) are those of {was_run(small)} (`{SMALL}/`); "
        f"where no rule is named it is `prefetch={USUAL}`",
        not_shown=(
            "a slowdown of steps while a load is in progress: `pats-opt profile` measures it",
            "several channels, several GPUs, and adapters so large that memory binds",
            "means that have settled: with blocking loads many classes are overloaded, so their "
            "latency grows with the number of requests",
            "bounds that have converged: 8 s each, on a machine that did other work",
            "policies that differ from these only by length or deadline of requests (`srpt`, "
            "`mdd`, `atcs`, `edd`, `vllm-lora`), and `patient`",
        ),
    )


# -- selections and ratios -------------------------------------------------------------------------


def of_kind(cases: Sequence[Case], *kinds: str) -> list[Case]:
    """Cases whose class's name begins with one of some words."""
    return [case for case in cases if case.group.split("-")[0] in kinds]


def generated(cases: Sequence[Case]) -> list[Case]:
    """The generated cases that serve one request at a time."""
    return of_kind(cases, "poisson", "bursty")


def at(cases: Sequence[Case], **wanted: float) -> list[Case]:
    """Cases with these numbers in the class's name."""
    return [c for c in cases if all(number(c.group, key) == x for key, x in wanted.items())]


def values(cases: Sequence[Case], key: str) -> list[float]:
    """The values of a number in the classes' names."""
    return sorted({number(case.group, key) for case in cases})


def online(case: Case) -> list[str]:
    """The policies of a case."""
    return [spec for spec in case.rows if "prefetch=" not in spec and spec[:6] != "solver"]


def spec_of(policy: str, rule: str) -> str:
    """A policy with blocking loads, or with a rule of prefetching beside serving."""
    return f"{policy}:prefetch={rule}" if rule else policy


def saved(cases: Sequence[Case], rule: str = USUAL) -> list[float]:
    """Latency over that with blocking loads, a case each: the mean of the policies."""
    found = []
    for case in cases:
        mine = [case.ratio(spec_of(name, rule), name) or 1.0 for name in online(case)]
        found.append(math.exp(math.fsum(map(math.log, mine)) / len(mine)))
    return found


# -- sentences -------------------------------------------------------------------------------------


def short(made: Sequence[Case], log: Sequence[Case]) -> str:
    """What is saved over all, and near saturation."""
    texts = [
        f"{where} {more(mean_ratio(saved(cases)).mean)} over all loads, load times and caches, "
        f"{more(mean_ratio(saved(at(cases, load=NEAR))).mean)} at load {plain(NEAR)}"
        for where, cases in (("on generated instances", made), ("on the log", log))
    ]
    return f"Mean latency, mean of {len(online(made[0]))} policies: {listed(texts)}."


def claim(made: Sequence[Case], log: Sequence[Case]) -> str:
    """The throw-away simulation's figures against ours."""
    expected, texts = CLAIMED[1] / CLAIMED[0], []
    for where, cases in (
        ("generated instances", at(made, load=NEAR, s=TYPICAL_S)),
        ("the log", at(log, load=NEAR)),
    ):
        found = mean_ratio(saved(cases))
        word = (
            "more than claimed"
            if found.high < expected
            else "less than claimed"
            if found.low > expected
            else "in line with the claim"
        )
        lowest, fifo = best(cases), latency(cases, "fifo")
        texts.append(
            f"on {where} it falls to {interval(found)} times what it was, {word} (`fifo` from "
            f"{seconds(fifo[0])} to {seconds(fifo[1])} s, the best policy from "
            f"{seconds(lowest[0])} to {seconds(lowest[1])} s)"
        )
    return (
        f"A throw-away simulation had mean latency near saturation fall from {plain(CLAIMED[0])} "
        f"to {plain(CLAIMED[1])} s, {ratio(expected)} times. At load {plain(NEAR)} and loads of "
        f"{plain(TYPICAL_S)} s, {'; '.join(texts)}."
    )


def latency(cases: Sequence[Case], policy: str) -> tuple[Interval, Interval]:
    """Mean latency in seconds, with blocking loads and with loads beside serving."""
    first, second = (
        mean([float(case.rows[spec_of(policy, rule)]["loss"]) for case in cases])
        for rule in ("", USUAL)
    )
    return first, second


def best(cases: Sequence[Case]) -> tuple[Interval, Interval]:
    """The same of the policy with the lowest mean, one for each."""
    found = [latency(cases, name) for name in online(cases[0])]
    return (
        min((blocking for blocking, _ in found), key=lambda f: f.mean),
        min((beside for _, beside in found), key=lambda f: f.mean),
    )


def seconds(found: Interval) -> str:
    """Seconds with their interval."""
    return f"{found.mean:.0f} ({found.low:.0f} to {found.high:.0f})"


def by_load_time(made: Sequence[Case]) -> str:
    """What is saved by the seconds of a load, at the lowest and the highest load."""
    texts = []
    for load in (min(values(made, "load")), max(values(made, "load"))):
        each = [
            f"{more(mean_ratio(saved(at(made, load=load, s=s))).mean)} at {plain(s)} s"
            for s in values(made, "s")
        ]
        texts.append(f"at load {plain(load)} {listed(each)}")
    return f"By the time of a load: {'; '.join(texts)}."


def rules(made: Sequence[Case], log: Sequence[Case], small: Sequence[Case]) -> str:
    """The rules of prefetching against each other."""
    texts = []
    for where, cases in (("on generated instances", made), ("on the log", log)):
        pairs = [
            case.ratio(spec_of(name, USUAL), spec_of(name, OTHER)) or 1.0
            for case in cases
            for name in online(case)
        ]
        texts.append(f"{more(mean_ratio(pairs).mean)} {where}")
    none = [
        case.rows[name]["loss"] == case.rows[f"{name}:prefetch=none"]["loss"]
        for case in small
        for name in online(case)
    ]
    return (
        f"`prefetch={USUAL}` against `prefetch={OTHER}`: {listed(texts)}. `prefetch=none` gives "
        f"the latency of blocking loads in {sum(none)} of {len(none)} runs."
    )


def worst(cases: Sequence[Case]) -> str:
    """The class and policy that gain least or lose most."""
    found = {
        (group, name): mean_ratio(ratios(mine, spec_of(name, USUAL), name))
        for group in dict.fromkeys(case.group for case in cases)
        if (mine := of(cases, group))
        for name in online(mine[0])
    }
    (group, name), most = max(found.items(), key=lambda item: item[1].mean)
    rise = sum(f.low > 1.0 for f in found.values())
    return (
        f"Worst of {len(found)} classes and policies: {code(name)} on {group}, "
        f"{interval(most)} times the latency of blocking loads; clearly above it are {rise}."
    )


def optimum(small: Sequence[Case]) -> str:
    """What the optimum and the bound save, and the policies' distance from the optimum."""
    tiny, bounded = of_kind(small, "tiny"), of_kind(small, "bounded")
    proven = sum(case.rows[f"solver-{way}"]["stop"] == "optimal" for case in tiny for way in WAYS)
    texts = []
    for way, rule in WAYS.items():
        mine = [excess(tiny, name, way, rule) for name in online(tiny[0])]
        texts.append(f"{ratio(min(m.mean for m in mine))} to {ratio(max(m.mean for m in mine))}")
    return (
        f"The offline optimum itself ({proven} of {2 * len(tiny)} proven) falls to "
        f"{interval(mean_ratio(ratios(tiny, 'solver-beside', 'solver-blocking')))} times that with "
        "blocking loads, the bound on 40 requests to "
        f"{interval(mean_ratio(bounds(bounded)))} times and the best schedules found to "
        f"{interval(mean_ratio(ratios(bounded, 'solver-beside', 'solver-blocking')))} times. "
        f"Policies lose {texts[0]} times the optimum with blocking loads and {texts[1]} times "
        "beside serving."
    )


def excess(cases: Sequence[Case], policy: str, way: str, rule: str) -> Interval:
    """A policy's latency over that of the optimum (or the best schedule) with the same loads."""
    return mean_ratio(ratios(cases, spec_of(policy, rule), f"solver-{way}"))


def bounds(cases: Sequence[Case]) -> list[float]:
    """The bound with loads beside serving over that with blocking ones."""
    found = (case.ratio("solver-beside", "solver-blocking", "bound") for case in cases)
    return [x for x in found if x is not None]


# -- tables ----------------------------------------------------------------------------------------


def savings(made: Sequence[Case], log: Sequence[Case]) -> list[str]:
    """Latency over that with blocking loads, by load time, load and cache."""
    columns = [("load", load) for load in values(made, "load")]
    columns += [("k", k) for k in values(made, "k")]
    rows = [(f"{plain(s)} s", at(made, s=s)) for s in values(made, "s")] + [("the log's", log)]
    return table(
        ["latency / blocking, load time", *(f"{key} {plain(x)}" for key, x in columns)],
        (
            [s, *(interval(mean_ratio(saved(at(cases, **{key: x})))) for key, x in columns)]
            for s, cases in rows
        ),
    )


def policies(made: Sequence[Case], log: Sequence[Case]) -> list[str]:
    """Each policy: what it saves, and its seconds near saturation."""
    near = at(made, load=NEAR, s=TYPICAL_S)
    groups = list(dict.fromkeys(case.group for case in made))
    rows = []
    for name in online(made[0]):
        cells = [
            interval(mean_ratio(ratios(cases, spec_of(name, rule), name)))
            for cases in (made, log)
            for rule in (OTHER, USUAL)
        ]
        high = max(mean_ratio(ratios(of(made, g), spec_of(name, USUAL), name)).mean for g in groups)
        before, after = latency(near, name)
        rows.append([code(name), *cells, ratio(high), seconds(before), seconds(after)])
    return table(
        [
            "latency / blocking",
            *(f"{rule}, {where}" for where in ("generated", "log") for rule in (OTHER, USUAL)),
            f"{USUAL}, worst class",
            f"s blocking at load {plain(NEAR)}, {plain(TYPICAL_S)} s",
            "s beside",
        ],
        rows,
    )


def solved(small: Sequence[Case]) -> list[str]:
    """The optimum and the bound, and some policies over the best schedule, by load time."""
    names = ("fifo", "affinity", "exhaustive", "price-index")
    rows = []
    for kind, title in (("tiny", "optimum, 8 requests"), ("bounded", "bound, 40 requests")):
        for s in values(of_kind(small, kind), "s"):
            cases = at(of_kind(small, kind), s=s)
            rows.append(
                [
                    title,
                    f"{plain(s)} s",
                    interval(mean_ratio(bounds(cases))),
                    interval(mean_ratio(ratios(cases, "solver-beside", "solver-blocking"))),
                    *(
                        interval(excess(cases, name, way, rule))
                        for name in names
                        for way, rule in WAYS.items()
                    ),
                ]
            )
    return table(
        [
            "instances",
            "load time",
            "bound, beside / blocking",
            "best schedule, beside / blocking",
            *(f"{name} / best schedule, {way}" for name in names for way in WAYS),
        ],
        rows,
    )
