"""Broken files: every kind that a command reads, damaged by grammar, in forks of one process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.campaign.attack import Attack, Counts, Finding
from tests.campaign.outside.command import Ended, case_folder, faults, forked, json_value
from tests.campaign.outside.files import Target, target
from tests.campaign.outside.mutation import damaged, shrunk

#: Broken inputs of one try.
TRIES = 25

#: Suffixes of files that are damaged by the structure of their JSON.
JSON = (".json",)


def attempt(seed: int, counts: Counts) -> Iterator[Finding]:
    """Damage files, run the commands that read them, and hold them to the rules."""
    rng = random.Random(seed)
    for _ in range(TRIES):
        aim = target(rng)
        steps = [rng.randrange(1 << 30) for _ in range(rng.choice((1, 1, 1, 2, 3, 5)))]
        broken = _broken(aim, steps)
        counts[f"broken inputs/{aim.kind}"] += broken is not aim
        for fault, said in tried(broken):
            yield _finding(aim, steps, fault, said)


def tried(aim: Target) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a command on its files, with its standard error."""
    with case_folder(aim.files) as folder:
        ended = forked(aim.command, folder)
        answers = frozenset((0, 3) if aim.command[0] == "check" else (0,))
        found = [*faults(ended, names=tuple(aim.files), answers=answers)]
        if ended.status == 0:
            found += _answers(aim, ended, folder)
        yield from ((fault, ended.err[-1000:]) for fault in found)


def _answers(aim: Target, ended: Ended, folder: Path) -> Iterator[str]:
    """Yield what is wrong with the answer of a command that succeeded."""
    if "--json" in aim.command:
        try:
            json_value(ended.out)
        except ValueError:
            yield "--json prints no JSON value"
    if aim.output is None:
        return
    name, kind = aim.output
    if not (folder / name).is_file():
        yield "success without the output"
    elif kind == "schedule":
        checked = forked(("check", "i.json", name), folder)
        if checked.status:
            yield f"a schedule that 'check' ends with {checked.status}"
    elif kind == "instance":
        again = forked(("simulate", name, "--policy", "fifo"), folder)
        if again.status not in {0, 3, 4}:
            yield f"an instance that 'simulate' ends with {again.status}"


def _broken(aim: Target, steps: list[int]) -> Target:
    text = damaged(aim.files[aim.damaged], steps, is_json=aim.damaged.endswith(JSON))
    if text == aim.files[aim.damaged]:
        return aim
    return replace(aim, files={**aim.files, aim.damaged: text})


def _finding(aim: Target, steps: list[int], fault: str, said: str) -> Finding:
    """Return a finding with its command line, its files and its damage."""
    case = {"kind": aim.kind, "damaged": aim.damaged, "command": aim.command, "output": aim.output}
    texts = {file: content.decode("latin-1") for file, content in aim.files.items()}
    now = _broken(aim, steps).files[aim.damaged]
    return Finding(
        kind=f"{aim.kind} {aim.command[0]}: {fault}",
        problem=f"pats-opt {' '.join(aim.command)}: {fault}",
        files={
            "case": case,
            "steps": steps,
            "right (latin-1)": texts,
            "broken": repr(now[:20_000]),
            "standard error": said,
        },
    )


def smaller(finding: Finding) -> Finding:
    """Leave out the damage that the finding does not need."""
    case: dict[str, Any] = finding.files["case"]
    texts = {n: text.encode("latin-1") for n, text in finding.files["right (latin-1)"].items()}
    output = None if case["output"] is None else tuple(case["output"])
    aim = Target(case["kind"], case["damaged"], texts, tuple(case["command"]), output)
    fault = finding.problem.rpartition(": ")[2]

    def said(steps: list[int]) -> dict[str, str]:
        return dict(tried(_broken(aim, steps)))

    steps = shrunk(list(finding.files["steps"]), lambda steps: fault in said(steps))
    return _finding(aim, steps, fault, said(steps).get(fault, ""))


ATTACK = Attack(
    "broken-files",
    "files damaged by grammar: one line that names the file, or a right answer",
    attempt,
    weight=2.0,
    aims={"broken inputs": 5000},
    shrink=smaller,
)
