"""Loads beside serving: the tables are those of the script, and the answers follow the figures."""

from __future__ import annotations

import csv
from itertools import islice

import pytest

from experiments.overlap import run
from experiments.questions import overlap, overlap_left, two_models
from experiments.questions.reading import EXPERIMENTS, Case
from pats_opt.core import registry
from pats_opt.model.problem import Problem
from pats_opt.simulate import simulate
from pats_solvers.online.base import OnlinePolicy
from tests.experiments.test_answers import narrow


@pytest.mark.parametrize(
    ("experiment", "cases", "runs", "last"),
    [("overlap", run.grid, run.online, 9), ("overlap_two", run.two, run.leaving, 21)],
)
def test_the_script_gives_the_lines_of_the_table(
    experiment: str, cases: run.Cases, runs: run.Runs, last: int
) -> None:
    """The table's lines of one instance, to the last digit."""
    case = next(islice(cases(), last, None))
    path = EXPERIMENTS / experiment / "result" / "runs.csv"
    with path.open(encoding="utf-8", newline="") as file:
        lines = [
            tuple(row[key] for key in run.COLUMNS[5:])
            for row in csv.DictReader(file)
            if (row["class"], row["sha256"]) == (case.group, case.blocking.sha256[:12])
        ]
    assert lines == list(runs(case))


def test_a_model_sleeps_when_another_serves() -> None:
    """A GPU holds what its batch uses and what is loading, and loads it again for the next run."""
    case = next(islice(run.two(), 10, None))
    problem, policy = Problem(case.beside), registry.make("fifo:prefetch=ahead")
    assert isinstance(policy, OnlinePolicy)
    plan = simulate(problem, run.AsleepPolicy(policy)).plan
    assert plan is not None
    (batches,), (loads,) = plan.gpus, plan.loads
    assert len(loads) > 10
    for batch in batches:
        active = {problem.jobs[j].adapter for j, _ in batch.members}
        waking = {
            load.adapter
            for load in loads
            if load.start <= batch.start < load.start + problem.site.load_ticks(load.adapter)
        }
        assert batch.resident <= active | waking


def test_twins_differ_in_their_loads_only() -> None:
    """The same arrivals at every load time and cache, with blocking loads and beside serving."""
    cases = list(islice(run.grid(), 6))
    assert len({case.group for case in cases}) == 6
    for case in cases:
        assert case.blocking.requests == cases[0].blocking.requests == case.beside.requests
        assert not case.blocking.switching.overlap
        assert case.beside.switching.overlap


def made(fifo: tuple[float, float], affinity: tuple[float, float]) -> list[Case]:
    """One case with latencies, blocking and beside."""
    rows = {
        overlap.spec_of(name, rule): {"loss": str(loss)}
        for name, (blocking, beside) in (("fifo", fifo), ("affinity", affinity))
        for rule, loss in (("", blocking), (overlap.USUAL, beside), (overlap.OTHER, beside))
    }
    return [Case("poisson-load0p95-s4p4-k4", "one", 10, 3, rows)]


def test_verdicts_follow_the_figures() -> None:
    """What is saved and left, and whether a claim holds, are those of the latencies."""
    cases = made((40.0, 10.0), (20.0, 10.0))
    assert overlap.short(cases, cases).count("65 % less") == 4
    assert "0.35 (0.35 to 0.35) times what it was, more than claimed" in overlap.claim(cases, cases)
    slower = made((40.0, 36.0), (20.0, 18.0))
    assert overlap.claim(slower, slower).count("less than claimed") == 2
    assert overlap_left.short(cases, cases).count("2.00 times") == 2
    assert overlap_left.short(cases, cases).count("1.00 times beside serving (0 % left; ") == 2
    assert overlap_left.short(slower, slower).count("(100 % left; ") == 2


@pytest.mark.parametrize(("beside", "word"), [(1.0, "Yes."), (2.0, "No.")])
def test_long_runs_are_needless_where_short_ones_do_as_well(beside: float, word: str) -> None:
    row = {"blocking": {"fifo": narrow(3.0)}, "beside": {"fifo": narrow(beside)}}
    text = two_models.short({"one at a time": {1.0: row}})
    assert text.startswith(word)
    assert text.endswith(f"{'1' if beside == 1.0 else 'none'} (with blocking loads none).")
