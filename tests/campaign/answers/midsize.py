"""Instances of 8 to 40 requests: methods against each other, and metrics restated."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from pats_opt.core.solver import Kind, features
from pats_opt.errors import InfeasibleError, InputError, NoScheduleError
from pats_opt.model.files import encode
from pats_opt.model.schedule import StopReason
from pats_opt.solving.result import Result
from pats_opt.solving.solve import runnable, solve
from tests.campaign.answers.draw import Draw
from tests.campaign.answers.judging import CLOSE, CLOSE_AT_STAKE, Judge, at_stake
from tests.campaign.answers.policies import drawn
from tests.campaign.attack import Attack, Counts, Finding
from tests.core.plain_metrics import Plain

#: Methods and their time limits in seconds.
METHODS = (("auto", 4.0), ("cpsat", 3.0), ("dp", 3.0), ("lagrangian", 3.0), ("local-search", 2.0))

#: Methods that refuse an instance with too many different batches.
REFUSE_BY_SIZE = ("dp",)

#: Ticks beyond which a restatement of metrics, tick by tick, takes too long.
MANY_TICKS = 2000


def attempt(seed: int, counts: Counts) -> Iterator[Finding]:
    """One instance: each method and three policies."""
    rng = random.Random(seed)
    document = Draw(rng, (8, rng.choice((12, 20, 40))), rng.choice((20, 60))).document()
    judge = Judge(document, None)
    counts["instances"] += 1
    results: dict[str, Result] = {}
    impossible: list[str] = []
    for spec, limit in (*METHODS, *((drawn(rng), 10.0) for _ in range(3))):
        if not features(judge.problem) <= runnable(spec).capabilities.features:
            continue
        solver = runnable(spec)
        what = "policy runs" if solver.kind is Kind.ONLINE else "runs"
        counts[f"{what}/{solver.name}"] += 1
        try:
            results[spec] = solve(judge.problem, spec, time_limit=limit)
        except InfeasibleError:
            impossible.append(spec)
        except NoScheduleError:
            continue
        except InputError:
            if spec not in REFUSE_BY_SIZE:
                raise
            counts[f"refusals/{spec}"] += 1
    faults = [*_contradictions(results, impossible, CLOSE_AT_STAKE * at_stake(document))]
    for spec, result in results.items():
        faults += _schedule_faults(judge, spec.partition(":")[0], result)
    counts["schedules"] += sum(result.loss is not None for result in results.values())
    files = {"instance.json": document, "solvers": [*results, *impossible]}
    for kind, problem in faults:
        yield Finding(kind=kind, problem=problem, files=files)


def _schedule_faults(judge: Judge, name: str, result: Result) -> Iterator[tuple[str, str]]:
    """Broken rules, another loss, other metrics."""
    if result.loss is None:
        return
    for fault in judge.schedule_faults(result):
        yield f"{name}: {fault.kind}", fault.problem
    plain = Plain(json.loads(encode(judge.problem.instance)), json.loads(encode(result.schedule)))
    if plain.span > MANY_TICKS:
        return
    for metric, value in plain.figures(result.params.get("max_wait_s")).items():
        found = getattr(result.metrics, metric)
        if not _same(found, value):
            yield f"metric {metric}", f"{found!r}, not {value!r}, of {name}"


def _contradictions(
    results: dict[str, Result], impossible: list[str], slack: float
) -> Iterator[tuple[str, str]]:
    """Bounds above losses, optima that differ, schedules of what is proven to have none."""
    for one, first in results.items():
        name = one.partition(":")[0]
        if first.loss is not None and impossible:
            yield f"{impossible[0]}: calls it infeasible", f"{one} has loss {first.loss}"
        for other, second in results.items():
            if first.bound is None or second.loss is None:
                continue
            if first.bound > second.loss * (1 + CLOSE) + slack:
                figures = f"{first.bound!r} above {second.loss!r} of {other}"
                proven = " proven" if first.status.stop is StopReason.OPTIMAL else ""
                yield f"{name}:{proven} bound above a loss", figures


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, float) or not isinstance(other, int | float):
        return bool(one == other)
    return abs(one - other) <= 1e-9 * max(1.0, abs(one), abs(other))


ATTACK = Attack(
    name="midsize",
    about="8 to 40 requests: methods against each other, metrics against a plain restatement",
    attempt=attempt,
    weight=2.0,
    aims={"instances": 100},
    quick=1,
)
