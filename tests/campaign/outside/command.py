"""Runs of the command line, in a fork of this process or in one of their own, and their rules.

The rules: a documented exit status; after a failure one short line that names the file, and no file
left behind; never a traceback, a "bug" or a warning with a path of the source.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]

#: How a process of the command line is started.
PROGRAM = (sys.executable, "-m", "pats_opt")

#: Most characters of a message: a file, a place, a problem and a hint may be long, not all of them.
LONGEST = 700

#: Seconds after which a command counts as hanging, and its address space in bytes.
PATIENCE_S, ADDRESS_SPACE = 60.0, 12 << 30

#: What commands import when they are used: imported once, before the first fork.
LAZY = (
    "pats_opt.cli.check", "pats_opt.cli.solve", "pats_opt.cli.simulate", "pats_opt.cli.generate",
    "pats_opt.cli.import_trace", "pats_opt.cli.show", "pats_opt.cli.export", "pats_opt.cli.facts",
    "pats_opt.cli.gap_report", "pats_opt.cli.tune", "pats_opt.cli.profile", "pats_opt.cli.solvers",
    "pats_opt.solving.solve", "pats_opt.solving.budget", "pats_opt.importers.trace",
    "pats_opt.importers.bin_packing", "pats_opt.importers.tsplib", "pats_opt.importers.csplib058",
    "pats_opt.exporters.formats", "pats_opt.generate", "pats_opt.views.interactive",
    "pats_opt.views.html", "pats_opt.profiling.refit", "pats_opt.report.pages", "pats_solvers.auto",
    "pats_solvers.exact", "pats_solvers.cpsat.solver", "pats_solvers.dp.solver",
    "pats_solvers.local.solver", "pats_solvers.lagrangian.bounding", "pats_solvers.milp.solver",
    "pats_solvers.primal_dual", "bokeh.plotting", "bokeh.embed", "networkx", "polars",
    "matplotlib.pyplot", "ortools.sat.python.cp_model",
)  # fmt: skip

#: Exit statuses of PROBLEM.md section 8 that are no bug.
STATUSES = frozenset((0, 2, 3, 4))

#: Name of the folder of one case.
CASE = "case"

MESSAGE = "pats-opt: error: "

#: The system's files of a folder, by name: kind and digest.
Listing = dict[str, str]


@dataclass
class Ended:
    """How a command ended.

    Attributes:
        status: Exit status, negative for a signal, None where it was killed for hanging.
        out: Standard output.
        err: Standard error.
        left: Names of files that it made or changed, from the folder around its own.
        seconds: Its time.
    """

    status: int | None
    out: str
    err: str
    left: list[str] = field(default_factory=list)
    seconds: float = 0.0


def listing(folder: Path) -> Listing:
    """Return what is in a folder: names with digests of their content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kind = "folder" if path.is_dir() else "file" if path.is_file() else "other"
        content = hashlib.sha256(path.read_bytes()).hexdigest() if kind == "file" else ""
        found[str(path.relative_to(folder))] = f"{kind} {content}"
    return found


def changed(before: Listing, after: Listing) -> list[str]:
    """Return the names that are new, other or gone."""
    return sorted(name for name in {**before, **after} if before.get(name) != after.get(name))


@contextmanager
def case_folder(files: Mapping[str, bytes]) -> Iterator[Path]:
    """Make a folder with files, and one around it in which nothing may be written."""
    with tempfile.TemporaryDirectory(prefix="campaign-") as name:
        folder = Path(name) / CASE
        folder.mkdir()
        for file, content in files.items():
            (folder / file).write_bytes(content)
        yield folder


@cache
def _warm() -> None:
    """Import what forks would import, and compile the kernels."""
    for module in LAZY:
        import_module(module)
    from pats_opt.solving.solve import solve
    from pats_opt.testing.instances import random_instance

    for name in ("pats", "local-search", "lagrangian", "dp"):
        solve(random_instance(0, (), requests=(4, 4)), name, time_limit=5)


def forked(arguments: Sequence[str], folder: Path, patience_s: float = PATIENCE_S) -> Ended:
    """Run a command in a fork of this process, which has imported everything already."""
    _warm()
    before, began = listing(folder.parent), time.monotonic()
    ends = [os.pipe(), os.pipe()]
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        pid = os.fork()
    if not pid:
        _child(arguments, folder, [write for _, write in ends])
    for _, write in ends:
        os.close(write)
    (out, err), hung = _texts([read for read, _ in ends], began + patience_s)
    if hung:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    left = changed(before, listing(folder.parent))
    return Ended(None if hung else status, out, err, left, time.monotonic() - began)


def _texts(reads: list[int], until: float) -> tuple[list[str], bool]:
    """Read pipes to their ends, or until a time; whether that time came."""
    texts = dict.fromkeys(reads, b"")
    opened = set(reads)
    while opened and (rest := until - time.monotonic()) > 0:
        for read in select.select(list(opened), [], [], rest)[0]:
            if piece := os.read(read, 1 << 16):
                texts[read] += piece
            else:
                opened.discard(read)
    for read in reads:
        os.close(read)
    return [_text(texts[read]) for read in reads], bool(opened)


def _child(arguments: Sequence[str], folder: Path, outputs: list[int]) -> None:
    """Be the command; never return."""
    status = 99
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        source = os.open(os.devnull, os.O_RDONLY)
        for given, usual in zip((source, *outputs), (0, 1, 2), strict=True):
            os.dup2(given, usual)
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", errors="backslashreplace", encoding="utf-8", closefd=False)
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        warnings.resetwarnings()
        for category in (
            DeprecationWarning,
            PendingDeprecationWarning,
            ImportWarning,
            ResourceWarning,
        ):
            warnings.simplefilter("ignore", category)
        from pats_opt.cli import run
        from pats_opt.streams import take_standard_streams

        take_standard_streams()
        status = run(list(arguments))
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException as error:  # what main would let through
        os.write(2, f"Traceback: {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


def spawned(
    arguments: Sequence[str],
    folder: Path,
    patience_s: float = PATIENCE_S,
    *,
    program: Sequence[str] = PROGRAM,
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> Ended:
    """Run a command in a process of its own, in the folder; options are those of ``Popen``."""
    before, began = listing(folder.parent), time.monotonic()
    environment = environ() if env is None else env
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(
        [*program, *arguments],
        cwd=folder,
        env=environment,
        start_new_session=True,
        **{**streams, **options},
    )
    hung = False
    try:
        out, err = process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        hung = True
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    left, seconds = changed(before, listing(folder.parent)), time.monotonic() - began
    return Ended(None if hung else process.returncode, _text(out), _text(err), left, seconds)


def _text(output: bytes | None) -> str:
    return (output or b"").decode("utf-8", "replace")


def environ(**changes: str | None) -> dict[str, str]:
    """Return the environment for a process, with changes; None takes a variable away."""
    path = f"{ROOT}{os.pathsep}{ROOT / 'solvers'}"
    wanted: dict[str, str | None] = {**os.environ, "PYTHONPATH": path, **changes}
    return {name: value for name, value in wanted.items() if value is not None}


def faults(
    ended: Ended,
    *,
    names: Sequence[str] = (),
    statuses: frozenset[int] = STATUSES,
    answers: frozenset[int] = frozenset((0,)),
) -> Iterator[str]:
    """Yield the rules that a command broke.

    Args:
        ended: How it ended.
        names: Files of which a message about bad input names one.
        statuses: Exit statuses that it may have.
        answers: Exit statuses that come with an answer and without a message.
    """
    if ended.status is None:
        yield "it hangs"
        return
    if ended.status not in statuses:
        yield f"exit status {ended.status}{_error(ended.err)}"
    if "Traceback" in ended.err:
        yield f"a traceback{_error(ended.err)}"
    elif re.search(r"\.py:\d+: ", ended.err):
        yield "a warning with a path of the source"
    if not all(name.startswith(f"{CASE}/") for name in ended.left):
        yield "files outside the folder"
    if ended.status in statuses - answers:
        yield from _message(ended, names)
        if ended.left:
            yield "files left behind after a failure"


def _message(ended: Ended, names: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the message of a command that failed."""
    lines = ended.err.splitlines()
    said = [line for line in lines if line.startswith(MESSAGE)]
    if len(said) != 1 or lines[-1] != said[0]:
        yield f"exit status {ended.status} with {len(said)} messages"
    elif len(lines) > 1:
        yield "a message of more than one line"
    elif not lines[0].isprintable():
        yield "a message that cannot be printed"
    elif len(lines[0]) > LONGEST:
        yield "a message of too many characters"
    elif ended.status == 2 and names and not any(name in lines[0] for name in names):
        yield "a message without the file's name"


def _error(text: str) -> str:
    """Return the type of the error in a text, to tell findings apart."""
    found = re.findall(r"\b[A-Z]\w*(?:Error|Exception|Interrupt|Exit)\b", text)
    return f" ({found[-1]})" if found else ""


def json_value(text: str) -> Any:
    """Return the only JSON value of an output.

    Raises:
        ValueError: There is none, or more than one.
    """
    return json.loads(text)
