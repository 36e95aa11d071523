"""What the answers to an operator's questions take: one command each, from process start to page.

    python benchmarks/planning_speed.py

writes ``benchmarks/results/planning_speed.md``.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from core_speed import machine

RESULT = Path(__file__).parent / "results" / "planning_speed.md"
POLICIES = "fifo,pats,exhaustive,price-index"
SEED = ("--seed", "5")


class Question(NamedTuple):
    """A load, and the command that answers a question about it."""

    name: str
    load: tuple[str, ...]
    command: tuple[str, ...]


QUESTIONS = (
    Question(
        "which policy, how many GPUs, which cache, and what is lost against the best possible",
        (
            *("--profile", "a100-40g", "--requests", "5000", "--adapters", "300"),
            *("--gpus", "8", "--load", "2"),
        ),
        (
            *("plan", "load.json", "--gpus", "4..12", "--resident", "4,8,16"),
            *("--policies", POLICIES, "--slo", "60:0.95", "--gpu-hour", "2.5"),
            *("--bound-time", "20"),
        ),
    ),
)


def main() -> None:
    """Ask every question and write the page."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("pats-opt", "msgspec", "numpy"))
    lines = [
        "# How long a plan takes",
        "",
        "Written by `python benchmarks/planning_speed.py`. Each row is one `pats-opt plan`, from "
        "the start of the process to the page, with kernels that are compiled already. CPU seconds "
        "are those of all its processes. The loads are generated (`pats-opt generate "
        f"{' '.join(SEED)}` and the options of the row).",
        "",
        f"{machine()}; Python {platform.python_version()}, {versions}",
        "",
        "| question | load | command | seconds | CPU s | cells |",
        "|---|---|---|---|---|---|",
    ]
    subprocess.run([sys.executable, "-m", "pats_opt", "warm-up"], check=True)
    for question in QUESTIONS:
        with tempfile.TemporaryDirectory() as folder:
            lines.append(row(question, Path(folder)))
        RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")


def row(question: Question, folder: Path) -> str:
    """Ask a question in a folder; its line of the page."""
    options = (*question.load, "-o", "load.json")
    pats_opt(folder, "generate", *SEED, *options)
    before, began = used_s(), time.perf_counter()
    printed = pats_opt(folder, *question.command, "-o", "plan")
    seconds, cpu_s = time.perf_counter() - began, used_s() - before
    cells = [line.partition(" cells")[0] for line in printed.splitlines() if " cells were" in line]
    return (
        f"| {question.name} | `{' '.join(question.load)}` | `{' '.join(question.command)}` "
        f"| {seconds:.0f} | {cpu_s:.0f} | {', '.join(cells) or 'all'} |"
    )


def pats_opt(folder: Path, *arguments: str) -> str:
    """Run a command in a folder; what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "pats_opt", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
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
