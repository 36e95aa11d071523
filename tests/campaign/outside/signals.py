"""Interrupts and kills of long commands at random moments, and what is left when they go on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pats_opt.generate import generate
from pats_opt.generate.recipe import Recipe
from pats_opt.model.files import encode
from tests.campaign.attack import Attack, Counts, Finding
from tests.campaign.outside.command import (
    CASE,
    PROGRAM,
    Ended,
    case_folder,
    changed,
    environ,
    faults,
    forked,
    listing,
    spawned,
)

#: Variable in the environment of all processes of one case.
MARK = "PATS_OPT_CAMPAIGN_CASE"

#: Seconds in which a command ends after a signal, and in which its own processes end after it.
END_S, ORPHAN_S = 60.0, 10.0

#: Seconds in which Python itself starts: a signal then ends the process as the system does.
START_S = 1.5

#: Seconds for a command that nothing stops.
WHOLE_S = 280.0

SOLVERS = (
    "auto", "exact", "dp", "cpsat", "milp:backend=highs", "milp:backend=scip", "milp:backend=cbc",
    "lagrangian", "local-search", "belady", "price-index",
)  # fmt: skip


@dataclass(frozen=True)
class Long:
    """A long command.

    Attributes:
        name: Its name in counts.
        command: The command line.
        lasts_s: Seconds that it lasts, more or less.
        output: The file that it writes; a document, or a page.
        results: Reads what has to be equal after ``--resume``; None where there is none.
    """

    name: str
    command: tuple[str, ...]
    lasts_s: float
    output: str | None = None
    results: Callable[[Path], Any] | None = None


def _records(folder: Path) -> Any:
    """Return the losses of the runs of a gap report."""
    found = {}
    for path in sorted((folder / "r" / "runs").glob("*.json")):
        record = json.loads(path.read_bytes())
        found[path.name] = {key: record.get(key) for key in ("end", "loss", "bound")}
    return found


def _search(folder: Path) -> Any:
    """Return the result of a parameter search."""
    result = json.loads((folder / "t" / "result.json").read_bytes())
    keys = ("best_params", "best_trial", "trials", "train", "test", "interrupted")
    return {key: result[key] for key in keys}


def _images(folder: Path) -> Any:
    """Return what the pictures of an execution hold."""
    return {path.name: path.read_bytes() for path in (folder / "e" / "images").glob("*.png")}


LONG = (
    *(
        Long(
            f"solve {name}",
            ("solve", "m.json", "--solver", name, "--time-limit", "6", "-o", "o.json"),
            9.0,
            "o.json",
        )
        for name in SOLVERS
    ),
    Long("simulate", ("simulate", "m.json", "--policy", "pats", "-o", "o.json"), 3.0, "o.json"),
    Long("generate", ("generate", "--requests", "20000", "-o", "o.json"), 4.0, "o.json"),
    Long("show", ("show", "s.json", "--instance", "m.json", "-o", "o.html"), 4.0, "o.html"),
    *(
        Long(
            "gap-report",
            ("gap-report", "one.json", "two.json", "--solvers", "dp,fifo", "--jobs", jobs,
             "--time-limit", "60", "--no-pictures", "-o", "r"),
            15.0,
            results=_records,
        )
        for jobs in ("1", "2")
    ),
    Long(
        "tune",
        ("tune", "pats", "one.json", "--test", "two.json", "--trials", "12", "-o", "t"),
        6.0,
        results=_search,
    ),
    Long(
        "execute",
        ("execute", "f.json", "--instance", "one.json", "-o", "e"),
        12.0,
        results=_images,
    ),
)  # fmt: skip


@cache
def _files() -> dict[str, bytes]:
    """Instances, and schedules of two of them."""
    drawn = {
        "m.json": encode(generate(Recipe(requests=30), 1)),
        "one.json": encode(generate(Recipe(requests=8), 2)),
        "two.json": encode(generate(Recipe(requests=7), 3)),
    }
    with case_folder(drawn) as folder:
        made = {"s.json": "m.json", "f.json": "one.json"}
        for name, instance in made.items():
            forked(("simulate", instance, "--policy", "fifo", "-o", name), folder)
        return {**drawn, **{name: (folder / name).read_bytes() for name in made}}


@cache
def _whole(command: tuple[str, ...], results: Callable[[Path], Any]) -> Any:
    """Return the results of a command that nothing stops."""
    with case_folder(_files()) as folder:
        ended = spawned(command, folder, WHOLE_S)
        assert ended.status == 0, ended.err
        return results(folder)


def attempt(seed: int, counts: Counts) -> Iterator[Finding]:
    """Stop a command at a random moment; go on with it and compare, where it can go on."""
    rng = random.Random(seed)
    one = rng.choice(LONG)
    kind = rng.choice((signal.SIGINT, signal.SIGTERM, signal.SIGKILL))
    after_s = rng.uniform(0.0, 1.2) * rng.choice((one.lasts_s, one.lasts_s, START_S))
    resume: tuple[str, ...] = ()
    with case_folder(_files()) as folder:
        for _ in range(rng.choice((1, 2, 3)) if one.results else 1):
            ended, problems = stopped((*one.command, *resume), folder, kind, after_s)
            counts[f"kills/{kind.name}"] += 1
            counts[f"stopped commands/{one.name}"] += 1
            problems += _broken(one, ended, folder, kind, after_s)
            for problem in problems:
                yield _finding(one, kind, after_s, problem, ended.err)
            resume = ("--resume",)
        if one.results is None or problems:
            return
        ended = spawned((*one.command, *resume), folder, WHOLE_S)
        for fault in faults(ended):
            yield _finding(one, kind, after_s, f"resumed: {fault}", ended.err)
        counts["resumed runs"] += 1
        if ended.status == 0 and one.results(folder) != _whole(one.command, one.results):
            yield _finding(one, kind, after_s, "resumed: other results", str(one.results(folder)))


def stopped(
    command: Sequence[str], folder: Path, kind: signal.Signals, after_s: float
) -> tuple[Ended, list[str]]:
    """Run a command, send it a signal, and wait for the end of all its processes.

    Returns:
        How it ended, with the seconds from the signal on, and what is wrong with its processes.
    """
    mark, problems = uuid.uuid4().hex, []
    before = listing(folder.parent)
    streams = [folder.parent / name for name in ("out", "err")]
    with streams[0].open("wb") as out, streams[1].open("wb") as err:
        process = subprocess.Popen(
            [*PROGRAM, *command],
            cwd=folder,
            env=environ(**{MARK: mark}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            preexec_fn=_hear_interrupts,  # noqa: PLW1509 - it only sets a signal's handler
        )
        with suppress(subprocess.TimeoutExpired):
            process.wait(after_s)
        process.send_signal(kind)
        began = time.monotonic()
        hung = False
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            hung = True
            process.kill()
            process.wait()
        seconds = time.monotonic() - began
    while (left := marked(mark)) and time.monotonic() < began + seconds + ORPHAN_S:
        time.sleep(0.1)
    for pid in left:
        problems.append("a process is left")
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    said, wrong = (path.read_text("utf-8", "replace") for path in streams)
    for path in streams:
        path.unlink()
    made = changed(before, listing(folder.parent))
    # Click begins a new line on a terminal after the ^C there.
    status = None if hung else process.returncode
    return Ended(status, said, wrong.lstrip("\n"), made, seconds), problems


def _hear_interrupts() -> None:
    """Undo what a shell does to its background jobs, which ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def marked(mark: str) -> list[int]:
    """Return the processes with a mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def _broken(
    one: Long, ended: Ended, folder: Path, kind: signal.Signals, after_s: float
) -> list[str]:
    """Return the rules that a stopped command broke."""
    written = one.output is not None and (folder / one.output).exists()
    found = []
    if written and one.output is not None and one.output.endswith(".json"):
        found += _invalid(one, folder)
    parts = [name for name in ended.left if name.endswith(".part")]
    if kind is signal.SIGKILL:
        return found
    if parts:
        found.append("a half-written file")
    if after_s < START_S and ended.status in {1, -kind} and "pats" not in ended.err:
        return found  # Python had not begun with the command
    if ended.status == -kind and "Traceback" not in ended.err and (written or ended.out):
        return found  # the command had ended
    kept = [name for name in ended.left if name.startswith(f"{CASE}/{_folder(one)}")]
    ended.left = [name for name in ended.left if name not in kept]
    found += faults(ended, statuses=frozenset((0, 4)))
    if ended.status == 0 and one.output is not None and not written:
        found.append("success without the output")
    return found


def _folder(one: Long) -> str:
    """The folder that a command keeps after an interrupt, or a name that no file has."""
    return one.command[-1] if one.results else "?"


def _invalid(one: Long, folder: Path) -> list[str]:
    """Return what is wrong with the file that a stopped command has written."""
    output = one.output or ""
    command: tuple[str, ...] = ("check", "m.json", output)
    if one.command[0] == "generate":
        command = ("simulate", output, "--policy", "fifo", "--time-limit", "0.01")
    ended = forked(command, folder)
    return [] if ended.status in {0, 4} else [f"an output that is wrong: {ended.err[-200:]}"]


def _finding(one: Long, kind: signal.Signals, after_s: float, problem: str, said: str) -> Finding:
    return Finding(
        kind=f"{one.name} {kind.name}: {problem}",
        problem=f"pats-opt {' '.join(one.command)}, {kind.name} after {after_s:.2f} s: {problem}",
        files={"standard error": said[-3000:]},
    )


ATTACK = Attack(
    "signals",
    "SIGINT, SIGTERM and SIGKILL at random moments, and `--resume`: nothing half, nothing lost",
    attempt,
    weight=3.0,
    aims={"kills": 100},
    timeout_s=900.0,
)
