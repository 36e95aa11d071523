"""The speed of ``serve``: beside ``execute`` live, and beside the simulator.

    python benchmarks/serve_speed.py

writes ``benchmarks/results/serve_speed.csv`` and ``.md``.

Images a second of the model ``tiny``: ``serve`` and ``execute`` get the same requests at once, the
same policy and one worker process. They take turns, so that a machine that slows down slows both;
the ratio is the median over the turns.

Latency with the model ``fake``, which takes the times of a profile: what a replay measures beside
what the simulator predicts, with short steps at many requests a second, so that HTTP and
scheduling are nearly all of it, and with the times of a real GPU.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from core_speed import machine

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.serving.running import PROFILE

RESULTS = Path(__file__).parent / "results"
PATS_OPT = (sys.executable, "-m", "pats_opt")
SITE = ("--max-resident", "2", "--batch", "4")
STEPS = 20

#: Loads of the fake model: profile, policy, options of the instance.
LOADS = (
    ("quick.toml", "fifo", ("--rate", "200", "--requests", "6000")),
    ("a100-40g", "price-index", ("--rate", "0.5", "--requests", "100")),
)


def generate(folder: Path, requests: int) -> Path:
    """Write an instance whose requests come within some milliseconds."""
    path = folder / "instance.json"
    options = ("--profile", "tiny-cpu", "--adapters", "2", "--steps", f"{STEPS}", "--pruned", "")
    arrivals = ("--requests", f"{requests}", "--rate", "1000", "--seed", "1")
    command = (*PATS_OPT, "generate", *options, *SITE, *arrivals, "-o", str(path))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path


def executed_s(instance: Path, policy: str, folder: Path) -> float:
    """Return the seconds that ``execute`` takes from the first arrival to the last image."""
    workers = ("--policy", policy, "--engine", "process")
    command = (*PATS_OPT, "execute", str(instance), *workers, "-o", str(folder))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found = json.loads((folder / "execution.json").read_text(encoding="utf-8"))
    return max(batch["end_s"] for gpu in found["gpus"] for batch in gpu["batches"])


@contextmanager
def serving(*options: str, folder: Path) -> Iterator[str]:
    """The address of a server with these options; it ends with the context."""
    command = (*PATS_OPT, "serve", "--port", "0", "--steps", f"{STEPS}", *options)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().rpartition(" ")[2].strip()
        finally:
            server.send_signal(signal.SIGTERM)


def replay(instance: Path, url: str, *options: str) -> dict[str, Any]:
    """Replay an instance at a server; the summary."""
    out = ("-o", str(instance.with_suffix("")), "--json")
    command = (*PATS_OPT, "replay", str(instance), "--url", url, *options, *out)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["measured"]["errors"] == 0
    return found


def served_s(instance: Path, policy: str) -> float:
    """Return the same of ``serve``, at which ``replay`` plays the instance."""
    with serving("--policy", policy, *SITE, folder=instance.parent) as url:
        return float(replay(instance, url)["seconds"])


def replayed(load: tuple[str, str, tuple[str, ...]], folder: Path) -> str:
    """Replay a load at the fake model; a line of the page: measured beside predicted."""
    profile, policy, options = load
    (folder / "quick.toml").write_text(PROFILE.replace("0.0001", "0.00002"), encoding="utf-8")
    site = ("--profile", profile, "--max-resident", "4")
    requests = ("--adapters", "4", "--steps", f"{STEPS}", "--pruned", "", "--seed", "1", *options)
    made = (*PATS_OPT, "generate", *site, *requests, "-o", "load.json")
    subprocess.run(made, check=True, capture_output=True, cwd=folder)
    given = ("--model", "fake", *site, "--policy", policy, "--max-queue", "10000")
    with serving(*given, folder=folder) as url:
        found = replay(folder / "load.json", url, "--predict", policy)
    sides = found["measured"], found["predicted"]
    times = [
        f"{1000 * side[name]:.1f}" for name in ("latency_p50_s", "latency_p99_s") for side in sides
    ]
    losses = [
        math.fsum([side[name] for name in ("quality_loss", "latency_loss", "late_loss")])
        for side in sides
    ]
    cells = (f"`{profile}`", f"`{policy}`", f"`{' '.join(options)}`", *times)
    return f"| {' | '.join(cells)} | {losses[0] / losses[1]:.3f} |\n"


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--policy", default="price-index")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        instance = generate(folder, given.requests)
        for turn in range(given.turns):
            live = given.requests / executed_s(instance, given.policy, folder / f"live-{turn}")
            serve = given.requests / served_s(instance, given.policy)
            rows.append((turn, round(live, 4), round(serve, 4), round(serve / live, 4)))
            print(*rows[-1], flush=True)
        replays = [replayed(load, folder) for load in LOADS]
    with (RESULTS / "serve_speed.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("turn", "execute_images_per_s", "serve_images_per_s", "ratio"))
        writer.writerows(rows)
    ratio = median(row[3] for row in rows)
    options = f"--requests {given.requests} --turns {given.turns} --policy {given.policy}"
    page = f"""# Speed of serve

## Images a second beside execute

Written by `python benchmarks/serve_speed.py {options}`. Model `tiny`, float32, {STEPS} steps,
batches of 4, two adapters, one worker process. All requests come at once; turns alternate.

{machine()}; load average at the end {os.getloadavg()[0]:.1f}

| turn | execute, images a second | serve, images a second | ratio |
|---|---|---|---|
""" + "".join(f"| {turn} | {live} | {serve} | {share} |\n" for turn, live, serve, share in rows)
    page += f"""
Median of the ratios: {ratio:.3f}.

## Latency beside the simulator

The model `fake` takes the times of the profile; those of `quick` are nearly nothing. Client, server
and worker share the machine. The loss is that of quality, latency and lateness.

| profile | policy | load | median, ms, measured | predicted | p99, ms, measured | predicted \
| loss, measured over predicted |
|---|---|---|---|---|---|---|---|
{"".join(replays)}"""
    (RESULTS / "serve_speed.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
