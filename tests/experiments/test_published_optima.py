"""The committed table of published optima says what the documentation claims of it."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "experiments" / "published_optima"


def test_auto_proved_every_published_optimum() -> None:
    """Each row of ``auto`` has the published value, proven; the page counts the same."""
    with (FOLDER / "result.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["solver"] == "auto"]
    kinds = Counter(row["kind"] for row in rows)
    assert set(kinds) == {"bin-packing", "tsplib", "csplib058"}
    assert all(row["reached"] == row["proven"] == "yes" for row in rows)
    infeasible = [row for row in rows if row["published"] == "infeasible"]
    assert all(row["ours"] == row["published"] for row in rows if row["question"][:3] != "do ")
    assert all(row["ours"] == "infeasible" for row in infeasible)
    page = (FOLDER / "result.md").read_text(encoding="utf-8")
    for kind, question in (("csplib058", "least cost"), ("tsplib", "shortest tour")):
        assert f"| {kind} | {question} | {kinds[kind]} | {kinds[kind]} | {kinds[kind]} |" in page
    packings = len(infeasible)
    assert f"| one bin fewer does not | {packings} | {packings} | {packings} |" in page
