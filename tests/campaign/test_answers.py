"""The attacks on answers find planted mistakes, and what they compare with is right by hand."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from pats_opt.model.checker import Verdict, check
from pats_opt.model.files import parse_instance
from pats_opt.model.instance import Instance
from pats_opt.model.schedule import Schedule, SolutionStatus, Status, StopReason
from pats_opt.solving.result import Result
from pats_opt.solving.solve import solve
from tests.campaign.answers import judging, midsize, mutants, optima, policies
from tests.campaign.answers.draw import tiny
from tests.campaign.answers.reading import Reading
from tests.campaign.answers.shrink import shrink
from tests.campaign.attack import Attack, Finding
from tests.support.brute_force import best_schedule
from tests.support.zoo import ZOO, Solved

SEEDS = range(1, 60)


def kinds(attack: Attack, wanted: str) -> Iterator[Finding]:
    """Findings of the first seeds with a text in their kind."""
    for seed in SEEDS:
        yield from (f for f in attack.found(seed, Counter()) if wanted in f.kind)


@pytest.mark.parametrize("make", ZOO, ids=[make.__name__ for make in ZOO])
def test_the_reading_agrees_with_hand_solved_instances(make: Callable[[], Solved]) -> None:
    """It finds nothing broken in the best schedule, and the loss that was worked out by hand."""
    case = make()
    best = best_schedule(case.document)
    assert best is not None
    reading = Reading(case.document, best)
    assert not reading.broken
    assert float(reading.loss) == pytest.approx(case.loss)


def test_drawn_instances_are_read_and_reach_far() -> None:
    """All are valid; small, large and tiny numbers are among them."""
    drawn = [tiny(random.Random(seed)) for seed in range(300)]
    for document in drawn:
        parse_instance(json.dumps(document))
    prices = sorted(document["latency_price_per_s"] for document in drawn)
    assert prices[0] == 0.0
    assert any(0 < price < 1e-8 for price in prices)
    assert prices[-1] > 1e4
    gpus = Counter(len(document["gpus"]) for document in drawn)
    assert gpus.keys() == {0, 1, 2, 3}


def claimed(result: Result, **changes: Any) -> Result:
    """A result that claims an optimum."""
    status = Status(stop=StopReason.OPTIMAL, point=SolutionStatus.OPTIMAL)
    return msgspec.structs.replace(result, status=status, **changes)


def test_a_wrong_optimum_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an exact solver answers as ``fifo`` does, with a claim."""

    def planted(problem: Any, spec: str, **options: Any) -> Result:
        result = solve(problem, "fifo" if spec == "exact" else spec, **options)
        return claimed(result, bound=result.loss) if spec == "exact" else result

    monkeypatch.setattr(judging, "solve", planted)
    monkeypatch.setattr(optima, "EVERY", ("exact",))
    monkeypatch.setattr(optima, "IN_TURN", ("belady",))
    finding = next(kinds(optima.ATTACK, "exact: optimum claimed that is none"))
    small = optima.smaller(finding)
    assert small.kind == finding.kind
    before, after = (json.dumps(f.files["instance.json"]) for f in (finding, small))
    assert len(after) < len(before)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"bound": 1e9}, "bound above the optimum"),
        ({"loss": -1.0}, "loss below the optimum"),
        ({"loss": 1e9}, "loss is another"),
        ({"status": Status(stop=StopReason.OPTIMAL, point=SolutionStatus.NONE)}, "status"),
    ],
)
def test_wrong_figures_are_found(
    changes: dict[str, Any], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In what a heuristic claims."""
    monkeypatch.setattr(
        judging, "solve", lambda *a, **o: msgspec.structs.replace(solve(*a, **o), **changes)
    )
    monkeypatch.setattr(optima, "EVERY", ("belady",))
    monkeypatch.setattr(optima, "IN_TURN", ("fifo",))
    assert next(kinds(optima.ATTACK, kind))


@pytest.mark.parametrize("rule", range(7))
def test_a_checker_without_a_rule_is_found(rule: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the rules, and that of the document itself."""

    def lenient(instance: Instance, schedule: Schedule) -> Verdict:
        verdict = check(instance, schedule)
        rest = tuple(v for v in verdict.violations if v.rule != rule)
        return msgspec.structs.replace(verdict, violations=rest)

    monkeypatch.setattr(mutants, "check", lenient)
    assert next(kinds(mutants.ATTACK, "the checker accepts what is not valid"))


def test_a_wrong_loss_of_the_checker_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A term that is left out."""

    def forgetful(instance: Instance, schedule: Schedule) -> Verdict:
        verdict = check(instance, schedule)
        return msgspec.structs.replace(
            verdict, terms=msgspec.structs.replace(verdict.terms, switching=0.0)
        )

    monkeypatch.setattr(mutants, "check", forgetful)
    assert next(kinds(mutants.ATTACK, "another loss"))


def test_a_look_at_the_future_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that depend on the number of all requests."""
    monkeypatch.setattr(policies, "answers", lambda one, *_: [(0, (len(one.requests),))])
    assert next(kinds(policies.ATTACK, "sees the future"))


def test_contradictions_of_methods_and_metrics_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound a tenth too high, and a count of switches that is one too many."""

    def planted(problem: Any, spec: str, **options: Any) -> Result:
        result = solve(problem, spec, **options)
        assert result.metrics is not None
        assert result.loss is not None
        metrics = msgspec.structs.replace(result.metrics, loads=result.metrics.loads + 1)
        return msgspec.structs.replace(result, bound=1.1 * result.loss + 1.0, metrics=metrics)

    monkeypatch.setattr(midsize, "solve", planted)
    monkeypatch.setattr(midsize, "METHODS", (("fifo", 5.0), ("belady", 5.0)))
    assert next(kinds(midsize.ATTACK, "bound above a loss"))
    assert next(kinds(midsize.ATTACK, "metric loads"))


def test_shrinking_keeps_what_is_needed_only() -> None:
    """The one request that matters stays, with its number rounded as far as it holds."""
    document = tiny(random.Random(9))
    document["requests"] = [
        {"id": f"r{i}", "arrival_s": i + 0.123456, "options": [{"steps": 7}]} for i in range(4)
    ]
    small = shrink(document, lambda d: any(r["arrival_s"] > 2 for r in d["requests"]))
    assert small["requests"] == [{"id": "r2", "arrival_s": 2.1}]
