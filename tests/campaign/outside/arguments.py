"""Broken command lines: right ones with arguments dropped, repeated, swapped, misspelt or odd."""

from __future__ import annotations

import random
from collections.abc import Iterator

import click

from pats_opt.cli import COMMANDS, group
from tests.campaign.attack import Attack, Counts, Finding
from tests.campaign.outside import files
from tests.campaign.outside.command import case_folder, faults, forked
from tests.campaign.outside.mutation import shrunk

#: Broken command lines of one try.
TRIES = 25

#: Right command lines, without those that take long.
RIGHT = (
    "check i.json s.json",
    "check i.json s.json --json",
    "solve i.json --solver fifo --time-limit 2 --seed 1 -o o.json",
    "solve i.json --solver pats --param gamma=0.5 --latency-budget 5 --time-limit 2",
    "simulate i.json --policy pats:gamma=0.5 --seed 2 -o o.json --json",
    "generate --requests 5 --adapters 2 --load 1.5 --sizes 1024x1024:1 --seed 3 -o o.json",
    "generate --suite u.toml -o drawn",
    "generate --list",
    "import trace l.csv --time arrived --adapter lora --steps steps --count 3 -o o.json",
    "import bin-packing b.txt --problem one -o o.json",
    "import tsplib t.tsp --open -o o.json",
    "import csplib058 c.psp -o o.json",
    "show s.json --instance i.json -o o.html",
    "export graph s.json --instance i.json -o o.graphml",
    "gap-report i.json --solvers fifo --time-limit 1 --jobs 1 --no-pictures -o report",
    "tune pats i.json --trials 1 --only gamma --test i.json -o search",
    "profile --refit q.csv --converged 0.97 -o o.toml",
    "execute s.json --instance i.json --model nothing-here -o run",
    "solvers pats --json",
    "schema schedule",
    "completion bash",
)

#: What an argument becomes. Nothing here may name a file outside the folder.
WORDS = (
    "", " ", "-", "--", "---", "-1", "0", "1", "-0", "1.5", "nan", "inf", "-inf", "1e308", "1e-320",
    "9" * 30, "9" * 400, "0x10", "1_0", "\u0663", "true", "None", "x", "=", "=x", "a=", "a=b",
    "i.json", "s.json", "q.csv", ".", "missing.json", "missing/o.json", "i.json/x", "a b", "o\nx",
    "\x1b[31m", "\x7f", "\u202e", "é", "💡", "\udcff", "x" * 300, "y" * 5000, "x:y=z:", ",", "a,,b",
    "%s", "{0}", "$(id)", "`id`", "a:b", "*", "?", "~", "~nobody/x", "@x", "--help", "-h", "--json",
    "--version", "-o", "o.txt", "o.HTML", "o.html.gz", "fifo", "milp:backend=none", "fifo:x=1",
    "pats:gamma=nan", "os:getcwd", "pats_opt:run", "1024x0", "0x0", "1:2,3:", "10:-1", "1:nan",
)  # fmt: skip


def attempt(seed: int, counts: Counts) -> Iterator[Finding]:
    """Break command lines, run them, and hold them to the rules."""
    rng = random.Random(seed)
    for _ in range(TRIES):
        line = rng.choice(RIGHT).split()
        beside = dict(zip(("i.json", "s.json"), files.pair(rng.randrange(200)), strict=True))
        steps = [rng.randrange(1 << 30) for _ in range(rng.choice((1, 1, 2, 3)))]
        counts[f"broken command lines/{line[0]}"] += 1
        for fault, said in _tried(_broken(line, steps), beside):
            yield _finding(line, steps, beside, fault, said)


def _tried(line: list[str], beside: dict[str, bytes]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a command line, with its standard error."""
    with case_folder({**files.EXAMPLES, **beside}) as folder:
        ended = forked(line, folder)
        answers = frozenset((0, 3) if "check" in line else (0,))
        for fault in faults(ended, answers=answers):
            yield fault, ended.err[-1000:]


def _broken(line: list[str], steps: list[int]) -> list[str]:
    """Return a command line after some steps of damage."""
    command = line[0]
    line = list(line)
    for step in steps:
        rng = random.Random(step)
        at, other = rng.randrange(len(line) + 1), rng.randrange(len(line) + 1)
        change = rng.choice(
            ("word", "word", "word", "drop", "add", "option", "twice", "swap", "typo")
        )
        if change == "add" or at == len(line):
            line.insert(at, rng.choice(WORDS))
        elif change == "option":
            line += [rng.choice(_options(command)), rng.choice(WORDS)]
        elif change == "drop":
            del line[at]
        elif change == "twice":
            line.insert(other, line[at])
        elif change == "swap":
            line[at], line[other - 1] = line[other - 1], line[at]
        elif change == "typo":
            cut = rng.randrange(len(line[at]) + 1)
            line[at] = (
                line[at][:cut] + rng.choice(("", "-", "x", "=", "\u00a0")) + line[at][cut + 1 :]
            )
        else:
            line[at] = rng.choice(WORDS)
    return line


def _options(command: str) -> list[str]:
    """Return the options of a command and, of those with choices, their values."""
    found = group.get_command(click.Context(group), command) if command in COMMANDS else group
    assert found is not None
    return [name for param in found.params for name in param.opts if name.startswith("-")] or ["-v"]


def _finding(
    line: list[str], steps: list[int], beside: dict[str, bytes], fault: str, said: str
) -> Finding:
    """Return a finding with its command line and its damage."""
    now = _broken(line, steps)
    texts = {name: content.decode() for name, content in beside.items()}
    return Finding(
        kind=f"{line[0]}: {fault}",
        problem=f"pats-opt {now}: {fault}"[:2000],
        files={
            "line": line, "steps": steps, "fault": fault, "standard error": said, **texts
        },
    )  # fmt: skip


def smaller(finding: Finding) -> Finding:
    """Leave out the damage that the finding does not need."""
    line, fault = finding.files["line"], finding.files["fault"]
    beside = {name: finding.files[name].encode() for name in ("i.json", "s.json")}

    def said(steps: list[int]) -> dict[str, str]:
        return dict(_tried(_broken(line, steps), beside))

    steps = shrunk(finding.files["steps"], lambda steps: fault in said(steps))
    return _finding(line, steps, beside, fault, said(steps).get(fault, ""))


ATTACK = Attack(
    "broken-commands",
    "command lines damaged by grammar: one line, a documented status and no file left",
    attempt,
    weight=0.7,
    shrink=smaller,
)
