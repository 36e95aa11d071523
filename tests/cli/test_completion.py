"""Shell completion: the scripts, and what a shell is told (click's protocol in the environment)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pats_opt.cli import COMMANDS, COMPLETING, run
from pats_opt.cli.importing import FORMATS
from pats_opt.core.registry import names
from pats_opt.generate import profile
from pats_opt.generate.suites import suites

Capture = pytest.CaptureFixture[str]

#: Gives what the shell is told of the last of some words.
Ask = Callable[..., list[str]]

#: Packages that take long to import: no name needs them.
HEAVY = ("numpy", "numba", "ortools", "matplotlib", "polars", "rich", "networkx", "pulp", "bokeh")


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Ask:
    """Asks as bash does: its words, and which one is completed (the last)."""

    def ask(*words: str) -> list[str]:
        monkeypatch.setenv(COMPLETING, "bash_complete")
        monkeypatch.setenv("COMP_WORDS", "\n".join(["pats-opt", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit) as end:
            run([])
        assert end.value.code == 0
        return [line for line in capsys.readouterr().out.splitlines() if line]

    return ask


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("so",), ["plain,solve", "plain,solvers"]),
        (("solve", "--sol"), ["plain,--solver"]),
        (("solve", "--solver", "local"), ["plain,local-search"]),
        (("solve", "--solver", "pats:ga"), ["plain,pats:gamma="]),
        (("solve", "--solver", "pats", ":", "ga"), ["plain,gamma="]),
        (("solve", "--solver", "pats", ":", "prune", "=", "t"), ["plain,true"]),
        (("solve", "--solver", "=", "pat"), ["plain,pats", "plain,patient"]),
        (("solve", "--solver", "milp", "--param", "backend", "=", "s"), ["plain,scip"]),
        (("solve", "--backend", "h"), ["plain,highs"]),
        (("solve", "--solver", "no-such:x"), []),
        (("simulate", "--policy", "fifo", "--param", "opt"), ["plain,option="]),
        (("simulate", "--policy", "mil"), []),
        (("gap-report", "--solvers", "fifo,pat"), ["plain,fifo,pats", "plain,fifo,patient"]),
        (("tune", "srp"), ["plain,srpt"]),
        (("execute", "x.json", "--policy", "credi"), ["plain,credits"]),
        (("export", "grap"), ["plain,graph"]),
        (("solvers", "bela"), ["plain,belady"]),
        (("completion", "z"), ["plain,zsh"]),
    ],
)
def test_words(complete: Ask, words: tuple[str, ...], wanted: list[str]) -> None:
    """The word at the cursor; a word that bash has split at : or = gets what is left of it."""
    assert complete(*words) == wanted


def test_used_parameters_are_left_out(complete: Ask) -> None:
    found = complete("solve", "--solver", "pats:gamma=1:")
    assert "plain,pats:gamma=1:prune=" in found
    assert "plain,pats:gamma=1:gamma=" not in found


def test_every_name(complete: Ask) -> None:
    """Commands, solvers, formats, suites and profiles are those that there are."""

    def plain(*words: str) -> set[str]:
        return {line.removeprefix("plain,") for line in complete(*words) if "path," not in line}

    assert plain("") == set(COMMANDS)
    assert plain("solve", "--solver", "") == set(names())
    assert plain("import", "") == set(FORMATS)
    assert plain("generate", "--suite", "") == set(suites())
    assert plain("gap-report", "--suite", "") == set(suites())
    assert plain("generate", "--profile", "") == set(profile.names())


def test_files_by_suffix(complete: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance is a .json file or in a folder; what is written may have any name."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.json", "a b.json", "a.toml", "a.png", ".a.json"):
        Path(name).touch()
    Path("all").mkdir()
    Path("all", "c.json").touch()
    assert complete("solve", "a") == ["path,a b.json", "path,a.json", "path,all/"]
    assert complete("check", "a.json", "all/") == ["path,all/c.json"]
    assert complete("gap-report", "--config", "a.") == ["path,a.toml"]
    assert complete("solve", "none/") == []
    assert complete("solve", "a.json", "-o", "a") == ["file,a"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script(shell: str, capsys: Capture) -> None:
    """The script asks this program, in the shell's own way."""
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"{COMPLETING}={shell}_complete" in script
    assert "pats-opt" in script


def test_another_shell(capsys: Capture) -> None:
    assert run(["completion", "tcsh"]) == 2
    assert "'fish'" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_runs_the_script(tmp_path: Path, capsys: Capture) -> None:
    """Bash itself, given the script: the words it would offer."""
    program = Path(sys.executable).with_name("pats-opt")
    if not program.exists():
        pytest.skip("pats-opt is not installed as a program")
    assert run(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "two words.json").touch()
    asked = """
compopt() { local IFS=' '; OPTIONS+=("$*"); }
source ./script
ask() {
    COMPREPLY=() OPTIONS=() COMP_WORDS=(pats-opt "$@") COMP_CWORD=$#
    _pats_opt_completion "$PROGRAM"
    printf '%s|' "${COMPREPLY[@]}" "${OPTIONS[@]}"
    echo
}
ask solve --solver pats : ga
ask solve tw
ask impo
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", asked],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PROGRAM": str(program)},
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "gamma=|-o nospace|",
        "two words.json|-o filenames|",
        "import|",
    ]


@pytest.mark.parametrize(
    ("words", "cursor"), [("pats-opt so", 1), ("pats-opt --h", 1), ("pats-opt solve --so", 2),
                          ("pats-opt solve --solver pa", 3), ("pats-opt generate --suite d", 3)]
)  # fmt: skip
def test_completing_imports_little(words: str, cursor: int) -> None:
    """Names are known without numpy, OR-Tools and the like: a shell waits for them."""
    code = f"""
import sys
from pats_opt.cli import run
try:
    run([])
except SystemExit as end:
    assert end.code == 0
heavy = [name for name in {HEAVY!r} if name in sys.modules]
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            COMPLETING: "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(cursor),
        },
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("plain,")
