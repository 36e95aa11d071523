"""What simulation takes at scale, beside an earlier checkout: CPU time, memory, same decisions.

    python benchmarks/simulation_scale.py FOLDER [REQUESTS]

FOLDER is an earlier checkout of the project. Both read one instance file and simulate each policy
in turn, each time in a process of its own, so other work on the machine slows both alike. Writes
``benchmarks/results/simulation_scale.md``.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from core_speed import machine

RESULT = Path(__file__).parent / "results" / "simulation_scale.md"
HERE = Path(__file__).parents[1]
POLICIES = ("fifo", "exhaustive", "pats", "price-index")
RUNS = 2
#: GPUs and residents, and a name for them.
SITES = (((8, 40), "8 GPUs, 40 residents"), ((1, 1), "1 GPU, 1 resident"))


def write_load(requests: int, gpus: int, residents: int, path: Path) -> None:
    """Write Poisson arrivals for 200 adapters of Zipf popularity, on the documents' profile."""
    from pats_opt.generate import Recipe, generate
    from pats_opt.generate.recipe import AdapterCache, Arrivals, GpuSettings, Popularity
    from pats_opt.model.files import write_instance

    made = generate(
        Recipe(
            requests=requests,
            arrivals=Arrivals(load=0.9, batch=1),
            popularity=Popularity(adapters=200, zipf=0.9),
            gpus=GpuSettings(count=gpus),
            switching=AdapterCache(max_resident=residents),
        )
    )
    write_instance(made, path)


def measure(path: str, policy: str) -> dict[str, float | str]:
    """Read the file, simulate a policy and check its schedule, in this process."""
    import msgspec

    import pats_opt

    instance = pats_opt.read_instance(path)
    few = msgspec.structs.replace(instance, requests=instance.requests[:100])
    pats_opt.solve(few, policy)  # what is imported or compiled at the first run does not count
    began = time.process_time()
    result = pats_opt.solve(instance, policy)
    cpu_s = time.process_time() - began
    sha = hashlib.sha256(msgspec.json.encode(result.schedule.gpus))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_s": cpu_s, "peak_mib": peak, "schedule": sha.hexdigest()}


def measured(checkout: Path, path: Path, policy: str) -> dict[str, float | str]:
    """The same in a process of its own, with the code of a checkout."""
    paths = os.pathsep.join(str(p) for p in (checkout, checkout / "solvers"))
    done = subprocess.run(
        [sys.executable, __file__, "--measure", str(path), policy],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    found: dict[str, float | str] = json.loads(done.stdout)
    return found


def main(before: Path, requests: int) -> None:
    """Measure and write the page."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("msgspec", "numpy"))
    lines = [
        "# Simulation at scale",
        "",
        f"Written by `python benchmarks/simulation_scale.py FOLDER {requests}`: {requests:,} "
        "requests, Poisson arrivals, 200 adapters. The runs of this version and of an earlier one "
        f"take turns, {RUNS} each; the least CPU time of each counts. It is that of the whole "
        "solve: simulation, check and metrics. Memory is the peak of the process, reading "
        "included. Decisions also differ where a policy was changed meanwhile.",
        "",
        f"{machine()}; Python {platform.python_version()}, {versions}; load average "
        f"{os.getloadavg()[2]:.0f} on {os.cpu_count()} cores, so seconds are longer than on a free "
        "machine",
        "",
        "| site | policy | CPU s a million, before | now | ratio | MiB, before | now "
        "| same decisions |",
        "|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for (gpus, residents), name in SITES:
            path = Path(folder) / f"{gpus}.json"
            write_load(requests, gpus, residents, path)
            for policy in POLICIES:
                runs = [[measured(c, path, policy) for c in (before, HERE)] for _ in range(RUNS)]
                sides = zip(*runs, strict=True)
                old, new = (min(side, key=lambda run: float(run["cpu_s"])) for side in sides)
                was, now = (float(run["cpu_s"]) * 1e6 / requests for run in (old, new))
                same = "yes" if old["schedule"] == new["schedule"] else "no"
                lines.append(
                    f"| {name} | `{policy}` | {was:.0f} | {now:.0f} | {was / now:.2f} "
                    f"| {float(old['peak_mib']):.0f} | {float(new['peak_mib']):.0f} | {same} |"
                )
                print(lines[-1], file=sys.stderr)
    RESULT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(*sys.argv[2:4])))
    else:
        main(Path(sys.argv[1]).resolve(), int((*sys.argv[2:3], "100000")[0]))
