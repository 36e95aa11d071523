"""Prompt-aware serving: the rules that judge the document's claims, and the page of the runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from msgspec.structs import replace

import pats_opt
from experiments.prompt_aware import alone, cases, claims, fleets, held, limits, page, reading, run
from experiments.prompt_aware.reading import Figures
from experiments.questions import page as questions
from experiments.questions.statistics import Interval, student, student_ratio
from experiments.questions.words import Answer
from pats_opt.generate import generate
from pats_opt.model.problem import Problem
from pats_opt.tables import measure

SEEDS = range(6)


def figures(in_time: int, quality: float, requests: int = 1000) -> list[Figures]:
    """Nearly the same figures on some seeds."""
    return [Figures(requests, in_time + s, in_time + s, quality * (in_time + s)) for s in SEEDS]


def told(ours: list[Figures], theirs: list[Figures]) -> list[str]:
    """The verdicts on throughput, violations and quality."""
    return [claim.verdict(ours, theirs) for claim in claims.COMPARISONS]


def test_claims_hold_fail_or_straddle_by_their_margin() -> None:
    """40 % more, a tenth of the violations, ten points: beyond, short of, and about the mark."""
    ours = figures(980, 0.95)
    assert told(ours, figures(600, 0.80)) == ["reproduces"] * 3
    assert told(ours, figures(900, 0.94)) == ["does not"] * 3
    spread = [Figures(1000, n, n, 0.8 * n) for n in (640, 700, 760, 650, 740, 690)]
    assert told(ours, spread)[0] == "cannot be told"
    assert told(ours, ours) == ["does not", "does not", "does not"]


def test_claims_about_the_system_itself() -> None:
    """Violations below 5 %; quality above 90 % of those served is not that of all."""
    good, few = figures(980, 0.95), figures(700, 0.95)
    assert [c.verdict(good) for c in claims.PROMISES] == ["reproduces"] * 3
    assert [c.verdict(few) for c in claims.PROMISES] == ["does not", "reproduces", "does not"]


def test_nothing_to_cut_is_no_proof() -> None:
    """Where neither violates, ten times fewer cannot be told."""
    none = [Figures(100, 100, 100, 100.0) for _ in SEEDS]
    assert claims.COMPARISONS[1].verdict(none, none) == "cannot be told"


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [(0.1, 0.3, "reproduces"), (-0.3, -0.1, "does not"), (-0.1, 0.1, "cannot be told")],
)
def test_the_side_of_an_interval(low: float, high: float, told: str) -> None:
    assert claims.side(Interval((low + high) / 2, low, high, 5)) == told


def test_figures_of_phases_add_up() -> None:
    """Means over phases together weigh each by its requests."""
    both = Figures(10, 8, 8, 8.0) + Figures(90, 45, 40, 36.0, 450.0)
    assert (both.violations, both.quality_of_all) == pytest.approx((0.52, 0.44))
    assert (both.quality, both.level) == pytest.approx((44 / 53, 450 / 53))


def test_near_optimal_is_proven_refuted_or_open() -> None:
    """A loss is near the optimum, is not, or the bound leaves it open."""
    window = limits.Bounded("one", 0, 40, 1.0, 2.0, {"near": 1.05, "far": 3.0, "open": 2.1})
    assert [window.verdict(p) for p in window.losses] == [
        "reproduces",
        "does not",
        "cannot be told",
    ]


def test_counts_of_the_phases_are_the_schedule_metrics() -> None:
    """All phases together are the metrics of the schedule."""
    case = next(cases.baselines())
    made = replace(case.recipe, requests=150)
    whole = cases.Case("", "", made, ("prompt-aware",), lambda s: "early" if s < 60 else "late")
    problem = Problem(generate(made, 1))
    table = run.simulated(problem, "prompt-aware", 1)
    found = list(run.phases(table, whole).values())
    metrics = measure(table)
    assert len(found) == 2
    assert sum(c.served for c in found) == metrics.served
    assert 1 - sum(c.in_time for c in found) / 150 == pytest.approx(metrics.violation_share)
    assert sum(c.quality for c in found) / 150 == pytest.approx(metrics.quality_of_all, abs=1e-4)


def test_policies_meet_the_same_requests_at_every_setting() -> None:
    """Of a seed, objectives and spreads change nothing but what they name."""
    three, five = (
        generate(case.recipe, 2) for case in cases.baselines() if case.name.startswith("square")
    )
    assert [r.arrival_s for r in three.requests] == [r.arrival_s for r in five.requests]
    alike, apart = (generate(case.recipe, 2) for case in islice(cases.awareness(), 0, 3, 2))
    assert {r.options[0].quality for r in alike.requests} == {0.9152}
    assert len({r.options[0].quality for r in apart.requests}) > 100


def test_a_capacity_is_where_95_percent_are_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By bisection, to 2 %; nothing where even the least is too much."""

    def at(limit: float) -> None:
        def counted(case: cases.Case, _: int) -> Iterator[tuple[str, str, run.Count]]:
            rate = 60 * (case.recipe.arrivals.rate_per_s or 0)
            yield "p", "steady", run.Count(100, 100, 95 if rate <= limit else 94, 0.0, 0.0, 0)

        monkeypatch.setattr(run, "run", counted)

    at(200.0)
    assert 200 / 1.02 <= run.capacity("p", 3.0, 0) <= 200
    at(1.0)
    assert run.capacity("p", 3.0, 0) == 0.0


def test_ending_with_the_last_deadline_keeps_the_optimum() -> None:
    """The optimum of a small window, with and without the end."""
    made = replace(cases.window(1, 2, 4, 40.0), requests=4)
    instance = generate(made, 3)
    ended = cases.until_due(instance)
    assert ended.horizon_ticks is not None
    both = [pats_opt.solve(each, "cpsat", time_limit=60) for each in (instance, ended)]
    assert [each.status.stop.value for each in both] == ["optimal"] * 2
    assert both[0].loss == pytest.approx(both[1].loss)


def test_tables_go_on_where_they_stopped(tmp_path: Path) -> None:
    """What a table holds is not run again."""
    ran: list[int] = []

    def work(seed: int) -> run.Work:
        def lines() -> list[run.Line]:
            ran.append(seed)
            return [("p", seed)]

        return run.Work(("e", "c", seed), lines)

    path = tmp_path / "table.csv"
    run.write(path, ("experiment", "case", "seed", "policy", "x"), map(work, (0, 1)))
    run.write(path, ("experiment", "case", "seed", "policy", "x"), map(work, (0, 1, 2)))
    assert ran == [0, 1, 2]
    assert path.read_text("utf-8").splitlines()[1:] == ["e,c,0,p,0", "e,c,1,p,1", "e,c,2,p,2"]


def made(shares: dict[str, float], quality: dict[str, float]) -> reading.Runs:
    """Runs of every case in which each policy serves a share of the requests at a quality."""
    with tempfile.TemporaryDirectory() as folder:
        every = [
            *cases.baselines(),
            *cases.division(),
            *cases.hits(Path(folder)),
            *cases.awareness(),
        ]
    rows = [
        {
            "experiment": case.experiment,
            "case": case.name,
            "policy": policy,
            "phase": phase,
            "seed": f"{seed}",
            "requests": "1000",
            "served": f"{served}",
            "in_time": f"{served}",
            "quality": f"{served * quality.get(policy, 0.92)}",
            "level": "10",
            "redirected": "0",
        }
        for case in every
        for phase in {case.phase(second + 0.5) for second in range(3600)} - {""}
        for policy in case.policies
        for seed in SEEDS
        for served in [round(1000 * shares.get(policy, 0.9)) + seed]
    ]
    return reading.runs(rows)


KNOWING = f"{cases.TOLERANCE}:rho=1"


def test_answers_follow_the_figures() -> None:
    """What holds in the tables is what the sentences say, and what fails is not."""
    better = made({cases.TOLERANCE: 0.98, "nirvana": 0.5}, {"nirvana": 0.8})
    text = held.answer(better).verdict
    assert "throughput against `nirvana`; " in text[0]
    assert "violations against `nirvana`; " in text[0]
    assert "quality against `nirvana`." in text[0]
    assert "`nirvana` in 8," in text[1]
    equal = held.answer(made({}, {})).verdict
    assert equal[0].count("against no baseline") == 3


def test_awareness_is_on_less_off() -> None:
    """Clear where qualities differ, nothing where they are equal."""
    assert "helps clearly in 12 of 12" in alone.short(made({}, {KNOWING: 0.95}))
    assert "hurts clearly in 12;" in alone.short(made({}, {KNOWING: 0.85}))
    assert "in 0 of 8 cells" in alone.nothing_known(made({}, {}))


def test_the_controller_is_held_against_the_best_fixed_allocation() -> None:
    counts = cases.rungs()["6 of 8 at K = 25"]
    fixed = f"{cases.TOLERANCE}:workers={counts}"
    text = fleets.division(made({fixed: 0.97}, {})).verdict[0]
    assert "better at 0 and clearly worse at 5 of 5 loads" in text
    assert text.count("(6 of 8 at K = 25)") == 5


def test_few_values_have_wide_intervals() -> None:
    """Student's interval covers as often as it says, also of four values."""
    rng = np.random.default_rng(3)
    found = [student(rng.normal(2.0, 1.0, 4).tolist()) for _ in range(400)]
    assert 0.92 <= sum(f.low <= 2.0 <= f.high for f in found) / 400 <= 0.98
    assert student([3.0]) == Interval(3.0, 3.0, 3.0, 1)
    assert student_ratio([2.0, 0.5]).mean == pytest.approx(1.0)


def test_capacity_is_judged_by_objective() -> None:
    """40 % more is said where it is so."""
    rows = [
        {
            "case": f"slo{o}",
            "policy": cases.with_batching(policy, cases.COMMON),
            "seed": f"{s}",
            "rate_per_min": f"{rate + s}",
        }
        for o in cases.OBJECTIVES
        for policy in (*cases.BASELINES, cases.TOLERANCE)
        for s in SEEDS
        for rate in [{"nirvana": 100.0, "proteus": 290.0}.get(policy, 300.0)]
    ]
    text = limits.forty(rows)
    assert "against `nirvana` reproduces at 3 and reproduces at 5" in text
    assert "against `proteus` does not at 3 and does not at 5" in text


@pytest.fixture(scope="module")
def answers() -> list[Answer]:
    """The answers, made once."""
    return page.answers()


def test_the_page_is_what_the_results_give(answers: list[Answer]) -> None:
    """Writing the page again changes nothing."""
    assert questions.text(answers, page.INTRODUCTION).encode() == page.PAGE.read_bytes()


def test_every_picture_is_there_and_can_be_drawn_again(answers: list[Answer]) -> None:
    """Each is a sound SVG file with a description, and its drawing does not fail."""
    pictures = [picture for answer in answers for picture in answer.pictures]
    folder = page.PAGE.parent / questions.PICTURES
    assert {f"{picture.name}.svg" for picture in pictures} == {f.name for f in folder.iterdir()}
    for picture in pictures:
        for svg in ((folder / f"{picture.name}.svg").read_text("utf-8"), picture.draw()):
            assert ElementTree.fromstring(svg).get("aria-label") == picture.caption  # noqa: S314


def test_every_comparison_has_every_seed() -> None:
    """Each policy of a case has the same seeds in the tables, and each case the same number."""
    for name in ("runs", "capacity"):
        found: dict[tuple[str, str], set[str]] = {}
        for row in reading.lines(name):
            phase = row.get("phase", "")
            found.setdefault((row["case"], f"{row['policy']} {phase}"), set()).add(row["seed"])
        assert len({frozenset(seeds) for seeds in found.values()}) == 1, name


def test_the_script_gives_the_lines_of_the_table() -> None:
    """The table's lines of one instance, to the last digit."""
    case = next(case for case in cases.awareness() if case.name == "150-c1")
    lines = [
        [row[key] for key in run.RUNS[3:]]
        for row in reading.lines("runs")
        if (row["experiment"], row["case"], row["seed"]) == ("awareness", case.name, "0")
    ]
    assert lines == [[p, at, *map(str, count)] for p, at, count in run.run(case, 0)]
