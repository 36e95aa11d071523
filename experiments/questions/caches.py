"""(f) Caches: how much of the switching a cache of k adapters removes, on the log's windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.questions.pictures import lines
from experiments.questions.reading import Case, groups, read, was_run
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
    ("exhaustive", "lru"): "exhaustive:option=priced",
    ("exhaustive", "lfu"): "exhaustive:option=priced:eviction=lfu",
    ("exhaustive", "cost"): "exhaustive:option=priced:eviction=cost",
    ("exhaustive", "polar"): "exhaustive:option=priced:eviction=polar",
    ("price-index", "lru"): "price-index",
    ("price-index", "cost"): "price-index:eviction=cost",
    ("belady", "offline"): "belady",
}

Run = tuple[str, str]  # policy, eviction


@dataclass(frozen=True)
class Kept:
    """A policy and eviction with a cache of one size, over the windows.

    Attributes:
        loss: Mean loss over that of the same policy with one adapter.
        switching: Mean seconds of switching over that with one adapter.
        switching_s: Mean seconds of switching.
        hits: Mean share of adapter uses found resident, or None where it was not measured.
    """

    loss: Interval
    switching: Interval
    switching_s: Interval
    hits: Interval | None


Found = dict[Run, dict[int, Kept]]


def answer() -> Answer:
    """The answer."""
    cases = read(EXPERIMENT)
    found = compared(cases)
    return Answer(
        question="How much of the switching loss does a cache of k adapters remove, on the trace?",
        experiment=EXPERIMENT,
        verdict=[short(found), losses(found), evictions(found)],
        tables=[shown(found)],
        pictures=[
            lines(
                "caches",
                {
                    title: {
                        policy: [(float(k), getattr(kept, what)) for k, kept in by_k.items()]
                        for (policy, eviction), by_k in found.items()
                        if eviction in ("lru", "offline")
                    }
                    for title, what in (("switching", "switching"), ("loss", "loss"))
                },
                x="adapters resident",
                y="over that of one adapter",
                caption="Switching time and loss by the size of the cache, over those with one "
                "adapter; "
                "least recently used goes first",
                log="x",
            )
        ],
        ran=f"{was_run(cases)}: {len(cases) // len(sizes(found))} windows of the log, each with "
        "caches of "
        f"{listed(map(str, sizes(found)))}, sped up to one request every 5 s, the profile "
        "`production` (4 s a load); eight adapters take 1.4 of 40 GiB",
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
    for run, spec in RUNS.items():
        for k in ks:
            pairs = [(known[k, name], known[1, name]) for name in names]
            pairs = [(c, one) for c, one in pairs if spec in c.rows and spec in one.rows]
            if not pairs:
                continue
            hits = [h for c, _ in pairs if (h := c.figure(spec, "hit_share")) is not None]
            found.setdefault(run, {})[k] = Kept(
                mean_ratio([_over(c, one, spec, "loss") for c, one in pairs]),
                mean_ratio([_over(c, one, spec, "switching_s") for c, one in pairs]),
                mean([c.figure(spec, "switching_s") or 0.0 for c, _ in pairs]),
                mean(hits) if hits else None,
            )
    return found


def size(group: str) -> int:
    """Adapters a GPU holds, from the class's name."""
    return int(group.rpartition("-")[2])


def _over(case: Case, one: Case, spec: str, column: str) -> float:
    return float(case.rows[spec][column]) / float(one.rows[spec][column])


def sizes(found: Found) -> list[int]:
    """Sizes of caches."""
    return sorted({k for by_k in found.values() for k in by_k})


def leading(found: Found) -> dict[str, dict[int, Kept]]:
    """Each policy with the least recently used going first."""
    return {
        policy: by_k for (policy, eviction), by_k in found.items() if eviction in ("lru", "offline")
    }


def short(found: Found) -> str:
    """Switching removed, by size."""
    told = []
    for k in sizes(found)[1:]:
        means = [by_k[k].switching.mean for by_k in leading(found).values()]
        low, high = 100 * (1 - max(means)), 100 * (1 - min(means))
        told.append(f"{k} adapters remove {low:.0f} to {high:.0f} %")
    return f"Of the seconds of switching with one adapter, {listed(told)}, depending on the policy."


def losses(found: Found) -> str:
    """What that does to the loss."""
    told = []
    for policy, by_k in leading(found).items():
        parts = [
            f"{more(kept.loss.mean) if clear(kept.loss) else 'not clearly different'} at {k}"
            for k, kept in by_k.items()
            if k > 1
        ]
        told.append(f"{code(policy)} {listed(parts)}")
    return f"Loss, against the same policy with one adapter: {'; '.join(told)}."


def evictions(found: Found) -> str:
    """Which eviction is best, at each size."""
    told = []
    for policy in dict.fromkeys(policy for policy, _ in found):
        mine = {e: by_k for (p, e), by_k in found.items() if p == policy}
        if len(mine) < 2:
            continue
        for k in sizes(found)[1:]:
            means = {e: by_k[k].switching.mean for e, by_k in mine.items()}
            best, worst = min(means, key=lambda e: means[e]), max(means, key=lambda e: means[e])
            told.append(
                f"{code(policy)} at {k}: {best} ({more(means[best] / means[worst])} switching "
                f"than {worst})"
            )
    return f"Eviction with the least switching: {'; '.join(told)}."


def shown(found: Found) -> list[str]:
    """The table."""
    return table(
        ["policy", "eviction", "k", "switching s", "switching / k = 1", "loss / k = 1", "hits"],
        (
            [
                policy,
                eviction,
                str(k),
                f"{kept.switching_s.mean:.0f}",
                interval(kept.switching),
                interval(kept.loss),
                f"{100 * kept.hits.mean:.0f} %" if kept.hits else "-",
            ]
            for (policy, eviction), by_k in found.items()
            for k, kept in by_k.items()
        ),
    )
