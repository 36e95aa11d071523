"""How long the core takes: reading, checking and starting up, at sizes the README promises.

    python benchmarks/core_speed.py

writes ``benchmarks/results/core_speed.csv`` and ``.md``. Each figure is the best of a few runs in a
process of its own, with the memory that process peaked at.
"""

from __future__ import annotations

import csv
import json
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
RUNS = 3


def write_pair(requests: int, prompt: int, folder: Path) -> tuple[Path, Path]:
    """An instance of so many requests on 8 GPUs, and a schedule that serves each in turn.

    Args:
        requests: How many.
        prompt: Length of each prompt in characters, to make a file as large as wanted.
        folder: Where the two files go.
    """
    from pats_opt.model.files import write_instance, write_schedule
    from pats_opt.model.instance import (
        Adapter,
        Gpu,
        Instance,
        Option,
        Request,
        StepsService,
        StepTime,
        Switching,
    )
    from pats_opt.model.plan import Plan, PlannedBatch, schedule_of
    from pats_opt.model.problem import Problem
    from pats_opt.model.schedule import SolverRef

    rng = random.Random(0)  # noqa: S311 - reproducible, not secret
    gpus, size = 8, 4
    instance = Instance(
        name=f"{requests} requests",
        tick_s=0.6,
        base_vram_gib=7.0,
        gpus=tuple(
            Gpu(id=f"gpu-{g}", capacity={"vram_gib": 40.0, "batch": 8.0}) for g in range(gpus)
        ),
        adapters=tuple(Adapter(id=f"lora-{a}", vram_gib=0.17, load_s=1.16) for a in range(100)),
        switching=Switching(max_resident=1, price_per_s=1.0),
        service=StepsService(step_s=StepTime(base=0.03, per_sample=0.107)),
        latency_price_per_s=0.05,
        requests=tuple(
            Request(
                id=f"r{r}",
                arrival_s=round(0.7 * (r - r % size), 3),
                adapter=f"lora-{rng.randrange(100) if r % size == 0 else 0}",
                demand={"vram_gib": 4.0, "batch": 1.0},
                options=(Option(steps=20, quality=0.97), Option(steps=60, quality=1.0)),
                weight=1.0,
                complexity=0.5,
                prompt="x" * prompt,
            )
            for r in range(requests)
        ),
    )
    problem = Problem(instance)
    site = problem.site
    plans: list[list[PlannedBatch]] = [[] for _ in range(gpus)]
    free, held = [0] * gpus, [frozenset[int]()] * gpus
    for job in problem.jobs:
        g, resident = job.index % gpus, frozenset((job.adapter,))
        switch = site.switch(held[g], resident, resident, None)
        start = max(job.arrival, free[g] + switch.ticks)
        plans[g].append(PlannedBatch(start, ((job.index, 0),), resident))
        free[g] = start + site.clock.duration(((job.options[0].steps, 1),))
        held[g] = resident
    paths = folder / f"{requests}-{prompt}.json", folder / f"{requests}-{prompt}.schedule.json"
    write_instance(instance, paths[0])
    plan = Plan(tuple(tuple(gpu) for gpu in plans))
    write_schedule(schedule_of(problem, plan, SolverRef(name="in turn")), paths[1])
    return paths


def measured(action: str, *paths: Path) -> dict[str, float]:
    """Seconds and peak MiB of one action, in a process of its own."""
    command = [sys.executable, __file__, "--measure", action, *map(str, paths)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(action: str, *paths: str) -> dict[str, float]:
    """Do one action in this process and say what it took."""
    from pats_opt import check, read_instance, read_schedule

    began, used = time.perf_counter(), time.process_time()
    instance = read_instance(paths[0])
    if action == "read and check":
        verdict = check(instance, read_schedule(paths[1]))
        assert verdict.ok, verdict.violations[:3]
    seconds = time.perf_counter() - began
    cpu_s = time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "cpu_s": cpu_s, "peak_mib": round(peak)}


def start_up() -> dict[str, float]:
    """Seconds of ``pats-opt --help``, interpreter included."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "pats_opt", "--help"]
    subprocess.run(command, check=True, capture_output=True)
    return {"seconds": time.perf_counter() - began}


def main() -> None:
    """Measure everything and write the results."""
    rows: list[dict[str, Any]] = []

    def add(what: str, promised: str, size: float, runs: list[dict[str, float]]) -> None:
        best = min(runs, key=lambda run: run["seconds"])
        row: dict[str, Any] = {"what": what, "files_mb": f"{size / 1e6:.0f}" if size else ""}
        row |= {"promised_s": promised, "seconds": f"{best['seconds']:.2f}"}
        row |= {"cpu_s": f"{best['cpu_s']:.2f}" if "cpu_s" in best else ""}
        rows.append(row | {"peak_mib": best.get("peak_mib", "")})
        print(rows[-1], file=sys.stderr)

    add("pats-opt --help", "0.3", 0, [start_up() for _ in range(RUNS + 2)])
    with tempfile.TemporaryDirectory() as folder:
        for count, promised in ((10_000, ""), (100_000, "3")):
            paths = write_pair(count, 40, Path(folder))
            size = sum(path.stat().st_size for path in paths)
            runs = [measured("read and check", *paths) for _ in range(RUNS)]
            add(f"read and check {count:,} requests", promised, size, runs)
        large, _ = write_pair(300_000, 300, Path(folder))
        add("read a large instance", "", large.stat().st_size, [measured("read", large)])
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "core_speed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (RESULTS / "core_speed.md").write_text(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """The results as a page, with the machine and the versions they were taken with."""
    lines = ["# Speed of the core", "", "Written by `python benchmarks/core_speed.py`.", ""]
    lines += [f"{machine()}; Python {platform.python_version()}, "]
    lines[-1] += ", ".join(f"{name} {version(name)}" for name in ("pats-opt", "msgspec", "click"))
    lines += ["", "| what | files, MB | promised, s | measured, s | of it CPU, s | peak, MiB |"]
    lines += ["|---|---|---|---|---|---|"]
    lines += [f"| {' | '.join(map(str, row.values()))} |" for row in rows]
    return "\n".join(lines) + "\n"


def machine() -> str:
    """The processor and the number of its cores that this machine has."""
    import os

    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        name = next(line for line in told.splitlines() if line.startswith("model name"))
        model = name.partition(":")[2].strip()
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(*sys.argv[2:])))
    else:
        main()
