"""Schedules changed at random: the checker against a second reading of the rules."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from pats_opt.errors import InputError
from pats_opt.model.checker import check
from pats_opt.model.files import parse_instance
from pats_opt.model.instance import Instance
from pats_opt.model.parsing import convert
from pats_opt.model.schedule import Schedule
from tests.campaign.answers.draw import Json, tiny
from tests.campaign.answers.reading import Reading, exact
from tests.campaign.answers.shrink import shrink
from tests.campaign.attack import Attack, Counts, Finding
from tests.support.brute_force import best_schedule
from tests.support.strategies import parent, places

#: Mutants of each schedule.
MUTANTS = 60


def attempt(seed: int, counts: Counts) -> Iterator[Finding]:
    """One instance with its best schedule, which is changed over and over."""
    rng = random.Random(seed)
    document = tiny(rng)
    best = best_schedule(document)
    if best is None:
        return
    counts["instances"] += 1
    instance = parse_instance(json.dumps(document))
    for _ in range(MUTANTS):
        mutant = mutated(document, best, rng)
        counts["mutated schedules"] += 1
        problem, verdict = disagreement(document, instance, mutant)
        counts[f"verdicts/{verdict}"] += 1
        if problem is not None:
            yield _finding(problem, document, mutant)


def _finding(problem: str, document: Json, mutant: Json) -> Finding:
    kind = problem.partition(":")[0]
    files = {"instance.json": document, "schedule.json": mutant}
    return Finding(kind=kind, problem=problem, files=files)


def disagreement(document: Json, instance: Instance, schedule: Json) -> tuple[str | None, str]:
    """Where checker and reading differ, or None; and the checker's verdict in a word."""
    reading = Reading(document, schedule)
    try:
        verdict = check(instance, convert(schedule, Schedule))
    except InputError as error:
        problem = None if reading.broken else f"the reader refuses a valid schedule: {error}"
        return problem, "refused"
    if verdict.ok != (not reading.broken):
        says = "accepts what is not valid" if verdict.ok else "refuses what is valid"
        listed = [v.rule for v in verdict.violations]
        return f"the checker {says}: rules {listed}, not {reading.broken}", "wrong"
    if not verdict.ok:
        rules = {v.rule for v in verdict.violations}
        if not rules & reading.broken:
            return f"other rules are broken: {rules}, not {reading.broken}", "wrong"
        return None, "not valid"
    if abs(exact(verdict.loss) - reading.loss) > exact(1e-9) * reading.loss + exact(1e-300):
        return f"another loss: {verdict.loss!r}, not {float(reading.loss)!r}", "wrong"
    return None, "valid"


def mutated(document: Json, schedule: Json, rng: random.Random) -> Json:
    """A copy with one to three changes; mostly with the ticks that follow from them."""
    changed = copy.deepcopy(schedule)
    if rng.random() < 0.9:
        changed["loss"] = changed["bound"] = None
    for _ in range(rng.choice((1, 1, 2, 3))):
        rng.choice(CHANGES)(document, changed, rng)
        if rng.random() < 0.6:
            repair(document, changed)
    return changed


def _anything(document: Json, schedule: Json, rng: random.Random) -> None:
    """Change a number or a name, or a list's items, anywhere in the plan."""
    body = {key: schedule[key] for key in ("gpus", "rejected")}
    paths = [path for path in places(body) if path not in (("gpus",), ("rejected",))]
    if not paths:
        return
    node, key = parent(body, rng.choice(paths))
    if isinstance(node[key], int):
        node[key] += rng.choice((-2, -1, -1, 1, 1, 2, 1000))
    elif isinstance(node[key], str):
        kinds = ("adapters", "requests", "gpus")
        node[key] = rng.choice([x["id"] for k in kinds for x in document[k]] + ["nobody"])
    elif isinstance(node, list):
        other = rng.randrange(len(node))
        rng.choice(
            (
                lambda: node.append(copy.deepcopy(node[key])),
                lambda: node.pop(key),
                lambda: node.insert(0, node.pop(other)),
            )
        )()


def _batches(schedule: Json) -> list[Json]:
    return [batch for gpu in schedule["gpus"] for batch in gpu["batches"]]


def _shift(document: Json, schedule: Json, rng: random.Random) -> None:
    """Move a batch with its switch, or from one tick on everything of a GPU."""
    gpus = [gpu["batches"] for gpu in schedule["gpus"] if gpu["batches"]]
    if not gpus:
        return
    batches = rng.choice(gpus)
    first, by = rng.randrange(len(batches)), rng.choice((-2, -1, 1, 2, 5))
    for batch in batches[first:] if rng.random() < 0.6 else [batches[first]]:
        for key in rng.choice((("start",), ("switch_start", "start"))):
            batch[key] += by


def _member(document: Json, schedule: Json, rng: random.Random) -> None:
    """Move a member elsewhere, reject it, change its option, or serve who is rejected."""
    batches = _batches(schedule)
    if not batches:
        return
    source, target = rng.choice(batches), rng.choice(batches)
    if schedule["rejected"] and rng.random() < 0.3:
        name = schedule["rejected"].pop(rng.randrange(len(schedule["rejected"])))
        target["requests"].append({"id": name, "option": 0, "completion": target["start"]})
    elif source["requests"]:
        member = rng.choice(source["requests"])
        change = rng.random()
        if change < 0.3:
            member["option"] = rng.randrange(3)
        else:
            source["requests"].remove(member)
            if change < 0.5:
                schedule["rejected"].append(member["id"])
            else:
                target["requests"].append(member)
        if not source["requests"]:
            for gpu in schedule["gpus"]:
                gpu["batches"] = [b for b in gpu["batches"] if b["requests"]]


def _residents(document: Json, schedule: Json, rng: random.Random) -> None:
    """Load or evict one more or one less, there or a batch earlier."""
    batches, names = _batches(schedule), [a["id"] for a in document["adapters"]]
    if not batches:
        return
    batch, key = rng.choice(batches), rng.choice(("load", "evict"))
    if batch[key] and rng.random() < 0.5:
        name = batch[key].pop(rng.randrange(len(batch[key])))
        if rng.random() < 0.5:
            rng.choice(batches)[key].append(name)
    else:
        batch[key].append(rng.choice(names))


def _load(document: Json, schedule: Json, rng: random.Random) -> None:
    """Move a load beside serving, or let it evict another or nothing; or add one."""
    gpus = [gpu for gpu in schedule["gpus"] if gpu.get("loads") or rng.random() < 0.1]
    if not gpus:
        return
    loads, names = rng.choice(gpus).setdefault("loads", []), [a["id"] for a in document["adapters"]]
    if not loads or rng.random() < 0.2:
        loads.append({"adapter": rng.choice(names), "start": rng.randint(0, 9), "evict": []})
    load = rng.choice(loads)
    if rng.random() < 0.6:
        load["start"] = max(0, load["start"] + rng.choice((-2, -1, -1, 1, 1, 2)))
    else:
        load["evict"] = rng.sample(names, rng.randint(0, 1))


def _gpu(document: Json, schedule: Json, rng: random.Random) -> None:
    """Move a batch to another GPU, or swap two GPUs' or two batches' ticks."""
    gpus = schedule["gpus"]
    if not gpus:
        return
    one, other = rng.choice(gpus), rng.choice(gpus)
    if one is not other and rng.random() < 0.5:
        one["batches"], other["batches"] = other["batches"], one["batches"]
    elif one["batches"]:
        batch = one["batches"].pop(rng.randrange(len(one["batches"])))
        other["batches"].insert(rng.randint(0, len(other["batches"])), batch)


def _claim(document: Json, schedule: Json, rng: random.Random) -> None:
    """State a loss or a bound that is a little off, or far."""
    loss = float(Reading(document, {**schedule, "loss": None, "bound": None}).loss)
    # Neither a round share nor a round difference: that of a round loss would differ by what is
    # allowed, to the last bit.
    factor = rng.choice((0.5, 1 - 1.3e-4, 1 - 1e-8, 1.0, 1 + 1e-8, 1 + 1.3e-4, 2.0))
    schedule[rng.choice(("loss", "bound"))] = loss * factor + rng.choice((0.0, 0.0, 1.37))


CHANGES: tuple[Callable[[Json, Json, random.Random], None], ...] = (
    _anything,
    _anything,
    _anything,
    _shift,
    _member,
    _member,
    _residents,
    _load,
    _load,
    _gpu,
    _claim,
)


def repair(document: Json, schedule: Json) -> None:
    """Set the completions to what follows from members and starts, so that fewer rules break."""
    reading = Reading(document, {"gpus": [], "rejected": []})
    options = {r["id"]: r["options"] for r in document["requests"]}
    for batch in _batches(schedule):
        steps = [
            options[member["id"]][member["option"]]["steps"]
            for member in batch["requests"]
            if 0 <= member["option"] < len(options.get(member["id"], ()))
        ]
        if len(steps) == len(batch["requests"]):
            lengths = reading.completions(steps)
            for member, length in zip(batch["requests"], lengths, strict=True):
                member["completion"] = batch["start"] + length


def smaller(finding: Finding) -> Finding:
    """The finding on a smaller instance and schedule."""

    def problem(files: Json) -> str | None:
        instance = parse_instance(json.dumps(files["instance.json"]))
        schedule: dict[str, Any] = copy.deepcopy(files["schedule.json"])
        schedule["instance"]["sha256"] = instance.sha256
        return disagreement(files["instance.json"], instance, schedule)[0]

    files = shrink(finding.files, lambda f: (problem(f) or "").partition(":")[0] == finding.kind)
    instance = parse_instance(json.dumps(files["instance.json"]))
    files["schedule.json"]["instance"]["sha256"] = instance.sha256
    return _finding(
        problem(files) or finding.problem, files["instance.json"], files["schedule.json"]
    )


ATTACK = Attack(
    name="mutants",
    about="changed schedules: the checker against a second reading of the rules",
    attempt=attempt,
    shrink=smaller,
    weight=1.0,
    aims={"mutated schedules": 100_000},
    quick=60,
)
