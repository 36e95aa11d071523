"""How long the event simulator and the first policies take, at sizes the README promises.

    python benchmarks/online_speed.py

writes ``benchmarks/results/online_speed.csv`` and ``.md``. Each figure is the best of a few runs,
each in a process of its own, with the memory that process peaked at. Decisions are timed in CPU
seconds, so that other work on the machine does not count.
"""

from __future__ import annotations

import csv
import json
import platform
import random
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from core_speed import machine

if TYPE_CHECKING:
    from pats_opt.instance import Instance
    from pats_opt.policy import Decide
    from pats_opt.problem import Site

RESULTS = Path(__file__).parent / "results"
RUNS = 3
#: Waiting requests at which a decision is timed.
WAITING = 1000

#: What is simulated: policy, requests, arrivals a second, whether no two demands are alike, and the
#: promise in seconds (of the whole run, or of a decision with 1,000 waiting), if there is one.
CASES: dict[str, tuple[str, int, float, bool, float | None]] = {
    "`fifo`, 100,000 requests, load 0.9": ("fifo", 100_000, 0.2, False, 10.0),
    "`fifo`, 100,000 requests, all at once": ("fifo", 100_000, 1e9, False, 10.0),
    "`fifo`, 200,000 requests, load 0.9": ("fifo", 200_000, 0.2, False, None),
    "`pats`, 100,000 requests, load 0.9": ("pats", 100_000, 0.2, False, None),
    "`pats`, decisions with 1,000 waiting, 300 kinds": ("pats", 1400, 1e9, False, 1e-3),
    "`pats`, decisions with 1,000 waiting, no two alike": ("pats", 1400, 1e9, True, 1e-3),
}


def stream(requests: int, rate: float, distinct: bool) -> Instance:
    """Poisson arrivals of 50 adapters on one GPU, on the documents' profile.

    Args:
        requests: How many.
        rate: Arrivals a second.
        distinct: Whether every request has demands of its own, of three resources; else there are
            three sizes, so with the two step counts 300 kinds of requests.
    """
    from pats_opt.instance import (
        Adapter,
        Gpu,
        Instance,
        Option,
        Request,
        StepsService,
        StepTime,
        Switching,
    )

    rng = random.Random(0)  # noqa: S311 - reproducible, not secret
    now, made = 0.0, []
    for r in range(requests):
        now += rng.expovariate(rate)
        vram = rng.uniform(3.0, 5.0) if distinct else rng.choice((3.0, 4.0, 5.0))
        demand = {"vram_gib": vram, "batch": 1.0}
        if distinct:
            demand["host_gib"] = rng.random()
        made.append(
            Request(
                id=f"r{r}",
                arrival_s=now,
                adapter=f"lora-{int(50 * rng.random() ** 2)}",
                demand=demand,
                complexity=rng.random(),
                options=(Option(steps=20, quality=0.97), Option(steps=60, quality=1.0)),
            )
        )
    capacity = {"vram_gib": 40.0, "batch": 8.0, "host_gib": 8.0}
    return Instance(
        name=f"{requests} requests",
        tick_s=0.6,
        base_vram_gib=7.0,
        gpus=(Gpu(id="gpu-0", capacity=capacity),),
        adapters=tuple(Adapter(id=f"lora-{a}", vram_gib=0.17, load_s=1.16) for a in range(50)),
        switching=Switching(max_resident=1, price_per_s=1.0),
        service=StepsService(step_s=StepTime(base=0.06, per_sample=0.0)),
        latency_price_per_s=0.05,
        requests=tuple(made),
    )


def measure(case: str) -> dict[str, float]:
    """Simulate one case in this process and say what it took."""
    from pats_opt.policy import State
    from pats_opt.problem import Problem
    from pats_opt.registry import make
    from pats_opt.simulate import simulate
    from pats_opt.solver import Capabilities, Kind, Solver

    name, requests, rate, distinct, _ = CASES[case]
    problem, policy = Problem(stream(requests, rate, distinct)), make(name)
    assert not isinstance(policy, Solver)
    spent: list[float] = []
    crowd = WAITING if "waiting" in case else 0

    class Timed:
        name: ClassVar[str] = policy.name
        kind: ClassVar[Kind] = policy.kind
        capabilities: ClassVar[Capabilities] = policy.capabilities

        def start(self, site: Site, seed: int) -> Decide:
            decide = policy.start(site, seed)

            def timed(state: State) -> Any:
                # Where all arrive at once, that decision is left out: it queues them all.
                counts = not crowd or (len(state.waiting) >= crowd and not state.arrived)
                began = time.process_time()
                actions = decide(state)
                if counts:
                    spent.append(time.process_time() - began)
                return actions

            return timed

    began, busy = time.perf_counter(), time.process_time()
    simulate(problem, Timed())
    return {
        "seconds": time.perf_counter() - began,
        "cpu_s": time.process_time() - busy,
        "decisions": len(spent),
        "decision_ms": 1e3 * sum(spent) / len(spent),
        "longest_ms": 1e3 * max(spent),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measured(case: str) -> dict[str, float]:
    """The same in a process of its own, the best of a few runs."""
    runs = []
    for _ in range(RUNS):
        command = [sys.executable, __file__, "--measure", case]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout))
    best: dict[str, float] = min(runs, key=lambda run: run["seconds"])
    return best


def main() -> None:
    """Measure everything and write the results."""
    rows: list[dict[str, Any]] = []
    for case, (_, _, _, _, promise) in CASES.items():
        told = {key: round(value, 4) for key, value in measured(case).items()}
        rows.append({"case": case, "promised_s": promise, **told})
        print(rows[-1], file=sys.stderr)
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
        "# Speed of the event simulator and its first policies",
        "",
        "Written by `python benchmarks/online_speed.py`; one thread, the best of "
        f"{RUNS} runs. Seconds are of the whole simulation, reading left out.",
        "",
        f"{machine()}; Python {platform.python_version()}, {versions}",
        "",
        "| case | promised | seconds | CPU seconds | decisions | CPU ms each | longest | MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        promise = row["promised_s"]
        told = "" if promise is None else f"{promise:g} s" if promise >= 1 else "1 ms a decision"
        lines.append(
            f"| {row['case']} | {told} | {row['seconds']:.2f} | {row['cpu_s']:.2f} "
            f"| {row['decisions']} | {row['decision_ms']:.3f} | {row['longest_ms']:.2f} "
            f"| {row['peak_mib']:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main()
