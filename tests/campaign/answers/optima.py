"""Every exact solver, bound and heuristic against exhaustive search on tiny instances."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.campaign.answers.draw import Json, plain, tiny
from tests.campaign.answers.judging import Judge
from tests.campaign.answers.shrink import on_smaller_instance
from tests.campaign.attack import Attack, Counts, Finding
from tests.support.brute_force import brute_force

#: Asked about every instance; and slow ones, of which each instance has one. One that suits few
#: instances, or that is asked often, has several entries.
EVERY = ("exact", "auto", "cpsat", "dp", "dp:first=2", "belady")
IN_TURN = (
    "milp",
    "milp",
    "milp",
    "milp",
    "milp:backend=scip",
    "milp:backend=cbc",
    "milp:formulation=flow",
    "milp:formulation=flow",
    "milp:formulation=indicator",
    "cpsat:formulation=positions",
    "lagrangian",
    "local-search",
)

#: Ticks beyond which models with a column per tick need no proof; and how often a solver is tried
#: that refuses the instance or takes long.
MANY_TICKS = 50
RARELY = 0.04

#: Share of the instances that are plain, besides those that are so by chance.
PLAIN = 0.25

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


def judge_of(document: Json, spec: str, optimum: float | None, limit: float | None) -> Judge:
    """Judge of a solver's answer to a tiny instance; in a hurry nothing has to be proven."""
    timed = spec.startswith("milp") and ticks(document) > MANY_TICKS
    short = timed or spec in ("lagrangian", "local-search")
    return Judge(
        document,
        optimum,
        proof=not timed and limit is None,
        time_limit=limit or (SHORT_S if short else 200.0),
    )


def _suits(spec: str, document: Json) -> bool:
    """Whether a solver can be expected to answer, in a short time."""
    if spec.startswith("milp") and ticks(document) > MANY_TICKS:
        return False
    cached, pairs = document["switching"]["max_resident"] > 1, "pairs" in document["switching"]
    return not (cached if spec.endswith("flow") else pairs and spec.endswith("indicator"))


def attempt(seed: int, counts: Counts) -> Iterator[Finding]:
    """One instance: all quick solvers, one of the slow ones, and one in a hurry."""
    rng = random.Random(seed)
    document = tiny(rng)
    if rng.random() < PLAIN:
        document = plain(document)
    slow = [spec for spec in IN_TURN if _suits(spec, document) or rng.random() < RARELY]
    optimum = brute_force(document)
    counts["instances"] += 1
    asked: list[tuple[str, float | None]] = [(s, None) for s in (*EVERY, rng.choice(slow))]
    asked.append((rng.choice((*EVERY, *slow)), 10 ** rng.uniform(-4, -0.5)))
    for spec, limit in asked:
        judge, run_seed = judge_of(document, spec, optimum, limit), rng.choice((0, 1, 2**40))
        faults = list(judge.faults(spec, run_seed))
        what = "runs" if limit is None else "runs in a hurry"
        counts[f"{'refusals' if judge.refused else what}/{spec}"] += 1
        for fault in faults:
            files = {"instance.json": document, "solver": spec, "seed": run_seed, "limit": limit}
            yield Finding(kind=f"{spec}: {fault.kind}", problem=fault.problem, files=files)


def smaller(finding: Finding) -> Finding:
    """The finding on a smaller instance."""
    spec, seed, limit = (finding.files[key] for key in ("solver", "seed", "limit"))

    def problem(document: Json) -> str | None:
        faults = judge_of(document, spec, brute_force(document), limit).faults(spec, seed)
        return next((f.problem for f in faults if f"{spec}: {f.kind}" == finding.kind), None)

    return on_smaller_instance(finding, problem)


ATTACK = Attack(
    name="optima",
    about="tiny instances of every feature: solvers against exhaustive search",
    attempt=attempt,
    shrink=smaller,
    weight=6.0,
    aims={"instances": 10_000},
    quick=50,
    timeout_s=900.0,
)
