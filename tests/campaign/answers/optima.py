"""Every exact solver, bound and heuristic against exhaustive search on tiny instances."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.campaign.answers.draw import Json, tiny
from tests.campaign.answers.judging import Judge
from tests.campaign.answers.shrink import shrink
from tests.campaign.attack import Attack, Counts, Finding
from tests.support.brute_force import brute_force

#: Asked about every instance; and slow ones, of which each instance has one.
EVERY = ("exact", "auto", "cpsat", "dp", "dp:first=2", "belady")
IN_TURN = (
    "milp",
    "milp:backend=scip",
    "milp:backend=cbc",
    "milp:formulation=flow",
    "milp:formulation=indicator",
    "cpsat:formulation=positions",
    "lagrangian",
    "local-search",
)

#: Ticks beyond which models with a column per tick need no proof, and are tried rarely.
MANY_TICKS = 50
RARELY = 0.04

#: Time limit, in seconds, of what need not prove anything.
SHORT_S = 3.0


def ticks(document: Json) -> float:
    """About the ticks that a schedule takes."""
    last = max((r["arrival_s"] for r in document["requests"]), default=0.0)
    load = max(a["load_s"] for a in document["adapters"])
    step_s = document["service"].get("step_s") or {}
    step = max(step_s.get("table", [step_s.get("base", 0.0) + 4 * step_s.get("per_sample", 0.0)]))
    steps = sum(max(o["steps"] for o in r["options"]) for r in document["requests"])
    busy = step * steps + load * len(document["requests"])
    return float((last + busy) / document["tick_s"])


def judge_of(document: Json, spec: str, optimum: float | None) -> Judge:
    """Judge of a solver's answer to a tiny instance."""
    timed = spec.startswith("milp") and ticks(document) > MANY_TICKS
    short = timed or spec in ("lagrangian", "local-search")
    limit = SHORT_S if short else 200.0
    return Judge(document, optimum, proof=not timed, time_limit=limit)


def attempt(seed: int, counts: Counts) -> Iterator[Finding]:
    """One instance: all quick solvers, and one of the slow ones."""
    rng = random.Random(seed)
    document = tiny(rng)
    slow = [s for s in IN_TURN if not s.startswith("milp") or rng.random() < RARELY]
    slow = list(IN_TURN) if ticks(document) <= MANY_TICKS else slow
    optimum = brute_force(document)
    counts["instances"] += 1
    for spec in (*EVERY, rng.choice(slow)):
        judge = judge_of(document, spec, optimum)
        faults = list(judge.faults(spec))
        what = "refusals" if judge.refused else "runs"
        counts[f"{what}/{spec}"] += 1
        for fault in faults:
            kind = f"{spec}: {fault.kind}"
            files = {"instance.json": document, "solver": spec}
            yield Finding(kind=kind, problem=fault.problem, files=files)


def smaller(finding: Finding) -> Finding:
    """The finding on a smaller instance."""
    spec = finding.files["solver"]

    def problem(document: Json) -> str | None:
        faults = judge_of(document, spec, brute_force(document)).faults(spec)
        return next((f.problem for f in faults if f"{spec}: {f.kind}" == finding.kind), None)

    document = shrink(finding.files["instance.json"], lambda d: problem(d) is not None)
    files = {"instance.json": document, "solver": spec}
    return Finding(kind=finding.kind, problem=problem(document) or finding.problem, files=files)


ATTACK = Attack(
    name="optima",
    about="tiny instances of every feature: solvers against exhaustive search",
    attempt=attempt,
    shrink=smaller,
    weight=6.0,
    aims={"instances": 10_000},
    quick=25,
    timeout_s=900.0,
)
