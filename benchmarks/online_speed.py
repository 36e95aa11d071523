"""How long the event simulator and the online policies take, at the sizes that are promised.

    python benchmarks/online_speed.py

writes ``benchmarks/results/online_speed.csv`` and ``.md``; with ``--only TEXT`` the cases that have
TEXT in their name are measured and shown, and nothing is written. Each figure is the best of a few
runs (of one, for a million requests), each in a process of its own, with the memory that process
peaked at. Decisions with a crowd waiting are timed in CPU seconds, so that other work on the
machine does not count.
"""

from __future__ import annotations

import csv
import gc
import json
import platform
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core_speed import machine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pats_opt.core.policy import Action, Decide, Policy, State
    from pats_opt.generate import Recipe
    from pats_opt.model.instance import Instance
    from pats_opt.model.problem import Problem, Site
    from pats_opt.model.schedule import StopReason

RESULTS = Path(__file__).parent / "results"
RUNS = 3
#: Requests of the cases that are run once.
MILLION = 1_000_000
#: An hour at 390 requests a minute.
HOUR = "an hour at levels of approximate caching"
#: Waiting requests at which decisions are timed, and how many decisions are.
CROWD, TIMED = 1000, 300
#: Policies that read a solved model from a file.
FROM_FILES = ("online-optimum",)
#: Promised seconds of a decision with a crowd waiting, and where another is promised.
DECISION_S, SLOWER = 1e-3, {"price-index": 5e-3}


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes:
        policy: A policy's name.
        kind: What arrives; see :func:`instance_of`.
        requests: How many.
        promise: Seconds of the whole run or, with a crowd, of the mean decision; None for none.
        gpus: GPUs.
    """

    policy: str
    kind: str
    requests: int
    promise: float | None = None
    gpus: int = 1

    @property
    def name(self) -> str:
        """The case in words."""
        gpus = f", {self.gpus} GPUs" if self.gpus > 1 else ""
        what = "" if self.crowd else f"{self.requests:,} requests, "
        return f"`{self.policy}`, {what}{self.kind}{gpus}"

    @property
    def crowd(self) -> bool:
        """Whether it is about single decisions with a crowd waiting."""
        return self.kind.startswith(f"{CROWD:,} waiting")


def cases() -> list[Case]:
    """Everything that is measured; every policy of the registry that needs no file is among it."""
    from pats_opt.core.registry import load, names
    from pats_opt.core.solver import Kind

    online = [n for n in names() if load(n).kind is Kind.ONLINE and n not in FROM_FILES]
    return [
        Case("fifo", "Poisson, load 0.9", 100_000, 10.0),
        Case("fifo", "all at once", 100_000, 10.0),
        Case("exhaustive", "trace", 100_000),
        Case("exhaustive", "trace", 100_000, gpus=4),
        Case("exhaustive", "trace", MILLION, 60.0),
        Case("pats", "trace", 100_000),
        Case("pats", "trace", MILLION, 300.0),
        Case("fifo:dispatch=least-work", "Poisson, load 0.9", MILLION, 180.0, gpus=64),
        *(Case(name, HOUR, 23_400, 10.0, gpus=8) for name in online),
        *(
            Case(name, f"{CROWD:,} waiting, {kinds}", 3 * CROWD, SLOWER.get(name, DECISION_S))
            for name in online
            for kinds in ("sizes in common", "no two alike")
        ),
    ]


def instance_of(case: Case) -> Instance:
    """The instance of a case, on the documents' profile.

    ``Poisson`` has 50 adapters, and a load that batches of one can bear. ``trace`` is what logs of
    production look like: bursts (coefficient of variation 3), 200 adapters of Zipf popularity of
    which the last ones used come again. An hour at levels of approximate caching is one adapter at
    390 requests a minute, each of which may be rejected. With a crowd waiting the crowd is there at
    tick 0, others come about as fast as they can be served, and all have deadlines.
    """
    from pats_opt.generate import Recipe, generate
    from pats_opt.generate.recipe import Arrivals, GpuSettings, Popularity, Terms

    popularity = Popularity(adapters=200, zipf=0.9, depths=(1, 4, 16), hits=(0.2, 0.4, 0.6))
    gpus = GpuSettings(count=case.gpus)
    if case.crowd:
        terms = Terms(late_price=1.0, deadline_share=1.0)
        swift = Arrivals(process="bursty", load=2.5)
        recipe = Recipe(arrivals=swift, popularity=popularity, gpus=gpus, terms=terms)
        return crowded(recipe, case)
    if case.kind == HOUR:
        return hour(case)
    if case.kind == "trace":
        arrivals = Arrivals(process="bursty", cv=3.0, load=0.9, batch=4)
    else:
        popularity = Popularity(adapters=50, zipf=0.5)
        arrivals = Arrivals(process="at-once" if case.kind == "all at once" else "poisson", batch=1)
    return generate(
        Recipe(requests=case.requests, arrivals=arrivals, popularity=popularity, gpus=gpus)
    )


def hour(case: Case) -> Instance:
    """Requests at six levels, on the profile of the prompt-aware document's system."""
    from pats_opt.generate import Recipe, generate
    from pats_opt.generate.approximate import ApproximateCache
    from pats_opt.generate.config import Mix
    from pats_opt.generate.recipe import (
        Arrivals,
        GpuSettings,
        Popularity,
        ServiceSettings,
        StepCounts,
        Terms,
    )

    return generate(
        Recipe(
            requests=case.requests,
            arrivals=Arrivals(rate_per_s=6.5),
            popularity=Popularity(base_share=1.0),
            steps=StepCounts(full=Mix(values=(50.0,))),
            service=ServiceSettings(profile="argus-a100"),
            gpus=GpuSettings(count=case.gpus),
            terms=Terms(deadline_share=1.0, deadline_slack=(3.0, 3.0), reject_share=1.0),
            approximate_cache=ApproximateCache(),
        )
    )


def crowded(recipe: Recipe, case: Case) -> Instance:
    """Requests of the recipe, a crowd at tick 0; three sizes in common, or each its own."""
    import random

    from msgspec.structs import replace

    from pats_opt.generate import generate

    made = generate(replace(recipe, requests=case.requests))
    distinct = case.kind.endswith("no two alike")
    rng = random.Random(0)  # noqa: S311 - reproducible, not secret
    start = made.requests[CROWD + CROWD // 10].arrival_s
    requests = []
    for request in made.requests:
        vram = rng.uniform(3.0, 5.0) if distinct else rng.choice((3.0, 4.0, 5.0))
        demand = {"vram_gib": vram, "batch": 1.0}
        if distinct:
            demand["host_gib"] = rng.random()
        arrival = max(0.0, request.arrival_s - start)
        requests.append(replace(request, demand=demand, arrival_s=arrival))
    capacity = {"vram_gib": 40.0, "batch": 8.0, "host_gib": 8.0}
    gpus = tuple(replace(gpu, capacity=capacity) for gpu in made.gpus)
    return replace(made, gpus=gpus, requests=tuple(requests))


class Timed:
    """A policy whose decisions for an idle GPU with a crowd waiting are timed, in CPU seconds."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.name, self.kind, self.capabilities = policy.name, policy.kind, policy.capabilities
        self.spent: list[float] = []

    def start(self, site: Site, seed: int) -> Decide:
        """The policy's decision function, timed."""
        decide, spent = self.policy.start(site, seed), self.spent

        def timed(state: State) -> Iterable[Action]:
            # The first decision is left out: it queues the whole crowd.
            counts = state.tick > 0 and len(state.waiting) >= CROWD and state.idle
            began = time.process_time()
            actions = list(decide(state))
            if counts:
                spent.append(time.process_time() - began)
            return actions

        return timed

    def enough(self) -> StopReason | None:
        """Breaks off once enough decisions have been timed."""
        from pats_opt.model.schedule import StopReason

        return StopReason.TIME_LIMIT if len(self.spent) >= TIMED else None


def measure(case: Case) -> dict[str, float]:
    """Simulate one case in this process and return its figures."""
    from pats_opt.core.registry import make
    from pats_opt.core.solver import Solver
    from pats_opt.model.problem import Problem

    policy = make(case.policy)
    assert not isinstance(policy, Solver)
    problem = Problem(instance_of(case))
    gc.collect()  # what making the instance has left behind is no policy's concern
    figures = measure_crowd(problem, policy) if case.crowd else measure_run(problem, policy)
    return {**figures, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def measure_crowd(problem: Problem, policy: Policy) -> dict[str, float]:
    """The decisions with a crowd waiting."""
    import numpy as np

    from pats_opt.simulate import simulate

    timed = Timed(policy)
    simulate(problem, timed, stop=timed.enough)
    spent = 1e3 * np.array(timed.spent)
    return {
        "decisions": len(spent),
        "decision_ms": float(spent.mean()),
        "p99_ms": float(np.quantile(spent, 0.99)),
        "longest_ms": float(spent.max()),
    }


def measure_run(problem: Problem, policy: Policy) -> dict[str, float]:
    """A whole simulation; its CPU seconds are shared out as the simulator's clock says."""
    from pats_opt.simulate import simulate

    began, busy = time.perf_counter(), time.process_time()
    done = simulate(problem, policy)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - busy
    share = done.decision_s / seconds
    return {
        "seconds": seconds,
        "cpu_s": cpu_s,
        "event_us": 1e6 * cpu_s * (1 - share) / done.events,
        "decisions": done.decisions,
        "decision_ms": 1e3 * cpu_s * share / done.decisions,
        "p99_ms": 1e3 * done.decision_p99_s,
        "longest_ms": 1e3 * done.longest_decision_s,
    }


def measured(case: Case) -> dict[str, float]:
    """The same in a process of its own, the best of a few runs."""
    runs = []
    for _ in range(1 if case.requests >= MILLION else RUNS):
        command = [sys.executable, __file__, "--measure", case.name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout))
    best: dict[str, float] = min(runs, key=lambda run: run["decision_ms"])
    return best


def main(only: str = "") -> None:
    """Measure everything and write the results; or only some, and show them."""
    rows: list[dict[str, Any]] = []
    for case in cases():
        if only in case.name:
            figures = {key: round(value, 4) for key, value in measured(case).items()}
            rows.append({"case": case.name, "promised_s": case.promise, **figures})
            print(rows[-1], file=sys.stderr)
    if only:
        print(table(rows))
        return
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "online_speed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (RESULTS / "online_speed.md").write_text(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """The results as a page, with the machine and the versions they were taken with."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("pats-opt", "msgspec", "numpy"))
    lines = [
        "# Speed of the event simulator and the online policies",
        "",
        f"Written by `python benchmarks/online_speed.py`; one thread, the best of {RUNS} runs (one "
        "run of a million requests). Seconds are of the whole simulation, reading left out; an "
        "event's microseconds are the simulator's own, without the policy. Of the cases with "
        f"{CROWD:,} waiting {TIMED} decisions for an idle GPU that find so many are timed.",
        "",
        f"{machine()}; Python {platform.python_version()}, {versions}",
        "",
        "| case | promised | seconds | CPU s | µs per event | decisions | CPU ms each | p99 "
        "| longest | MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        promise, whole = row["promised_s"], " | | "
        promised = "" if promise is None else f"{promise:g} s"
        if "seconds" in row:
            whole = f"{row['seconds']:.2f} | {row['cpu_s']:.2f} | {row['event_us']:.1f}"
        else:
            promised = f"{1e3 * promise:g} ms per decision"
        lines.append(
            f"| {row['case']} | {promised} | {whole} | {row['decisions']:,} "
            f"| {row['decision_ms']:.3f} | {row['p99_ms']:.2f} | {row['longest_ms']:.2f} "
            f"| {row['peak_mib']:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(next(case for case in cases() if case.name == sys.argv[2]))))
    else:
        main(*(sys.argv[2:3] if sys.argv[1:2] == ["--only"] else ()))
