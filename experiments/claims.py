"""Hold the documents' claims against the results: writes ``experiments/claims.md``.

    python experiments/claims.py

Reads ``generated/result/runs.csv`` and ``trace/result/runs.csv``; every number in the page is
computed from them or from the service profiles.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path

from pats_opt.generate import profile as profiles
from pats_opt.model.files import write_bytes

HERE = Path(__file__).parent
RESULTS = {"generated suites": "generated", "slices of the production trace": "trace"}
PATS, FULL, FIFO = "pats", "pats:prune=false", "fifo"

Row = dict[str, str]
Runs = dict[str, dict[str, Row]]  # instance -> solver -> row


def main() -> None:
    """Write the page."""
    lines = ["# What the numbers say about the documents' claims", ""]
    lines += [
        "Written by `python experiments/claims.py` from the tables in `generated/result/` and"
    ]
    lines += [
        "`trace/result/`; nothing here is typed. Medians over instances, with their range.",
        "Prices of latency and switching and the quality formula are premises of the instances",
        "(`instances/README.md`): with others, gaps and the best amount of pruning differ.",
        "",
    ]
    lines += switch_in_steps()
    for title, folder in RESULTS.items():
        path = HERE / folder / "result" / "runs.csv"
        if path.is_file():
            lines += ["", f"## On {title}", ""]
            for profile, runs in by_profile(read(path)).items():
                lines += [f"### {profile}", "", *claims(runs), ""]
    write_bytes(HERE / "claims.md", ("\n".join(lines).rstrip() + "\n").encode())


def read(path: Path) -> list[Row]:
    """The runs that gave a schedule."""
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["loss"]]


def by_profile(rows: Iterable[Row]) -> dict[str, Runs]:
    """Runs by the service profile in the name of their class or instance."""
    found: dict[str, Runs] = {}
    for row in rows:
        text = f"{row['class']} {row['instance']}"
        profile = next((p for p in ("production", "a100", "documents") if p in text), "other")
        found.setdefault(profile, {}).setdefault(row["instance"], {})[row["solver"]] = row
    return dict(sorted(found.items(), key=lambda pair: pair[0] != "documents"))


def switch_in_steps() -> list[str]:
    """Claim: one switch is worth about 20 steps."""
    lines = ["## One switch is worth 20 steps", ""]
    for name in ("documents", "a100-40g", "a100-80g", "production"):
        profile = profiles.load(name)
        load = profile.load_time(None).median
        step = profile.step_s(1)
        lines.append(
            f"- `{name}`: {load:.2f} s a load, {step:.3f} s a step alone: {load / step:.1f} steps"
        )
    return [
        *lines,
        "",
        "So the 20 holds for the documents' own constants. At measured step times a "
        "switch is worth fewer steps, and more where loads are as slow as in the production trace.",
    ]


def claims(runs: Runs) -> list[str]:
    """The other claims on one profile."""
    exact = {
        instance: next((r for r in mine.values() if r["kind"] == "exact"), None)
        for instance, mine in runs.items()
    }
    proven = {i: r for i, r in exact.items() if r is not None and r["point"] == "optimal"}
    lines = [f"{len(runs)} instances, optimum proven on {len(proven)}.", ""]

    def ratios(top: str, bottom: str) -> list[float]:
        pairs = [(m[top], m[bottom]) for m in runs.values() if top in m and bottom in m]
        return [float(a["loss"]) / float(b["loss"]) for a, b in pairs if float(b["loss"]) > 0]

    def of(solver: str, column: str) -> list[float]:
        return [float(m[solver][column]) for m in runs.values() if solver in m]

    def best(column: str) -> list[float]:
        return [float(r[column]) for r in proven.values()]

    for policy in (PATS, FIFO):
        above = [
            float(runs[i][policy]["loss"]) / float(r["loss"]) - 1
            for i, r in proven.items()
            if policy in runs[i] and float(r["loss"]) > 0
        ]
        lines.append(f"- `{policy}` loses {spread(above)} more than the proven optimum.")
    against = ratios(PATS, FIFO)
    wins = sum(r < 1 - 1e-9 for r in against)
    steps, quality, batch = "steps_saved_share", "quality_mean", "mean_batch"
    served = [m for m in runs.values() if PATS in m and FIFO in m]
    lines += [
        f"- PATS against FIFO: lower loss on {wins} of {len(against)}; its loss is "
        f"{spread(against)} of FIFO's.",
        "- Of that, scheduling alone (no pruning, all at full steps): "
        f"{spread(ratios(FULL, FIFO))} of FIFO's; pruning then takes it to "
        f"{spread(ratios(PATS, FULL))} of what it was.",
        f"- Steps saved by pruning (claim: up to 66 %): `pats` {spread(of(PATS, steps))}, the "
        f"optimum {spread(best(steps))}. It is not free: mean quality "
        f"{spread(of(PATS, quality), number)} with `pats`, {spread(best(quality), number)} in the "
        f"optimum, {spread(of(FULL, quality), number)} at full steps.",
        f"- Switches per request: optimum {spread(per_request(proven.values()), number)}, `pats` "
        f"{spread(per_request(m[PATS] for m in served), number)}, `fifo` "
        f"{spread(per_request(m[FIFO] for m in served), number)}.",
        f"- Members per batch: optimum {spread(best(batch), number)}, `pats` "
        f"{spread(of(PATS, batch), number)}, `fifo` {spread(of(FIFO, batch), number)}.",
    ]
    return lines


def per_request(rows: Iterable[Row]) -> list[float]:
    """Switches per request served."""
    return [int(r["switches"]) / int(r["served"]) for r in rows if int(r["served"])]


def percent(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.0f} %"


def number(value: float) -> str:
    """A plain figure."""
    return f"{value:.2f}"


def spread(values: list[float], show: Callable[[float], str] = percent) -> str:
    """Median and range."""
    if not values:
        return "(no run)"
    return f"{show(statistics.median(values))} ({show(min(values))} to {show(max(values))})"


if __name__ == "__main__":
    main()
