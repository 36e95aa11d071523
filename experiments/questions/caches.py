"""(f) Caches: how much of the switching a cache of k adapters removes, on the log's windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.questions.pictures import lines
from experiments.questions.reading import Case, groups, of, read, was_run
from experiments.questions.statistics import Interval, mean, mean_ratio
from experiments.questions.words import (
    Answer,
    clear,
    code,
    interval,
    listed,
    more,
    table,
)

EXPERIMENT = "caches"

#: Specs by policy and eviction.
RUNS = {
    ("pats", "lru"): "pats",
    ("pats", "lfu"): "pats:eviction=lfu",
    ("pats", "cost"): "pats:eviction=cost",
    ("pats", "polar"): "pats:eviction=polar",
    ("pats", "belady"): "belady",
    ("exhaustive", "lru"): "exhaustive:option=pruned",
    ("exhaustive", "lfu"): "exhaustive:option=pruned:eviction=lfu",
    ("exhaustive", "cost"): "exhaustive:option=pruned:eviction=cost",
    ("exhaustive", "polar"): "exhaustive:option=pruned:eviction=polar",
    ("exhaustive", "belady"): "belady:policy=exhaustive,option=pruned",
    ("fifo", "lru"): "fifo:option=pruned",
    ("fifo", "lfu"): "fifo:option=pruned:eviction=lfu",
    ("fifo", "belady"): "belady:policy=fifo,option=pruned",
    ("price-index", "lru"): "price-index:eviction=lru",
    ("price-index", "ghost"): "price-index",
}

Run = tuple[str, str]  # policy, eviction

#: The eviction that policies are compared under, and the offline yardstick.
USUAL, YARDSTICK = "lru", "belady"


@dataclass(frozen=True)
class Kept:
    """A policy and eviction with a cache of one size, over the windows.

    Attributes:
        loss: Mean loss over that of the same policy with one adapter (and the usual eviction).
        switching: Mean seconds of switching over that with one adapter.
        switching_s: Mean seconds of switching.
        hits: Mean share of requests whose adapter was resident.
    """

    loss: Interval
    switching: Interval
    switching_s: Interval
    hits: Interval


Found = dict[Run, dict[int, Kept]]


def answer() -> Answer:
    """The answer."""
    cases = read(EXPERIMENT)
    found = compared(cases)
    return Answer(
        question="How much of the switching loss does a cache of k adapters remove, on the trace?",
        experiment=EXPERIMENT,
        verdict=[
            short(found),
            first_loads(cases),
            losses(found),
            order(cases, found),
            evictions(found),
        ],
        tables=[shown(found)],
        pictures=[
            lines(
                "caches",
                {
                    title: {
                        policy: [(float(k), getattr(kept, what)) for k, kept in by_k.items()]
                        for (policy, eviction), by_k in found.items()
                        if eviction == USUAL
                    }
                    for title, what in (("switching", "switching"), ("loss", "loss"))
                },
                x="adapters resident",
                y="over that of one adapter",
                caption="Switching time and loss by the size of the cache, over those with one "
                "adapter; least recently used goes first",
                log="x",
            )
        ],
        ran=f"{was_run(cases)}: {len(cases) // len(sizes(found))} windows of the log, each with "
        f"caches of {listed(map(str, sizes(found)))}, sped up to one request every 5 s, the "
        "profile `production` (4 s a load); eight adapters take 1.4 of 40 GiB",
        not_shown=(
            "a log of higher request rate without compression of time",
            "adapters large enough that residents crowd out members of a batch",
            "prefetching",
        ),
    )


def compared(cases: Sequence[Case]) -> Found:
    """Each run's figures by size of the cache."""
    known = {(size(case.group), case.name): case for case in cases}
    ks = sorted({size(group) for group in groups(cases)})
    names = sorted({case.name for case in cases})
    found: Found = {}
    for (policy, eviction), spec in RUNS.items():
        usual = RUNS[policy, USUAL]
        for k in ks:
            pairs = [(known[k, name], known[1, name]) for name in names]
            pairs = [(c, one) for c, one in pairs if spec in c.rows and usual in one.rows]
            if not pairs:
                continue
            rows = [(c.rows[spec], one.rows[usual]) for c, one in pairs]
            found.setdefault((policy, eviction), {})[k] = Kept(
                *(
                    mean_ratio([float(row[column]) / float(one[column]) for row, one in rows])
                    for column in ("loss", "switching_s")
                ),
                *(
                    mean([float(row[column]) for row, _ in rows])
                    for column in ("switching_s", "hit_share")
                ),
            )
    return found


def size(group: str) -> int:
    """Adapters a GPU holds, from the class's name."""
    return int(group.rpartition("-")[2])


def sizes(found: Found) -> list[int]:
    """Sizes of caches."""
    return sorted({k for by_k in found.values() for k in by_k})


def leading(found: Found) -> dict[str, dict[int, Kept]]:
    """Each policy with the usual eviction."""
    return {policy: by_k for (policy, eviction), by_k in found.items() if eviction == USUAL}


def short(found: Found) -> str:
    """Switching removed, by size."""
    texts = []
    for k in sizes(found)[1:]:
        means = [by_k[k].switching.mean for by_k in leading(found).values()]
        low, high = 100 * (1 - max(means)), 100 * (1 - min(means))
        texts.append(f"{k} adapters remove {low:.0f} to {high:.0f} %")
    return (
        f"Of the seconds of switching with one adapter, {listed(texts)}, depending on the policy."
    )


def first_loads(cases: Sequence[Case]) -> str:
    """How many of the switches are an adapter's first, which no cache can spare."""
    shares = {}
    for policy, eviction in RUNS:
        spec = RUNS[policy, USUAL]
        rows = [case for case in of(cases, "cache-1") if spec in case.rows]
        if eviction == USUAL and rows:
            shares[policy] = mean([c.adapters / float(c.rows[spec]["switches"]) for c in rows]).mean
    texts = listed(f"{100 * share:.0f} % with {code(policy)}" for policy, share in shares.items())
    return (
        f"No cache removes an adapter's first load. With one adapter resident that is {texts} of "
        f"the switches, so a cache saves most with {code(min(shares, key=shares.__getitem__))} and "
        f"least with {code(max(shares, key=shares.__getitem__))}."
    )


def losses(found: Found) -> str:
    """What that does to the loss."""
    texts = []
    for policy, by_k in leading(found).items():
        parts = [
            f"{more(kept.loss.mean) if clear(kept.loss) else 'not clearly different'} at {k}"
            for k, kept in by_k.items()
            if k > 1
        ]
        texts.append(f"{code(policy)} {listed(parts)}")
    return f"Loss, against the same policy with one adapter: {'; '.join(texts)}."


def evictions(found: Found) -> str:
    """Which eviction switches least, at each size, and what hindsight would save."""
    texts = []
    for policy in leading(found):
        mine = {e: by_k for (p, e), by_k in found.items() if p == policy}
        online = [eviction for eviction in mine if eviction != YARDSTICK]
        if len(online) < 2 or YARDSTICK not in mine:
            continue
        best, gains, left = {}, [], []
        for k in sizes(found)[1:]:
            means = {e: by_k[k].switching.mean for e, by_k in mine.items()}
            best[k] = min(online, key=means.__getitem__)
            gains.append(means[best[k]] / means[USUAL])
            left.append(means[YARDSTICK] / means[best[k]])
        which = {e: [str(k) for k in best if best[k] == e] for e in dict.fromkeys(best.values())}
        names = listed(f"{eviction} at {listed(ks)}" for eviction, ks in which.items())
        gain = "" if set(which) == {USUAL} else f"at most {more(min(gains))} than {USUAL}; "
        texts.append(
            f"with {code(policy)} {names} ({gain}if chosen in hindsight {more(max(left))} to "
            f"{more(min(left))})"
        )
    return f"The eviction with the least switching is {'; '.join(texts)}."


def order(cases: Sequence[Case], found: Found) -> str:
    """The policy that switches most with the largest cache, against the best one without."""
    ways, k = leading(found), sizes(found)[-1]
    windows, large = of(cases, "cache-1"), {c.name: c for c in of(cases, f"cache-{k}")}

    def losses(policy: str, where: Sequence[Case]) -> list[float]:
        return [float(case.rows[RUNS[policy, USUAL]]["loss"]) for case in where]

    most = max(ways, key=lambda policy: ways[policy][1].switching_s.mean)
    best = min(ways, key=lambda policy: mean_ratio(losses(policy, windows)).mean)
    top = losses(most, [large[case.name] for case in windows])
    found_ratio = mean_ratio([a / b for a, b in zip(top, losses(best, windows), strict=True)])
    return (
        f"Order against cache: with {k} adapters resident {code(most)} loses "
        f"{interval(found_ratio)} times what {code(best)} loses with one."
    )


def shown(found: Found) -> list[str]:
    """The table."""
    return table(
        [
            "policy",
            "eviction",
            "k",
            "switching s",
            "switching / k = 1",
            "loss / k = 1",
            "requests whose adapter was resident",
        ],
        (
            [
                policy,
                eviction,
                str(k),
                f"{kept.switching_s.mean:.0f}",
                interval(kept.switching),
                interval(kept.loss),
                f"{100 * kept.hits.mean:.0f} %",
            ]
            for (policy, eviction), by_k in found.items()
            for k, kept in by_k.items()
            if k > 1 or eviction == USUAL
        ),
    )
