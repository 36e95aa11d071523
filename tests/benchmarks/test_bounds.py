"""The benchmark of bounds: what it runs, and the figures of its page."""

from __future__ import annotations

from typing import Any

from benchmarks.bounds import MARKS, REGIMES, TABLES, read_rows
from benchmarks.bounds_page import page
from benchmarks.rivals import BestOnline
from pats_opt import solve
from pats_opt.generate.suites import instances, suites
from tests.experiments.test_figures import ROOT


def row(
    name: str, seed: int, solver: str, loss: float | None, bound: float | None
) -> dict[str, Any]:
    """A row of a regime; proven where bound meets loss."""
    gap = None if loss is None or bound is None else (loss - bound) / loss
    gaps = {f"gap_{mark}": gap for mark in MARKS}
    return {
        "table": "regimes", "name": name, "seed": seed, "solver": solver, "limit": 60.0,
        "loss": loss, "bound": bound, "gap": gap, "seconds": 2.0, "peak_gib": 0.1, **gaps,
        "stop": "optimal" if gap == 0 else "refused" if loss is None else "time-limit",
    }  # fmt: skip


def test_every_run_has_a_name_of_its_own_and_regimes_are_suites() -> None:
    cases = [case for table in TABLES.values() for case in table()]
    names = [(case.table, case.name, case.seed) for case in cases]
    assert len(names) == len(set(names))
    assert set(REGIMES) <= set(suites())
    ran = {(case.name, case.seed) for case in TABLES["regimes"]()}
    assert ran == {
        (group.name, seed)
        for name in REGIMES
        for group in suites()[name].classes
        for seed in group.seeds
    }


def test_the_committed_rows_are_of_its_runs() -> None:
    known = {(c.table, c.name, c.seed, s) for t in TABLES.values() for c in t() for s in c.limits}
    rows = read_rows(ROOT / "benchmarks" / "results" / "bounds.csv")
    assert rows
    assert {(r["table"], r["name"], int(r["seed"]), r["solver"]) for r in rows} <= known
    text = (ROOT / "benchmarks" / "results" / "bounds.md").read_text(encoding="utf-8")
    assert all(f"| {r['name']} |" in text for r in rows)


def test_means_and_worst_gaps() -> None:
    """To a solver's own bound, and to the best bound of all; refusals and proofs are told."""
    one = row("a", 0, "cpsat", 20.0, 4.0)
    rows = [
        row("a", 0, "auto", 10.0, 10.0), row("a", 1, "auto", 10.0, 9.0),
        row("a", 0, "milp", 12.5, 5.0), row("a", 1, "milp", None, None),
        row("a", 0, "best-online", 20.0, None), row("a", 1, "best-online", 10.0, None), one,
    ]  # fmt: skip
    text = page(rows, MARKS, 2)
    own, best, proofs = [line for line in text.splitlines() if line.startswith("| a |")]
    assert own == "| a | 60 | 5.00 % (10.00 %) | refused | 80.00 % (n = 1) |"
    assert best == "| a | 60 | 5.00 % (10.00 %) | refused | 30.00 % (50.00 %) | 50.00 % (n = 1) |"
    assert proofs == "| a | 60 | 1 of 2, 2.0 s | 0 of 2 | 0 of 1 |"
    assert "A run has at most 60 s." in text


def test_the_portfolio_beside_its_parts() -> None:
    """Only where all three ran; the better of the parts' schedules counts."""
    runs = [
        row("a, 5 s", 0, "auto", 10.0, 9.0), row("a, 5 s", 0, "lagrangian", 12.5, 8.0),
        row("a, 5 s", 0, "local-search", 8.0, None), row("b, 5 s", 0, "auto", 10.0, 9.0),
    ]  # fmt: skip
    text = page([run | {"table": "parts"} for run in runs], MARKS, 1)
    assert "| a, 5 s | 10.0000 | 25.00 % | 9.0000 | -12.50 % |" in text
    assert "| worst | | 25.00 % | | -12.50 % |" in text
    assert "| b, 5 s |" not in text


def test_the_best_online_policy() -> None:
    instance = next(instances("documents-medium"))
    best = solve(instance, BestOnline())
    assert best.loss is not None
    assert best.bound is None
    for policy in ("fifo", "pats", "price-index"):
        loss = solve(instance, policy).loss
        assert loss is not None
        assert best.loss <= loss + 1e-9
