"""What the answer to an operator's question takes, from the start of the process to the page.

    python benchmarks/planning_speed.py

writes ``benchmarks/results/planning_speed.md``.
"""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from core_speed import machine

RESULT = Path(__file__).parent / "results" / "planning_speed.md"
#: The question, the load that it is asked about, and the command that answers it.
QUESTION = "which policy, how many GPUs, which cache, and what is lost against the best possible"
LOAD = (
    *("generate", "--profile", "a100-40g", "--requests", "5000", "--adapters", "300"),
    *("--gpus", "8", "--load", "2", "--seed", "5", "-o", "load.json"),
)
COMMAND = (
    *("plan", "load.json", "--gpus", "4..12", "--resident", "4,8,16"),
    *("--policies", "fifo,pats,exhaustive,price-index", "--slo", "60:0.95"),
    *("--gpu-hour", "2.5", "--bound-time", "20", "-o", "plan"),
)


def main() -> None:
    """Ask the question and write the page."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("pats-opt", "msgspec", "numpy"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pats_opt(folder, "warm-up")
        pats_opt(folder, *LOAD)
        before, began = used_s(), time.perf_counter()
        printed = pats_opt(folder, *COMMAND)
        seconds, cpu_s = time.perf_counter() - began, used_s() - before
    (cells,) = (line for line in printed.splitlines() if " cells were simulated" in line)
    page = f"""# How long a plan takes

Written by `python benchmarks/planning_speed.py`: {QUESTION}?

- `pats-opt {" ".join(LOAD)}`
- `pats-opt {" ".join(COMMAND)}`

The second command took {seconds:.0f} s from the start of the process to the page, and {cpu_s:.0f} s
of CPU in all its processes. Kernels had been compiled. {cells}

{machine()}; Python {platform.python_version()}, {versions}
"""
    RESULT.write_text(page, encoding="utf-8")


def pats_opt(folder: Path, *arguments: str) -> str:
    """Run a command in a folder; what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "pats_opt", *arguments],
        cwd=folder,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


def used_s() -> float:
    """CPU seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
