"""Speed and memory of look-ups in a cache of prompts, with the default embedder.

    python benchmarks/caching_speed.py

writes ``benchmarks/results/caching_speed.csv`` and ``.md``. The prompts are drawn: sentences of
words of a Zipf distribution, half of them an earlier one with a word changed. Each row is one run
in a process of its own, with the memory that process peaked at.
"""

from __future__ import annotations

import csv
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from core_speed import machine

RESULTS = Path(__file__).parent / "results"

#: Prompts, those whose latents the cache has room for, and the promised seconds. With little room,
#: twice as many prompts show that memory is bounded.
SIZES = (
    (10_000, 20_000, "60"),
    (100_000, 20_000, ""),
    (100_000, 1_000, ""),
    (200_000, 1_000, ""),
)


def prompts(count: int) -> Iterator[str]:
    """Draw prompts one after another; no more than some thousands are kept."""
    import numpy as np

    rng = np.random.default_rng(0)
    weights = 1.0 / np.arange(1, 50_001)
    ends = np.cumsum(weights / weights.sum())
    recent: list[list[int]] = []
    for i in range(count):
        if recent and rng.random() < 0.5:
            words = list(recent[int(rng.integers(len(recent)))])
            words[int(rng.integers(len(words)))] = int(np.searchsorted(ends, rng.random()))
        else:
            words = np.searchsorted(ends, rng.random(int(rng.integers(5, 25)))).tolist()
        if len(recent) < 5000:
            recent.append(words)
        else:
            recent[i % 5000] = words
        yield " ".join(f"word{word}" for word in words)


def measure(count: int, capacity: int) -> dict[str, float]:
    """Look prompts up in this process, and store those that miss."""
    from msgspec.structs import replace

    from pats_opt.caching.cache import PromptCache
    from pats_opt.caching.embedders import embedder
    from pats_opt.generate.approximate import ApproximateCache

    settings = replace(ApproximateCache(source="prompts").settings(), capacity=capacity)
    cache = PromptCache(settings, embedder())
    began, used, hits = time.perf_counter(), time.process_time(), 0
    for prompt in prompts(count):
        hits += cache.request(prompt, "base").level > 0
    return {
        "seconds": time.perf_counter() - began,
        "cpu_s": time.process_time() - used,
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "hit_share": hits / count,
        "cached": len(cache),
    }


def main() -> None:
    """Measure everything and write the results."""
    rows: list[dict[str, Any]] = []
    for count, capacity, promised in SIZES:
        command = [sys.executable, __file__, "--measure", str(count), str(capacity)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found: dict[str, float] = json.loads(done.stdout)
        rows.append(
            {
                "prompts": f"{count:,}",
                "room": f"{capacity:,}",
                "promised_s": promised,
                "seconds": f"{found['seconds']:.1f}",
                "cpu_s": f"{found['cpu_s']:.1f}",
                "peak_mib": int(found["peak_mib"]),
                "cached": f"{int(found['cached']):,}",
                "hit_share": f"{found['hit_share']:.2f}",
            }
        )
        print(rows[-1], file=sys.stderr)
    with (RESULTS / "caching_speed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (RESULTS / "caching_speed.md").write_text(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """The results as a page, with the machine and the versions they were taken with."""
    lines = ["# Speed of look-ups in a cache of prompts", ""]
    lines += [
        "Written by `python benchmarks/caching_speed.py`. Prompts are embedded, looked up",
        "",
    ]
    lines[-2] += (
        " and stored when they miss. The cache has room for all latents of so many prompts,"
    )
    lines[-2] += " and keeps more prompts with some of theirs."
    lines += [f"{machine()}; Python {platform.python_version()}, "]
    lines[-1] += ", ".join(f"{name} {version(name)}" for name in ("pats-opt", "numpy"))
    lines += [
        "",
        "| prompts | room | promised, s | measured, s | of it CPU, s | peak, MiB | cached | hits |",
    ]
    lines += ["|---|---|---|---|---|---|---|---|"]
    lines += [f"| {' | '.join(map(str, row.values()))} |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(*map(int, sys.argv[2:4]))))
    else:
        main()
