"""Requests that settle a ranking: rankings of samples against those of many instances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.questions.reading import Case
from experiments.questions.statistics import Floats, Interval, kendall, mean
from experiments.questions.words import listed, table

LENGTHS = (20, 50, 100, 200, 500)

#: Lengths whose instances make the reference ranking.
REFERENCE = (200, 500)

#: Instances a sample, and samples of each size.
SAMPLES = (1, 2, 4, 8)
DRAWS = 200

#: Tau that counts as settled.
SETTLED = 0.9

#: Losses further apart than this factor in the reference make a pair of policies that differ, and
#: the share of such pairs in the right order that counts as settled.
APART, RIGHT = 1.05, 0.95


class Agreement(NamedTuple):
    """Agreement of the rankings of samples with the reference.

    Attributes:
        tau: Kendall's tau.
        right: Share of the pairs of policies that differ in the reference that are in its order.
    """

    tau: Interval
    right: Interval


#: By requests an instance: by instances in a sample.
Agreements = Mapping[int, Mapping[int, Agreement]]


def logs(
    cases: Sequence[Case], chosen: Callable[[str], bool] = lambda _: True
) -> tuple[list[str], Floats]:
    """Log loss ratios to the best solver: one row per case, one column per chosen solver."""
    common = [spec for spec in cases[0].rows if all(spec in case.rows for case in cases)]
    specs = list(filter(chosen, common))
    loss = np.log([[float(case.rows[spec]["loss"]) for spec in specs] for case in cases])
    return specs, loss - loss.min(axis=1, keepdims=True)


def agreements(cases: Sequence[Case]) -> dict[int, dict[int, Agreement]]:
    """Of each length and size of sample, with the reference: the longer instances but the sample's.

    Args:
        cases: One source's instances of all lengths.
    """
    _, found = logs(cases)
    lengths = np.array([case.requests for case in cases])
    longer = np.isin(lengths, REFERENCE)
    result: dict[int, dict[int, Agreement]] = {}
    for length in LENGTHS:
        mine, rng = np.flatnonzero(lengths == length), np.random.default_rng(length)
        for m in (m for m in SAMPLES if m <= len(mine)):
            pairs = []
            for _ in range(DRAWS):
                chosen = rng.choice(mine, m, replace=False)
                rest = longer.copy()
                rest[chosen] = False
                pairs.append((found[chosen].mean(axis=0), found[rest].mean(axis=0)))
            result.setdefault(length, {})[m] = Agreement(
                mean([kendall(sample, reference) for sample, reference in pairs]),
                mean([right(sample, reference) for sample, reference in pairs]),
            )
    return result


def right(sample: Floats, reference: Floats) -> float:
    """Share of the pairs that differ in the reference that are in its order in a sample."""
    apart = reference[:, None] - reference[None, :] > np.log(APART)
    return float((sample[:, None] > sample[None, :])[apart].mean())


def enough(found: Agreements, *, pairs: bool = False) -> list[tuple[int, int]]:
    """The samples (instances, requests) that settle a ranking on average, cheapest first."""
    good = [
        (m, n)
        for n, by_m in found.items()
        for m, a in by_m.items()
        if (a.right.mean >= RIGHT if pairs else a.tau.mean > SETTLED)
    ]
    return sorted(good, key=lambda sample: (sample[0] * sample[1], sample[0]))


def cheapest(found: Agreements, *, pairs: bool = False) -> str:
    """The cheapest sample that settles a ranking, in words."""
    good = enough(found, pairs=pairs)
    return f"{good[0][0]} x {good[0][1]} requests" if good else "more than was tried"


def sentence(found: Mapping[str, Agreements]) -> str:
    """Samples that settle a ranking, by source."""
    phrases = []
    for source, by_length in found.items():
        last = max(by_length)
        most = max(by_length[last])
        tau, pairs = by_length[last][most]
        phrases.append(
            f"on {source} it takes {cheapest(by_length)} for tau {SETTLED} and "
            f"{cheapest(by_length, pairs=True)} for {100 * RIGHT:.0f} % of the pairs of policies "
            f"that differ by {100 * (APART - 1):.0f} % or more to be in order; {most} x {last} "
            f"requests reach tau {tau.mean:.2f} and {100 * pairs.mean:.0f} %"
        )
    return (
        f"Of samples of {listed(map(str, SAMPLES))} instances of {listed(map(str, LENGTHS))} "
        f"requests, against a ranking by the other instances of {listed(map(str, REFERENCE))}: "
        f"{'; '.join(phrases)}."
    )


def instances(count: int) -> str:
    """A number of instances in words."""
    return f"{count} instance{'s' if count > 1 else ''}"


def shown(found: Mapping[str, Agreements]) -> list[str]:
    """The table: tau, and the share of pairs in order."""
    return table(
        [
            "tau, and pairs that differ in order",
            "requests",
            *(instances(m) for m in SAMPLES),
        ],
        (
            [
                source,
                str(n),
                *(
                    f"{by_m[m].tau.mean:.2f}, {100 * by_m[m].right.mean:.0f} %" if m in by_m else ""
                    for m in SAMPLES
                ),
            ]
            for source, by_length in found.items()
            for n, by_m in by_length.items()
        ),
    )
