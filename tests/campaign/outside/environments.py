"""Odd environments: full disks, read-only folders, closed streams, low limits, no home."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.campaign.attack import Attack, Counts, Finding
from tests.campaign.outside import files
from tests.campaign.outside.command import (
    CASE,
    MESSAGE,
    PROGRAM,
    STATUSES,
    Ended,
    case_folder,
    environ,
    faults,
    forked,
    json_value,
    spawned,
)

#: Environments of one try.
TRIES = 3

#: Seconds for a command that may have to compile all kernels, on a machine with other work.
COMPILING_S = 240.0

#: Commands, each with a file that it makes. Those of the first row start no processes.
COMMANDS: tuple[tuple[str, str | None], ...] = (
    ("check i.json s.json", None),
    ("check i.json s.json --json", None),
    ("solve i.json --solver fifo -o o.json", "o.json"),
    ("solve i.json --solver dp --time-limit 5 -o o.json --json", "o.json"),
    ("solve i.json --solver cpsat --time-limit 5 -o o.json", "o.json"),
    ("solve i.json --solver milp:backend=cbc --time-limit 5 -o o.json", "o.json"),
    ("simulate i.json --policy pats -o o.json --json", "o.json"),
    ("generate --requests 50 -o o.json", "o.json"),
    ("import trace l.csv --time arrived --adapter lora --steps steps -o o.json", "o.json"),
    ("show s.json --instance i.json -o o.html", "o.html"),
    ("show s.json --instance i.json -o o.svg", "o.svg"),
    ("solvers --json", None),
    ("schema", None),
    ("gap-report i.json --solvers fifo --no-pictures --jobs 1 -o r", "r/report.html"),
    ("tune fifo i.json --test j.json --trials 1 -o t", "t/result.json"),
)

#: Commands which use a library that ends the process, or waits for ever, without memory.
TABLES = frozenset(("import", "gap-report", "tune"))


@dataclass
class Odd:
    """An environment.

    Attributes:
        variables: Changes of the environment's variables; None takes one away.
        before: Called in the new process before the command.
        options: Options of the process.
        mute: Whether what the command prints cannot be read.
        fails: Whether a command that writes a file has to fail.
        late: Whether printing may fail when the file is written already.
        scarce: Whether libraries may print lines of their own before the message.
        statuses: Exit statuses besides the documented ones.
    """

    variables: Mapping[str, str | None] = field(default_factory=dict)
    before: Callable[[], None] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    mute: bool = False
    fails: bool = False
    late: bool = False
    scarce: bool = False
    statuses: frozenset[int] = frozenset()


Setting = Callable[[random.Random, Path, ExitStack], Odd]


def _limit(kind: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (value, value))


def _address_space(rng: random.Random, _: Path, __: ExitStack) -> Odd:
    """An address space with too little room for the libraries."""
    room = rng.choice((150, 250, 400, 700, 1500)) << 20
    return Odd(before=_limit(resource.RLIMIT_AS, room), scarce=True)


def _open_files(rng: random.Random, _: Path, __: ExitStack) -> Odd:
    """Few open files."""
    return Odd(before=_limit(resource.RLIMIT_NOFILE, rng.choice((12, 16, 24, 32))))


def _file_size(rng: random.Random, _: Path, __: ExitStack) -> Odd:
    """Files may not grow: writing fails halfway."""
    return Odd(before=_limit(resource.RLIMIT_FSIZE, rng.choice((0, 100, 1000))))


def _full_disk(_: random.Random, folder: Path, stack: ExitStack) -> Odd:
    """A disk without room, where the system lets this process mount one."""
    stack.enter_context(_mounted(folder, "size=64k"))
    (folder / "rest").write_bytes(b"")
    with (folder / "rest").open("wb", buffering=0) as rest:
        try:
            while rest.write(bytes(4096)):
                pass
        except OSError:
            pass
    return Odd(fails=True)


def _read_only(_: random.Random, folder: Path, stack: ExitStack) -> Odd:
    """A folder in which nothing may be written."""
    if os.geteuid() == 0:
        stack.enter_context(_mounted(folder, "size=1m"))
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    else:
        folder.chmod(0o555)
        stack.callback(folder.chmod, 0o755)
    return Odd(fails=True)


def _deleted(_: random.Random, folder: Path, __: ExitStack) -> Odd:
    """A working folder that is gone when the command begins."""

    def vanish() -> None:
        gone = folder.parent / "gone"
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()

    return Odd(before=vanish)


def _closed(rng: random.Random, _: Path, __: ExitStack) -> Odd:
    """Standard streams that are closed."""
    chosen = rng.choice(((0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)))

    def close() -> None:
        for number in chosen:
            os.close(number)

    return Odd(before=close, mute=2 in chosen, late=True)


def _full_output(rng: random.Random, _: Path, stack: ExitStack) -> Odd:
    """Standard output or standard error on a full device."""
    full = os.open("/dev/full", os.O_WRONLY)
    stack.callback(os.close, full)
    name = rng.choice(("stdout", "stderr"))
    return Odd(options={name: full}, mute=name == "stderr", late=True)


def _broken_pipe(_: random.Random, __: Path, stack: ExitStack) -> Odd:
    """Standard output that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    stack.callback(os.close, write)
    return Odd(options={"stdout": write}, statuses=frozenset((141, -13)), late=True)


def _no_home(rng: random.Random, _: Path, __: ExitStack) -> Odd:
    """No home, no cache and perhaps no folder for temporary files."""
    home = rng.choice((None, "/nonexistent", "/dev/null", ""))
    temporary = rng.choice((None, "/nonexistent", "", "relative"))
    names = ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "LOGNAME", "USER")
    return Odd(variables={"HOME": home, "TMPDIR": temporary, **dict.fromkeys(names)})


def _locale(rng: random.Random, _: Path, __: ExitStack) -> Odd:
    """Locales, encodings and terminals that few people have."""
    changes: Mapping[str, str | None] = rng.choice(
        (
            {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
            {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"},
            {"LC_ALL": "tr_TR.UTF-8", "LANG": "xx_YY"},
            {"PYTHONIOENCODING": "latin-1:strict", "TERM": "dumb"},
            {"COLUMNS": "1", "LINES": "0", "TERM": "", "FORCE_COLOR": "1"},
            {"COLUMNS": "x", "TERM": "nonsense", "NO_COLOR": ""},
            {"PYTHONOPTIMIZE": "2"},
            {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "1", "TZ": "nowhere/x"},
            {"PYTHONSAFEPATH": "1", "PYTHONDEVMODE": "0", "NUMBA_DISABLE_JIT": "0"},
        )
    )
    return Odd(variables=changes)


SETTINGS: tuple[Setting, ...] = (
    _address_space,
    _open_files,
    _file_size,
    _full_disk,
    _read_only,
    _deleted,
    _closed,
    _full_output,
    _broken_pipe,
    _no_home,
    _locale,
)


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[None]:
    """Have a small file system of its own at a folder, with what is in the folder."""
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        for name, content in kept.items():
            (folder / name).write_bytes(content)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def attempt(seed: int, counts: Counts) -> Iterator[Finding]:
    """Run commands in odd environments; hold them to the rules."""
    rng = random.Random(seed)
    for _ in range(TRIES):
        setting = rng.choice(SETTINGS)
        if setting in {_full_disk, _read_only} and not _can_mount():
            continue
        line, output = rng.choice(COMMANDS)
        i, s = files.pair(rng.randrange(200))
        beside = {"i.json": i, "s.json": s, "j.json": files.pair(200)[0], "l.csv": files.LOG}
        counts[f"odd environments/{setting.__name__[1:]}"] += 1
        with case_folder(beside) as folder, ExitStack() as stack:
            odd = setting(rng, folder, stack)
            if odd.scarce and line.split()[0] in TABLES:
                continue
            ended = spawned(
                line.split(),
                folder,
                program=PROGRAM,
                patience_s=COMPILING_S,
                env=environ(**odd.variables),
                preexec_fn=odd.before,
                **odd.options,
            )
            for problem in _problems(line, output, odd, ended, folder):
                yield Finding(
                    kind=f"{setting.__name__[1:]} {line.split()[0]}: {problem}",
                    problem=f"pats-opt {line}, {setting.__doc__} {dict(odd.variables)}: {problem}",
                    files={
                        "standard error": ended.err[-3000:],
                        "standard output": ended.out[-500:],
                    },
                )


def _can_mount() -> bool:
    return os.geteuid() == 0 and shutil.which("mount") is not None


def _problems(line: str, output: str | None, odd: Odd, ended: Ended, folder: Path) -> Iterator[str]:
    """Yield what is wrong with a command in an environment."""
    answers = frozenset((0, 3) if line.startswith("check") else (0,))
    if odd.mute and ended.status in STATUSES:
        ended.err = MESSAGE if ended.status else ""
    if odd.scarce:
        ended.err = "\n".join(ended.err.splitlines()[-1:])
    if output is not None and ("/" in output or odd.late):  # what is done is kept
        kept = f"{CASE}/{output.partition('/')[0]}"
        ended.left = [name for name in ended.left if not name.startswith(kept)]
    yield from faults(ended, statuses=STATUSES | odd.statuses, answers=answers | odd.statuses)
    if ended.status == 0:
        yield from _answers(line, output, odd, ended, folder)


def _answers(line: str, output: str | None, odd: Odd, ended: Ended, folder: Path) -> Iterator[str]:
    """Yield what is wrong with the answer of a command that succeeded."""
    if output is not None and odd.fails:
        yield "success without room"
    elif output is not None and not (folder / output).is_file():
        yield "success without the output"
    elif output == "o.json" and "i.json" in line:
        checked = forked(("check", "i.json", "o.json"), folder)
        if checked.status:
            yield f"a schedule that 'check' ends with {checked.status}"
    if "--json" in line and ended.out:
        try:
            json_value(ended.out)
        except ValueError:
            yield "--json prints no JSON value"


ATTACK = Attack(
    "environments",
    "full disks, read-only folders, closed streams, low limits, no home: one line, no bug",
    attempt,
    weight=1.0,
)
