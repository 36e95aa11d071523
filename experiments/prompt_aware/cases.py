"""The instances of prompt-aware serving, and the policies that run on each.

One diffusion model of 50 steps on 8 GPUs (profile ``argus-a100``), each request with an option for
every level of approximate caching, a deadline, and the right to be rejected at a loss of 1. What is
served loses 1 less its quality, and 1 more where it is late. Rates are in requests per minute.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from pats_opt.generate import Recipe
from pats_opt.generate.approximate import SHARES, ApproximateCache
from pats_opt.generate.config import Mix
from pats_opt.generate.recipe import (
    Arrivals,
    GpuSettings,
    ImageCount,
    Popularity,
    ServiceSettings,
    StepCounts,
    Terms,
)
from pats_opt.generate.shapes import CELLS, DayShape, SquareWave
from pats_opt.generate.skipping import PUBLISHED
from pats_opt.model.instance import Instance
from pats_opt.model.problem import Problem

GPUS, STEPS = 8, 50
#: Low and high rate of the square wave, as in the document's figure; the day has the same peak.
LOW, HIGH = 50, 390
#: What 8 GPUs serve at K = 0 in full batches, and at K = 25, by the code of Argus.
FULL_STEPS, DEEPEST = 188.6, 377.1
HALF_PERIOD_S, RAMP_S, DAY_S = 300.0, 30.0, 1800.0
#: Seconds of steady load that count, after those in which the fleet fills.
STEADY_S, FILLING_S = 300.0, 60.0
#: Latency objectives, in services of one image alone at K = 0.
OBJECTIVES = (3, 5)

ACCURACY, THROUGHPUT = "clipper:level=accuracy", "clipper:level=throughput"
LOOK_UP, TOLERANCE = "prompt-aware", "prompt-aware:predictor=tolerance"
OFF = "prompt-aware:awareness=off"
#: The same with a calmer estimate of demand: windows of 5 s, and an allocation every 10 s as ever.
CALM = f"{TOLERANCE}:window_s=5:period=2"
#: All at the deepest level as with Clipper, but with the batching and the dispatcher of the system.
DEEP = f"prompt-aware:workers=0+0+0+0+0+{GPUS}"
BASELINES = (ACCURACY, "nirvana", THROUGHPUT, "proteus", OFF, DEEP)
SYSTEMS = (LOOK_UP, TOLERANCE)
#: The batching rule that all policies get; each also runs with its own.
COMMON = "switched"
OWN = {ACCURACY: "aimd", "nirvana": "aimd", THROUGHPUT: "aimd", "proteus": "accscale"}

#: Steady rates: in front of fixed allocations, for awareness by itself, and for hits.
DIVISION_RATES = (150, 205, 260, 315, 370)
AWARENESS_RATES = (150, 250, 330, 390)
HIT_RATES = (150, 250)
SPREADS = (0.0, 0.5, 1.0, 2.0)
RHOS = (0.0, 0.3, 0.6, 1.0)

#: Policies that hits may touch.
HIT_POLICIES = ("nirvana", OFF, LOOK_UP)
#: Where hits come from: shares of the levels.
HITS = {
    "none": (0.0,) * 5,
    "argus": SHARES,
    "katz": (0.0, 0.66, 0.0, 0.20, 0.0),
    "all": tuple(share / sum(SHARES) for share in SHARES),
}
#: Quantiles of the cosine of the nearest cached prompt in Argus' hit log; the ends are assumed.
COSINES = ((0.0, 0.45), (0.05, 0.573), (0.25, 0.657), (0.5, 0.712), (0.75, 0.784), (0.95, 0.965))
#: Assumed loss of quality from this similarity on, over the published one.
BY_SIMILARITY = ((0.0, 1.5), (0.65, 1.0), (0.75, 0.75), (0.85, 0.5), (0.95, 0.25))

#: Windows for the bound: GPUs, largest batch, requests; rates per GPU; a tick of five steps.
WINDOWS = ((1, 2, 30), (2, 2, 40))
WINDOW_RATES = (12, 20, 28)
WINDOW_TICK_S = 0.42

#: Names the part of a load that an arrival (seconds) falls into; empty where it does not count.
Phase = Callable[[float], str]


@dataclass(frozen=True)
class Case:
    """A recipe with the policies that run on it.

    Attributes:
        experiment: What it is for.
        name: Its name there.
        recipe: What the generator is to make; the seed is apart.
        policies: Policies with parameters.
        phase: The parts of the load that are counted by themselves.
    """

    experiment: str
    name: str
    recipe: Recipe
    policies: tuple[str, ...]
    phase: Phase


def own(policy: str) -> str:
    """Return the batching rule that a policy has without a parameter."""
    return OWN.get(policy, COMMON)


def with_batching(policy: str, rule: str) -> str:
    """Return a policy with a batching rule, written as a run file writes it."""
    if rule in ("own", own(policy)):
        return policy
    return f"{policy}:batching={rule}"


def recipe(
    rate: float,
    seconds: float,
    objective: float = 3.0,
    *,
    arrivals: Arrivals | None = None,
    cache: ApproximateCache | None = None,
) -> Recipe:
    """Return the recipe of requests that arrive for so many seconds, and a few beyond."""
    return Recipe(
        requests=math.ceil(rate / 60.0 * seconds * 1.05),
        arrivals=replace(arrivals or Arrivals(), rate_per_s=rate / 60.0),
        popularity=Popularity(base_share=1.0),
        steps=StepCounts(full=Mix(values=(STEPS,)), pruned=()),
        images=ImageCount(mode="one"),
        service=ServiceSettings(profile="argus-a100"),
        gpus=GpuSettings(count=GPUS),
        terms=Terms(
            latency_price_per_s=0.0,
            late_price=1.0,
            deadline_share=1.0,
            deadline_slack=(objective, objective),
            reject_share=1.0,
            reject_loss=1.0,
        ),
        approximate_cache=cache or ApproximateCache(),
    )


def baselines() -> Iterator[Case]:
    """Every policy on the square wave and on the day, with its own and with the common batching."""
    pairs = product((*BASELINES, *SYSTEMS), ("own", COMMON))
    specs = tuple(dict.fromkeys(with_batching(policy, rule) for policy, rule in pairs))
    for objective in OBJECTIVES:
        square = Arrivals(
            process="square",
            square=SquareWave(low=LOW, high=HIGH, half_period_s=HALF_PERIOD_S),
        )
        made = recipe((LOW + HIGH) / 2, 2 * HALF_PERIOD_S, objective, arrivals=square)
        yield Case("baselines", f"square-slo{objective}", made, specs, square_phase)
        day = Arrivals(process="day", day=DayShape(period_s=DAY_S))
        made = recipe(sum(day_rates()) / CELLS, DAY_S, objective, arrivals=day)
        yield Case("baselines", f"day-slo{objective}", made, specs, day_phase)


@lru_cache(maxsize=1)
def day_rates() -> list[float]:
    """Return the day's rate in each of its cells."""
    rates = DayShape().rates()
    scaled: list[float] = (HIGH / rates.max() * rates).tolist()
    return scaled


def square_phase(seconds: float) -> str:
    """Low, the ramp in which the controller follows, or high."""
    if seconds >= 2 * HALF_PERIOD_S:
        return ""
    if seconds < HALF_PERIOD_S:
        return "low"
    return "ramp" if seconds < HALF_PERIOD_S + RAMP_S else "high"


def day_phase(seconds: float) -> str:
    """Busy where the day's rate is above what the fleet serves at K = 0, else quiet."""
    if seconds >= DAY_S:
        return ""
    return "busy" if day_rates()[int(seconds / DAY_S * CELLS)] > FULL_STEPS else "quiet"


def minutes(phase: Phase, *wanted: str) -> float:
    """Return how long some parts of a load last together, in minutes."""
    longest = int(max(DAY_S, 2 * HALF_PERIOD_S, FILLING_S + STEADY_S))
    return sum(phase(second + 0.5) in wanted for second in range(longest)) / 60.0


def steady_phase(seconds: float) -> str:
    """The steady load, after the fleet has filled."""
    return "steady" if FILLING_S <= seconds < FILLING_S + STEADY_S else ""


def steady(rate: float, objective: float = 3.0, cache: ApproximateCache | None = None) -> Recipe:
    """Return the recipe of a steady load."""
    return recipe(rate, FILLING_S + STEADY_S, objective, cache=cache)


def rungs() -> dict[str, str]:
    """Return fixed allocations by name, shallow levels first: at two levels, and all at one."""
    found = {}
    for deep in (0, 2, 4, 6, 8):
        found[f"{deep} of {GPUS} at K = 25"] = f"{GPUS - deep}+0+0+0+0+{deep}"
    return found | {"all at K = 10": f"0+0+{GPUS}", "all at K = 20": f"0+0+0+0+{GPUS}"}


def division() -> Iterator[Case]:
    """Fixed allocations of GPUs to levels, and the controller's."""
    fixed = [f"{TOLERANCE}:workers={counts}" for counts in rungs().values()]
    for rate in DIVISION_RATES:
        yield Case("division", f"{rate}", steady(rate), (TOLERANCE, CALM, *fixed), steady_phase)


def hits(folder: Path) -> Iterator[Case]:
    """Hit rates, and quality that depends on similarity (with its files in ``folder``)."""
    caches = {name: ApproximateCache(shares=shares) for name, shares in HITS.items()}
    caches["similarity"] = by_similarity(folder)
    for (name, cache), rate in product(caches.items(), HIT_RATES):
        made = steady(rate, cache=cache)
        yield Case("hits", f"{name}-{rate}", made, HIT_POLICIES, steady_phase)


def by_similarity(folder: Path) -> ApproximateCache:
    """Return the cache of prompts that differ by their similarity only; writes its two files."""
    shares, cosines = zip(*COSINES, (1.0, 1.0), strict=True)
    drawn = np.interp(np.linspace(0.0, 1.0, 2000), shares, cosines).round(6).tolist()
    random.Random(0).shuffle(drawn)  # noqa: S311 - reproducible, not secret
    log, table = folder / "cosines.csv", folder / "quality.csv"
    log.write_text("\n".join(["similarity", *map(str, drawn)]) + "\n", encoding="utf-8")
    rows = [
        f"{round(share * STEPS)},{1 - factor * (1 - quality):.6f},{least}"
        for least, factor in BY_SIMILARITY
        for share, quality in PUBLISHED
    ]
    table.write_text("\n".join(["skip,quality,similarity", *rows]) + "\n", encoding="utf-8")
    return ApproximateCache(source="log", log=str(log), quality_table=str(table), spread=0.0)


def awareness() -> Iterator[Case]:
    """Awareness off and by tolerance, over load and spread; at spread 1 known to each degree."""
    for rate, spread in product(AWARENESS_RATES, SPREADS):
        policies = [OFF, LOOK_UP, *map(knowing, RHOS)] if spread == 1 else [OFF, knowing(1.0)]
        made = steady(rate, cache=ApproximateCache(spread=spread))
        yield Case("awareness", f"{rate}-c{spread:g}", made, tuple(policies), steady_phase)


def knowing(rho: float) -> str:
    """Return the policy that knows tolerance to a degree."""
    return f"{TOLERANCE}:rho={rho:g}"


def window(gpus: int, batch: int, requests: int, rate: float) -> Recipe:
    """Return the recipe of a window that is small enough for a bound."""
    made = recipe(gpus * rate, 60.0)
    return replace(
        made,
        requests=requests,
        gpus=GpuSettings(count=gpus, batch=batch),
        service=ServiceSettings(profile="argus-a100", tick_s=WINDOW_TICK_S),
    )


def until_due(instance: Instance) -> Instance:
    """Return an instance that ends with its last deadline, of the same optimum.

    Who would be served after that is late, which costs more than the rejection; a bound gains.
    """
    jobs = Problem(instance).jobs
    last = max(job.arrival + job.deadline for job in jobs if job.deadline is not None)
    return replace(instance, horizon_ticks=last)
