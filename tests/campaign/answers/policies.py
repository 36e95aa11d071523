"""Policies with random parameters: valid, never below the optimum, the same again, and blind."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import cache
from typing import Any

from pats_opt.core import registry
from pats_opt.core.policy import Policy
from pats_opt.core.solver import Solver
from pats_opt.errors import InfeasibleError, InputError, NoScheduleError
from pats_opt.model.files import parse_instance
from pats_opt.model.problem import Problem
from pats_opt.simulate import simulate
from pats_opt.testing.policies import answers
from pats_opt.tuning.space import Target, target
from tests.campaign.answers.draw import Draw, Json, tiny
from tests.campaign.answers.judging import Judge
from tests.campaign.answers.shrink import on_smaller_instance
from tests.campaign.attack import Attack, Counts, Finding
from tests.support.brute_force import brute_force
from tests.support.policies import policy_names

#: Policies tried on one instance.
EACH = 8


@cache
def policies() -> list[Target]:
    """The built-in policies with their parameters."""
    return [target(name) for name in policy_names()]


def drawn(rng: random.Random) -> str:
    """A policy with random values of random parameters, as a specification."""
    chosen = rng.choice(policies())
    params: dict[str, Any] = {}
    for dimension in chosen.space:
        if rng.random() < 0.5:
            continue
        numbers = dimension.numbers
        if numbers is None or (dimension.choices and rng.random() < 0.5):
            params[dimension.name] = rng.choice(dimension.choices)
        elif numbers.log:
            value = numbers.low * (numbers.high / numbers.low) ** rng.random()
            params[dimension.name] = numbers.rounded(value)
        else:
            params[dimension.name] = numbers.rounded(rng.uniform(numbers.low, numbers.high))
    for name in ("max_wait_s", "patience"):
        if name in chosen.default and rng.random() < 0.4:
            params[name] = rng.choice((0.0, 0.5, 3.0, 1e6))
    try:
        return chosen.spec(params)
    except InputError:  # values that exclude each other
        return chosen.name


def attempt(seed: int, counts: Counts) -> Iterator[Finding]:
    """A tiny instance against its optimum, and a larger one with two futures."""
    rng = random.Random(seed)
    document = tiny(rng)
    busy, other, tick = futures(rng)
    judge = Judge(document, brute_force(document))
    counts["instances"] += 2
    for _ in range(EACH):
        spec, run_seed = drawn(rng), rng.randrange(1000)
        counts[f"policy runs/{spec.partition(':')[0]}"] += 3
        small = {"instance.json": document, "policy": spec, "seed": run_seed}
        for kind, problem in _answer_faults(judge, spec, run_seed):
            yield Finding(kind=f"{_name(spec)}: {kind}", problem=problem, files=small)
        if seen := peeks(busy, other, tick, spec, run_seed):
            files = {"instance.json": busy, "other.json": other, "tick": tick, "policy": spec}
            files["seed"] = run_seed
            yield Finding(kind=f"{_name(spec)}: sees the future", problem=seen, files=files)


def _name(spec: str) -> str:
    return spec.partition(":")[0]


def _answer_faults(judge: Judge, spec: str, seed: int) -> Iterator[tuple[str, str]]:
    """Faults against the optimum, and of a second run with the same seed."""
    yield from judge.faults(spec, seed)
    if judge.result is None:
        return
    policy = registry.make(spec)
    assert not isinstance(policy, Solver)
    again = simulate(judge.problem, policy, seed=seed).plan
    twice = simulate(judge.problem, policy, seed=seed).plan  # the same object, a second time
    if again != twice:
        yield "not the same again", f"{again} and {twice}"


def futures(rng: random.Random) -> tuple[Json, Json, int]:
    """Two busy instances that are the same up to a tick, and the tick."""
    document = Draw(rng, (4, 16), rng.choice((10, 40))).document()
    document.pop("horizon_ticks", None)
    requests, tick_s = document["requests"], document["tick_s"]
    problem = Problem(parse_instance(json.dumps(document)))
    arrival = {job.id: job.arrival for job in problem.jobs}
    tick, end = rng.choice(sorted(arrival.values())), max(arrival.values())
    unservable = {job.position for job, _ in problem.unservable()}
    for r in unservable:
        requests[r]["reject_loss"] = 1.0
    servable = [request for r, request in enumerate(requests) if r not in unservable]
    if servable:  # what comes far later in both keeps both runs going past the tick
        last = {**rng.choice(servable), "id": "last", "arrival_s": (end + 100) * tick_s}
        requests.append(last)
        arrival["last"] = end + 100
    past = [r for r in requests if arrival[r["id"]] <= tick]
    later: list[Json] = []
    for number in range(rng.randint(0, 5)):
        seconds = (tick + rng.randint(1, 8)) * tick_s
        copied = {**rng.choice(requests), "id": f"later-{number}", "arrival_s": seconds}
        later.append({**copied, "weight": rng.random(), "complexity": rng.random()})
    later += [last] if servable else []
    cut = rng.randint(0, len(later))
    return document, {**document, "requests": [*later[:cut], *past, *later[cut:]]}, tick


def peeks(one: Json, other: Json, tick: int, spec: str, seed: int) -> str | None:
    """Where a policy answers up to a tick as if it knew what comes after it."""
    policy = registry.make(spec)
    assert not isinstance(policy, Solver)
    pair = [_up_to(document, policy, tick, seed) for document in (one, other)]
    if pair[0] == pair[1]:
        return None
    return f"up to tick {tick}: {pair[0]} and {pair[1]}"


def _up_to(document: Json, policy: Policy, tick: int, seed: int) -> list[Any]:
    """Answers by request id up to a tick; indices shift with what arrives later."""
    instance = parse_instance(json.dumps(document))
    try:
        made = answers(instance, policy, seed)
    except (InfeasibleError, NoScheduleError):
        return []
    return [answer for answer in made if answer[0] <= tick]


def smaller(finding: Finding) -> Finding:
    """The finding on a smaller instance; futures stay as they are."""
    spec, seed = finding.files["policy"], finding.files["seed"]
    if "other.json" in finding.files:
        return finding

    def problem(document: Json) -> str | None:
        judge = Judge(document, brute_force(document))
        for kind, text in _answer_faults(judge, spec, seed):
            if f"{_name(spec)}: {kind}" == finding.kind:
                return text
        return None

    return on_smaller_instance(finding, problem)


ATTACK = Attack(
    name="policies",
    about="policies with random parameters: optimum, seed, and no sight of the future",
    attempt=attempt,
    shrink=smaller,
    weight=1.5,
    aims={"policy runs": 50_000},
    quick=40,
)
