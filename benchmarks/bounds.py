"""Monolithic models against the Lagrangian bound and the exact search, on the same instances.

    python benchmarks/bounds.py [compare|growth ...] [--limit S] [--jobs-dir FOLDER] [-o FOLDER]

One run at a time, each in a fresh process with one thread, whose memory peak (its children
included) is measured. Every finished run is kept in the jobs folder, so that an interrupted
benchmark goes on where it was. Writes ``bounds.csv`` and ``bounds.md``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

#: Seconds at which gaps are looked up.
MARKS = (10, 60, 300)

MONOLITHIC = ("milp:backend=highs", "milp:backend=scip", "milp:backend=cbc", "cpsat")
PRICED = ("lagrangian", "exact")
DOCUMENTS: dict[str, Any] = {"arrivals": {"load": 1.2}}
A100: dict[str, Any] = {
    "arrivals": {"load": 1.2},
    "service": {"profile": "a100-40g"},
    "terms": {"latency_price_per_s": 0.01},
}

#: Limit of a monolithic model where it is hopeless anyway.
HOPELESS_S = 30.0


def comparison(limit: float) -> list[dict[str, Any]]:
    """Every solver on every class, side by side."""
    runs = []
    for requests, adapters in ((20, 3), (40, 4), (80, 5), (160, 6)):
        for profile, recipe in (("documents", DOCUMENTS), ("a100", A100)):
            for solver in (*PRICED, *MONOLITHIC):
                hopeless = solver in MONOLITHIC and requests > 40
                runs.append(
                    {
                        "table": "compare",
                        "name": f"{profile}-{requests}x{adapters}",
                        "solver": solver,
                        "limit": min(limit, HOPELESS_S) if hopeless else limit,
                        "recipe": sized(recipe, requests, adapters),
                    }
                )
    return runs


def growth(limit: float) -> list[dict[str, Any]]:
    """Time and memory by requests, adapters, ticks, GPUs and cache."""
    found: list[tuple[str, dict[str, Any], float]] = []
    for profile, recipe in (("documents", DOCUMENTS), ("a100", A100)):
        for requests, adapters in ((20, 3), (40, 4), (80, 5), (160, 6), (320, 10), (1000, 20)):
            name = f"requests: {profile} {requests}x{adapters}"
            found.append((name, sized(recipe, requests, adapters), limit))
    found += [
        (f"adapters: documents 80x{adapters}", sized(DOCUMENTS, 80, adapters), limit)
        for adapters in (2, 5, 10, 20)
    ]
    for tick_s in (1.2, 0.6, 0.3, 0.12, 0.06):
        recipe = sized(DOCUMENTS, 40, 4) | {"service": {"tick_s": tick_s}}
        found.append((f"ticks: documents 40x4, {tick_s} s", recipe, limit))
    for gpus in (1, 2, 4):
        recipe = sized(DOCUMENTS, 40 * gpus, 6) | {"gpus": {"count": gpus}}
        found.append((f"GPUs: documents {40 * gpus}x6 on {gpus}", recipe, limit))
    for places in (1, 2, 4):
        recipe = sized(DOCUMENTS, 60, 10) | {"switching": {"max_resident": places}}
        found.append((f"cache: documents 60x10, {places} resident", recipe, limit))
    fleet = sized(DOCUMENTS, 10_000, 50) | {"gpus": {"count": 4}, "arrivals": {"load": 1.0}}
    found.append(("fleet: documents 10000x50 on 4", fleet, 900.0))
    return [
        {"table": "growth", "name": name, "solver": solver, "limit": seconds, "recipe": recipe}
        for name, recipe, seconds in found
        for solver in (("exact",) if seconds == limit else ("lagrangian",))
    ]


def sized(recipe: dict[str, Any], requests: int, adapters: int) -> dict[str, Any]:
    """The recipe for so many requests and adapters."""
    return recipe | {"requests": requests, "popularity": {"adapters": adapters}}


def one(spec: dict[str, Any]) -> dict[str, Any]:
    """One run in this process."""
    import msgspec

    from pats_opt.errors import InputError
    from pats_opt.generate import Recipe, generate
    from pats_opt.solving.solve import solve

    instance = generate(msgspec.convert(spec["recipe"], Recipe), seed=spec.get("seed", 0))
    began = time.monotonic()
    events: list[tuple[float, float | None, float | None]] = []

    def note(bound: float | None, loss: float | None) -> None:
        events.append((time.monotonic() - began, bound, loss))

    try:
        result = solve(instance, spec["solver"], time_limit=spec["limit"], progress=note)
    except InputError:  # the model would take too much memory, and says so
        return _refused(spec, time.monotonic() - began)
    events.append((time.monotonic() - began, result.bound, result.loss))
    peak = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        **{key: spec[key] for key in ("table", "name", "solver", "limit")},
        "loss": result.loss,
        "bound": result.bound,
        "gap": result.gap,
        "stop": str(result.status.stop),
        "seconds": result.runtime_s,
        **{f"gap_{mark}": _gap_at(events, mark) for mark in MARKS},
        "peak_gib": peak / 2**20,
    }


def _refused(spec: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The row of a solver that cannot take the instance."""
    return {
        **{key: spec[key] for key in ("table", "name", "solver", "limit")},
        **dict.fromkeys(("loss", "bound", "gap"), None),
        "stop": "refused",
        "seconds": seconds,
        **{f"gap_{mark}": None for mark in MARKS},
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def _gap_at(events: list[tuple[float, float | None, float | None]], mark: float) -> float | None:
    """The gap known by ``mark`` seconds; None where there was no bound or no schedule."""
    bounds = [b for t, b, _ in events if t <= mark and b is not None]
    losses = [loss for t, _, loss in events if t <= mark and loss is not None]
    if not bounds or not losses:
        return None
    loss = min(losses)
    return 0.0 if loss <= 0 else max(0.0, (loss - max(bounds)) / loss)


def page(rows: list[dict[str, Any]]) -> str:
    """The rows as a page in Markdown."""
    packages = ", ".join(f"{n} {version(n)}" for n in ("ortools", "pulp", "numba", "numpy"))
    lines = [
        "# Bounds and optima: monolithic models, prices, and the search that uses them",
        "",
        "Generated by `benchmarks/bounds.py`. One thread a run, started from the online policies,",
        "seed 0, load 1.2; *proven* is the time to a proven optimum (*no*: stopped after so many",
        "seconds), and gaps are the best known after so many seconds or at an earlier end (`-`: no",
        "bound or no schedule). Kernels were compiled before.",
        "",
        f"{platform.machine()}, {os.cpu_count()} CPUs, shared with other jobs; "
        f"Python {platform.python_version()}, {packages}.",
        "",
    ]
    for table, title in (
        ("compare", "Side by side"),
        ("growth", "Growth of `exact` (the fleet: `lagrangian`)"),
    ):
        mine = [row for row in rows if row["table"] == table]
        if not mine:
            continue
        lines += [
            f"## {title}", "",
            "| instance | solver | proven, s | gap 10 s | 60 s | 300 s | end | loss | peak GiB |",
            "|---|---|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        lines += [_line(row) for row in mine]
        lines.append("")
    compared = [row for row in rows if row["table"] == "compare"]
    if compared:
        lines += ["## How many times faster", "", *_ratios(compared), ""]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    proven = f"{row['seconds']:.1f}" if row["stop"] == "optimal" else f"no ({row['seconds']:.0f})"
    if row["stop"] == "refused":
        proven = "refused: memory"
    gaps = [row[f"gap_{mark}"] for mark in MARKS]
    shown = ["-" if g is None else f"{100 * g:.2f} %" for g in (*gaps, row["gap"])]
    loss = "-" if row["loss"] is None else f"{row['loss']:.4f}"
    cells = [row["name"], f"`{row['solver']}`", proven, *shown, loss, f"{row['peak_gib']:.2f}"]
    return "| " + " | ".join(cells) + " |"


def _ratios(rows: list[dict[str, Any]]) -> list[str]:
    """Of ``exact`` over the best monolithic model, by instance."""
    lines = []
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = {row["solver"]: row for row in rows if row["name"] == name}
        exact = mine.get("exact")
        if exact is None or exact["stop"] != "optimal":
            continue
        others = [mine[solver] for solver in MONOLITHIC if solver in mine]
        if not others:
            continue
        proven = [row for row in others if row["stop"] == "optimal"]
        if proven:
            best = min(proven, key=lambda row: row["seconds"])
            ratio = best["seconds"] / max(exact["seconds"], 1e-3)
            told = f"the best of them, `{best['solver']}` ({best['seconds']:.1f} s)."
            lines.append(f"- {name}: {ratio:.0f} times faster than {told}")
        else:
            longest = max(row["seconds"] for row in others)
            ratio = longest / max(exact["seconds"], 1e-3)
            told = f"any of them: none proves it, the longest in {longest:.0f} s."
            lines.append(f"- {name}: more than {ratio:.0f} times faster than {told}")
    return lines


def main() -> None:
    """Run what is missing and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tables", nargs="*", default=["compare", "growth"])
    parser.add_argument("--limit", type=float, default=300.0, metavar="S")
    parser.add_argument("--growth-limit", type=float, default=60.0, metavar="S")
    parser.add_argument("--only", default="", help="solvers whose name begins so")
    here = Path(__file__).parent
    parser.add_argument("--jobs-dir", type=Path, default=here / "out" / "bounds")
    parser.add_argument("-o", "--output", type=Path, default=here / "results")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(json.loads(options.one))))
        return
    runs = [
        *(comparison(options.limit) if "compare" in options.tables else []),
        *(growth(options.growth_limit) if "growth" in options.tables else []),
    ]
    options.jobs_dir.mkdir(parents=True, exist_ok=True)
    warm = False
    rows = []
    for spec in runs:
        key = "".join(c if c.isalnum() else "-" for c in f"{spec['name']}--{spec['solver']}")
        kept = options.jobs_dir / f"{spec['table']}--{key}.json"
        if not kept.exists() and spec["solver"].startswith(options.only):
            if not warm:
                _child(spec | {"recipe": sized(DOCUMENTS, 4, 2), "limit": 120.0})
                warm = True
            row = _child(spec)
            kept.write_text(json.dumps(row))
            print(spec["name"], spec["solver"], row["stop"], row["gap"], file=sys.stderr)
        if kept.exists():
            rows.append(json.loads(kept.read_text()))
    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "bounds.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (options.output / "bounds.md").write_text(page(rows))


def _child(spec: dict[str, Any]) -> dict[str, Any]:
    """A run in a fresh process."""
    command = [sys.executable, __file__, "--one", json.dumps(spec)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    row: dict[str, Any] = json.loads(done.stdout)
    return row


if __name__ == "__main__":
    main()
