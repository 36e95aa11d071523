"""(c) and (d): GPUs fixed at levels against the controller, and where hits come from."""

from __future__ import annotations

from itertools import product

from experiments.prompt_aware.cases import (
    BY_SIMILARITY,
    CALM,
    DIVISION_RATES,
    GPUS,
    HIT_POLICIES,
    HIT_RATES,
    HITS,
    LOOK_UP,
    OFF,
    TOLERANCE,
    rungs,
)
from experiments.prompt_aware.claims import DOES_NOT, REPRODUCES, percent, points, side
from experiments.prompt_aware.reading import Figures, Runs, average, differences, each
from experiments.questions.pictures import lines
from experiments.questions.statistics import Interval, student
from experiments.questions.words import Answer, code, listed, table

CONTROLLER, CALMER = "controller", "controller, windows of 5 s"
SIMILARITY = "similarity"

#: What the panels of the picture show.
PANELS = {
    "at two levels": (CONTROLLER, *(name for name in rungs() if "of" in name)),
    "all at one level, and the controller": (
        CONTROLLER,
        CALMER,
        *(name for name in rungs() if name.startswith((f"{GPUS} of", "all"))),
    ),
}


def of_all(figures: Figures) -> float:
    """Mean quality of all, 0 for those not served."""
    return figures.quality_of_all


# -- GPUs at levels --------------------------------------------------------------------------------


def divided(found: Runs, rate: int) -> dict[str, list[Figures]]:
    """Figures of the controller and of every fixed allocation at a load."""
    specs = {CONTROLLER: TOLERANCE, CALMER: CALM}
    specs |= {name: f"{TOLERANCE}:workers={counts}" for name, counts in rungs().items()}
    return {name: each(found, "division", f"{rate}", spec) for name, spec in specs.items()}


def best_fixed(cells: dict[str, list[Figures]]) -> str:
    """The fixed allocation with the best quality of all on the mean."""
    return max(rungs(), key=lambda name: average(cells[name], of_all))


def division(found: Runs) -> Answer:
    """The answer on fixed allocations."""
    loads = {rate: divided(found, rate) for rate in DIVISION_RATES}
    seeds = len(loads[DIVISION_RATES[0]][CONTROLLER])
    return Answer(
        question="How should GPUs be divided over levels, and does the controller find it?",
        experiment="prompt_aware",
        verdict=[controller(loads), calm(loads), one_for_all(loads)],
        tables=[ladder(loads)],
        pictures=[
            lines(
                "division",
                {
                    title: {
                        name: [
                            (rate, student([100 * of_all(f) for f in cells[name]]))
                            for rate, cells in loads.items()
                        ]
                        for name in names
                    }
                    for title, names in PANELS.items()
                },
                x="requests a minute",
                y="quality of all, %",
                caption="Quality of all requests, 0 for those not served, by load, of fixed "
                "allocations of 8 GPUs to levels and of the controller's",
                reference=100.0,
            )
        ],
        ran=f"steady loads of 5 minutes after one of filling, {seeds} seeds, objective 3, "
        f"{code(TOLERANCE)} with {code('workers')} fixed and without",
        not_shown=(
            "all 1,287 allocations: seven were tried, so a better one may exist",
            "loads that change, for which a fixed allocation has no answer",
        ),
    )


def controller(loads: dict[int, dict[str, list[Figures]]]) -> str:
    """Where the controller is better or worse than the best fixed allocation, in hindsight."""
    texts, sides = [], []
    for rate, cells in loads.items():
        name = best_fixed(cells)
        gain = differences(cells[CONTROLLER], cells[name], of_all)
        sides.append(side(gain))
        texts.append(f"{points(gain)} at {rate} ({name})")
    return (
        f"Against the best fixed allocation of each load, chosen in hindsight, the controller is "
        f"clearly better at {sides.count(REPRODUCES)} and clearly worse at {sides.count(DOES_NOT)} "
        f"of {len(sides)} loads; in points of quality with unserved at 0: {listed(texts)}."
    )


def calm(loads: dict[int, dict[str, list[Figures]]]) -> str:
    """What a calmer estimate of demand earns."""
    gains = [differences(cells[CALMER], cells[CONTROLLER], of_all) for cells in loads.values()]
    sides = [side(gain) for gain in gains]
    texts = [f"{points(gain)} at {rate}" for gain, rate in zip(gains, loads, strict=True)]
    return (
        f"Demand counted in windows of 5 s in place of 1 s ({code('window_s=5:period=2')}) is "
        f"clearly better at {sides.count(REPRODUCES)} and clearly worse at "
        f"{sides.count(DOES_NOT)} of these steady loads: {listed(texts)} points."
    )


def one_for_all(loads: dict[int, dict[str, list[Figures]]]) -> str:
    """How the best allocation for all loads does, against the controller."""
    rate_mean = {
        name: sum(average(cells[name], of_all) for cells in loads.values()) / len(loads)
        for name in next(iter(loads.values()))
    }
    ours = rate_mean[CONTROLLER]
    name, best = max(((n, rate_mean[n]) for n in rungs()), key=lambda item: item[1])
    return (
        f"Over all loads alike the controller has {percent(ours)}; the best single allocation "
        f"({name}) has {percent(best)}."
    )


def ladder(loads: dict[int, dict[str, list[Figures]]]) -> list[str]:
    """Quality of all and violations, by allocation and load."""
    return table(
        ["quality, unserved 0; violations", *(f"{rate} a minute" for rate in loads)],
        (
            [
                name,
                *(
                    f"{percent(average(cells[name], of_all))}; "
                    f"{percent(average(cells[name], lambda f: f.violations))}"
                    for cells in loads.values()
                ),
            ]
            for name in (CONTROLLER, CALMER, *rungs())
        ),
    )


# -- hits ------------------------------------------------------------------------------------------


def hits(found: Runs) -> Answer:
    """The answer on hits."""
    count = len(each(found, "hits", f"none-{HIT_RATES[0]}", OFF))
    factors = ", ".join(f"{factor:g} from {least:g}" for least, factor in BY_SIMILARITY)
    return Answer(
        question="What do hits of the cache change?",
        experiment="prompt_aware",
        verdict=[of_nirvana(found), of_levels(found), of_similarity(found)],
        tables=[by_source(found)],
        ran=f"no hit, the shares of Argus' log ({percent(sum(HITS['argus']))} hit), those that "
        f"Katz assumes ({percent(sum(HITS['katz']))}), hits only, and cosines with quality that "
        f"depends on them; {count} seeds, steady loads, "
        f"objective 3. Assumed: published loss of quality times {factors} on, and no other "
        "difference between prompts",
        not_shown=(
            "how quality really depends on similarity",
            "levels that are closed to a miss: here every level is open to every request, at its "
            "quality",
        ),
    )


def gain(found: Runs, source: str, rate: int, policy: str, over: str) -> Interval:
    """What a policy earns over another, in quality of those served."""
    case = f"{source}-{rate}"
    ours, theirs = (each(found, "hits", case, name) for name in (policy, over))
    return differences(ours, theirs, lambda f: f.quality)


def of_nirvana(found: Runs) -> str:
    """What hits do to the policy that serves each request at its look-up's level."""
    texts = []
    for source in HITS:
        mine = each(found, "hits", f"{source}-{HIT_RATES[1]}", "nirvana")
        texts.append(f"{percent(average(mine, lambda f: f.violations))} with hits {code(source)}")
    return (
        f"They decide what {code('nirvana')} can serve: at {HIT_RATES[1]} a minute its violations "
        f"are {listed(texts)}."
    )


def of_levels(found: Runs) -> str:
    """What hits do to policies whose levels follow the load."""
    spans = []
    for rate in HIT_RATES:
        means = [average(each(found, "hits", f"{source}-{rate}", OFF), of_all) for source in HITS]
        spans.append(100 * (max(means) - min(means)))
    return (
        "Policies whose levels follow the load serve any request at any level, so hits change "
        f"nothing but how many are redirected: quality of all of {code(OFF)} differs between the "
        f"hit rates by {max(spans):.1f} points at most."
    )


def of_similarity(found: Runs) -> str:
    """What the look-up earns where similarity tells quality."""
    texts = [
        f"{points(gain(found, SIMILARITY, rate, LOOK_UP, OFF))} points at {rate} a minute"
        for rate in HIT_RATES
    ]
    return (
        f"Where quality depends on similarity, as assumed here, the look-up tells something: in "
        f"quality of those served {code(LOOK_UP)} earns {listed(texts)} over awareness off."
    )


def by_source(found: Runs) -> list[str]:
    """Quality of all and redirects, by source of hits, load and policy."""
    rows = []
    for source, rate in product((*HITS, SIMILARITY), HIT_RATES):
        cells = []
        for policy in HIT_POLICIES:
            mine = each(found, "hits", f"{source}-{rate}", policy)
            redirected = average(mine, lambda f: f.redirected / max(1, f.served))
            cells.append(f"{percent(average(mine, of_all))}; {percent(redirected)}")
        rows.append([source, str(rate), *cells])
    head = ["hits", "requests a minute"]
    names = (f"{code(policy)}: quality, unserved 0; redirected" for policy in HIT_POLICIES)
    return table([*head, *names], rows)
