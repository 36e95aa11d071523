"""The table of a campaign: what was tried, by attack and by what it was tried on."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from pats_opt.model.files import write_bytes
from pats_opt.spreadsheet import csv_text
from tests.campaign.campaign import Campaign

#: Packages whose versions matter for what solvers answer.
PACKAGES = ("pats-opt", "ortools", "pulp", "numba", "numpy", "msgspec")


def write(campaign: Campaign) -> str:
    """Write ``campaign.md`` and ``campaign.csv``; return the former."""
    text = "\n".join(_markdown(campaign)) + "\n"
    write_bytes(campaign.folder / "campaign.md", text.encode())
    rows = [
        (name, *what.partition("/")[::2], count)
        for name, tally in campaign.progress.tallies.items()
        for what, count in {"tries": tally.tries, **tally.counts}.items()
    ]
    columns = ("attack", "what", "of", "count")
    write_bytes(campaign.folder / "campaign.csv", csv_text(columns, rows).encode())
    return text


def _markdown(campaign: Campaign) -> Iterator[str]:
    progress = campaign.progress
    yield (
        f"{progress.seconds / 60:.0f} minutes, seed {progress.seed}, on {_machine()}; "
        f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in PACKAGES)
        + "."
    )
    yield "\n| attack | tries | tried | findings |\n|---|---:|---|---:|"
    for attack in campaign.attacks:
        tally = progress.tallies[attack.name]
        totals = _by_what(tally.counts)
        aimed = {**dict.fromkeys(attack.aims, 0), **totals}
        tried = "; ".join(f"{count:,} {what}" for what, count in aimed.items())
        found = sum(kept.finding.attack == attack.name for kept in progress.found.values())
        yield f"| {attack.about} (`{attack.name}`) | {tally.tries:,} | {tried} | {found} |"
    every = sum((Counter(tally.counts) for tally in progress.tallies.values()), Counter[str]())
    yield "\n| tried | on which |\n|---|---|"
    by_what: dict[str, list[str]] = {}
    for key, count in sorted(every.items()):
        what, _, which = key.partition("/")
        if which:
            by_what.setdefault(what, []).append(f"`{which}` {count:,}")
    for what, numbers in by_what.items():
        yield f"| {what} | {', '.join(numbers)} |"
    if progress.found:
        yield "\n| found | times | repeat |\n|---|---:|---|"
        for kept in progress.found.values():
            kind = kept.finding.kind.replace("|", "\\|")
            yield f"| {kind} | {kept.times} | `{kept.finding.command}` |"


def _by_what(counts: dict[str, int]) -> Counter[str]:
    totals = Counter[str]()
    for key, count in counts.items():
        totals[key.partition("/")[0]] += count
    return totals


def _machine() -> str:
    """Number of cores and model of the processor, where the system says it."""
    model = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{os.cpu_count()} cores ({model}), {platform.system()}"
