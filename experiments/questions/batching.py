"""(g) Batching: what it earns at measured step times, and at the documents' constant one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from experiments.questions.pictures import lines
from experiments.questions.reading import Case, groups, number, read, was_run
from experiments.questions.statistics import Interval, mean_ratio
from experiments.questions.words import Answer, clear, code, interval, more, plain, table

EXPERIMENT = "batching"
OPTIMUM = "auto"
SOLVERS = {
    "optimum": OPTIMUM,
    "pats": "pats",
    "exhaustive": "exhaustive:option=pruned",
    "price-index": "price-index",
}
PROFILES = {
    "documents": "documents' constant step time",
    "measured": "measured step times (a100-40g)",
}

#: Loss with the largest batch over that of the batch before, up to which a further doubling earns.
EARNS = 0.99

#: By profile and load: by solver: by largest batch, the mean loss over that of batches of one.
Found = dict[tuple[str, float], dict[str, dict[int, Interval]]]


def answer() -> Answer:
    """The answer."""
    cases = read(EXPERIMENT)
    found = compared(cases)
    return Answer(
        question="What does batching earn at measured step times, against the documents' constant "
        "one?",
        experiment=EXPERIMENT,
        verdict=[short(found), *(sentence(place, rows) for place, rows in found.items())],
        tables=[shown(found)],
        pictures=[
            lines(
                "batching",
                {
                    f"{profile}, load {plain(load)}": {
                        name: [(float(b), by_batch[b]) for b in by_batch]
                        for name, by_batch in rows.items()
                    }
                    for (profile, load), rows in found.items()
                },
                x="largest batch",
                y="loss / loss with batches of one",
                caption="Mean loss by largest batch, over that of the same method with batches of "
                "one",
                log="xy",
            )
        ],
        ran=f"{was_run(cases)}, the same arrivals for each largest batch; load counts full-step "
        f"batches of one with half a switch each; the optimum is proven on {proven(cases)}, else "
        "the best schedule found",
        not_shown=(
            "batches that a smaller image size or a distilled model would make cheaper",
            "the memory that large batches need elsewhere",
        ),
    )


def proven(cases: Sequence[Case]) -> str:
    """On how many instances the optimum is proven."""
    count = sum(case.rows.get(OPTIMUM, {}).get("point") == "optimal" for case in cases)
    return f"{count} of {len(cases)}"


def compared(cases: Sequence[Case]) -> Found:
    """Mean losses over those with batches of one, paired by seed."""
    found: Found = {}
    batches = sorted({int(number(group, "batch")) for group in groups(cases)})
    by_key = {(case.group, case.seed): case for case in cases}
    for group in groups(cases):
        profile, load = group.split("-")[0], number(group, "load")
        if int(number(group, "batch")) != 1:
            continue
        stem = group.removesuffix("1")
        rows: dict[str, dict[int, Interval]] = {}
        for name, spec in SOLVERS.items():
            for b in batches:
                pairs = [
                    (by_key[f"{stem}{b}", seed].figure(spec), one.figure(spec))
                    for (g, seed), one in by_key.items()
                    if g == group
                ]
                values = [top / bottom for top, bottom in pairs if top and bottom]
                if values:
                    rows.setdefault(name, {})[b] = mean_ratio(values)
        found[profile, load] = rows
    return found


def short(found: Found) -> str:
    """What the largest batch earns the optimum, by profile."""
    texts = []
    for profile, title in PROFILES.items():
        parts = [
            f"{more(by_batch[max(by_batch)].mean)} loss at load {plain(load)}"
            for (p, load), rows in found.items()
            if p == profile and (by_batch := rows["optimum"])
        ]
        texts.append(f"at the {title} the optimum has {' and '.join(parts)}")
    largest = max(b for rows in found.values() for by in rows.values() for b in by)
    return f"With batches of up to {largest} in place of one: {'; '.join(texts)}."


def sentence(place: tuple[str, float], rows: dict[str, dict[int, Interval]]) -> str:
    """By method: gain of each, and the batch from which on a doubling earns nothing."""
    profile, load = place
    parts = []
    for name, by_batch in rows.items():
        sizes = sorted(by_batch)
        enough = sizes[0]
        for before, size in pairwise(sizes):
            if by_batch[size].mean < EARNS * by_batch[before].mean:
                enough = size
        last = by_batch[sizes[-1]]
        texts = (
            f"{more(last.mean)} (no more gain beyond {enough})" if clear(last) else "no clear gain"
        )
        parts.append(f"{code(name)} {texts}")
    return f"{profile.capitalize()} profile, load {plain(load)}: {'; '.join(parts)}."


def shown(found: Found) -> list[str]:
    """The table."""
    sizes = sorted({b for rows in found.values() for by in rows.values() for b in by} - {1})
    return table(
        ["profile", "load", "method", *(f"batch {b} / 1" for b in sizes)],
        (
            [profile, plain(load), name, *(interval(by_batch[b]) for b in sizes)]
            for (profile, load), rows in found.items()
            for name, by_batch in rows.items()
        ),
    )
