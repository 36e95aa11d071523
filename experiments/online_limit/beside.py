"""Loads beside serving: what policies give away against the best online policy.

    python -m experiments.online_limit.beside

One GPU with three adapters, two of them resident, full images of 60 steps of 0.06 s or 20 at less
quality, batches of two. The grid is coarse, as a state holds the ticks of batch and load in
progress. The command writes ``result/beside.csv``; the page reads it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments.online_limit.cases import FEWER, FULL, SERVICE_S
from experiments.online_limit.run import RESULT, SEED, estimated
from experiments.questions.words import Answer, code, listed, percent, table
from pats_opt.generate import Recipe
from pats_opt.generate.config import Mix
from pats_opt.generate.recipe import (
    AdapterCache,
    Arrivals,
    Complexity,
    GpuSettings,
    Popularity,
    ServiceSettings,
    StepCounts,
)
from pats_opt.limits.limit import named_policies
from pats_opt.limits.sampling import long_run_mean
from pats_opt.limits.stationary import stationary_load
from pats_opt.model.files import encode, write_bytes
from pats_solvers.semi_markov.optimum import online_optimum
from pats_solvers.semi_markov.policy import OnlineOptimum

#: Offered loads, and seconds of a load for each second of a full image alone.
LOADS, RATIOS = (0.5, 0.8), (1.0, 3.0)
#: Length of queues, relative gap of the optimum, paths of a policy and their requests.
QUEUE, TOLERANCE, PATHS, REQUESTS = 6, 1e-3, 4, 400

POLICIES = (
    "price-index:prefetch=next",
    "price-index:prefetch=ahead",
    "price-index",
    "price-index:eviction=lru:prefetch=next",
    "price-index:eviction=lru",
    "price-index:eviction=lfu",
    "price-index:eviction=lfu:prefetch=next",
    "exhaustive:option=fewest:prefetch=next",
)

COLUMNS = (
    *("load", "ratio", "policy", "states", "lower", "optimum"),
    *("loss", "low", "high", "more", "more_low", "more_high"),
)


def recipe(load: float, ratio: float) -> Recipe:
    """Return a system."""
    return Recipe(
        popularity=Popularity(adapters=3, zipf=0.6),
        complexity=Complexity(levels=Mix(values=(0.5,))),
        steps=StepCounts(full=Mix(values=(FULL,)), pruned=(FEWER,)),
        gpus=GpuSettings(batch=2),
        service=ServiceSettings(tick_s=1.2),
        switching=AdapterCache(max_resident=2, channels=1, load_s=(SERVICE_S * ratio,)),
        arrivals=Arrivals(load=load),
    )


def measured(load: float, ratio: float) -> Iterator[tuple[object, ...]]:
    """Yield the lines of a system."""
    beside = stationary_load(recipe(load, ratio))
    ticks = 1.0 / (beside.rate_per_s * beside.site.tick_s)
    found = online_optimum(beside.site, beside.kinds, QUEUE, tolerance=TOLERANCE)
    losses = found.lower, found.found
    with TemporaryDirectory() as folder:
        path = Path(folder) / "policy.json"
        write_bytes(path, encode(found.table))
        best = OnlineOptimum(model=str(path), ahead=True)
        means = list[float]()
        for name, policy in ((best.name, best), *named_policies(POLICIES)):
            mean = long_run_mean(
                beside, name, policy, means, paths=PATHS, requests=REQUESTS, seed=SEED
            )
            about = (load, ratio, name, found.states)
            yield (*about, *[f"{loss * ticks:.5f}" for loss in losses], *estimated(mean))


def main() -> None:
    """Measure every system."""
    with (RESULT / "beside.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for load, ratio in product(LOADS, RATIOS):
            writer.writerows(measured(load, ratio))


Row = Mapping[str, str]


def systems() -> list[dict[str, Row]]:
    """Return the rows of each system, by policy."""
    found: dict[tuple[str, str], dict[str, Row]] = {}
    with (RESULT / "beside.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault((row["load"], row["ratio"]), {})[row["policy"]] = row
    return list(found.values())


def given_away(row: Row) -> str:
    """Return what a policy gives away, with its interval; or that its losses grow."""
    if not row["more"]:
        return "grows"
    more, low, high = (float(row[name]) / float(row["optimum"]) for name in MORE)
    return f"{percent(more)} ({percent(low)} to {percent(high)})"


#: Columns of what a policy loses more than the online optimum.
MORE = ("more", "more_low", "more_high")


def answer() -> Answer:
    """Answer what policies give away where loads run beside serving."""
    found = systems()
    rows = [next(iter(system.values())) for system in found]
    gaps = [1.0 - float(row["lower"]) / float(row["optimum"]) for row in rows]
    shares = {
        name: [float(s[name]["more"]) / float(s[name]["optimum"]) for s in found]
        for name in POLICIES
    }
    return Answer(
        question="What do policies give away where loads run beside serving?",
        experiment="online_limit/result",
        verdict=[
            "Three adapters, two of them resident: "
            + listed([f"{code(n)} {_from(shares[n])}" for n in POLICIES])
            + ".",
            f"The lower bound is up to {percent(max(gaps))} below the loss of the optimum's "
            f"policy: queues of {QUEUE} are short.",
        ],
        tables=[
            table(
                ["", *[f"load {row['load']}, a load of {row['ratio']} services" for row in rows]],
                [[code(name), *[given_away(s[name]) for s in found]] for name in POLICIES],
            )
        ],
        ran=f"each policy on {PATHS} paths of {REQUESTS} requests; the intervals are over paths",
        not_shown=["more channels, and memory that limits what is loaded"],
    )


def _from(shares: Sequence[float]) -> str:
    return f"from {percent(min(shares))} to {percent(max(shares))}"


if __name__ == "__main__":
    main()
