"""The page on bounds: its commands and its Python are run, and print what it shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from pats_opt.cli import run

PAGE = Path(__file__).parents[3] / "docs" / "bounds.md"


@pytest.fixture
def blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The page's blocks, in a folder where its instance has been saved."""
    found = re.findall(r"^```\w*\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    Path("two-adapters.json").write_text(found[0])
    return found


def test_the_command(blocks: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(blocks[1].split()[1:]) == 0
    timing, _, printed = capsys.readouterr().out.partition("\n")
    assert timing.startswith("solver     lagrangian, stopped: optimal")
    assert printed == blocks[2]


def test_the_python(blocks: list[str]) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(blocks[3], str(PAGE), "exec"), {})  # noqa: S102 - the page's own example
    assert printed.getvalue() == blocks[4]


def test_little_memory(blocks: list[str]) -> None:
    """The last command's limit is enough for this instance; a tiny one is not."""
    command = blocks[5].split()[1:]
    assert run(command) == 0
    assert run([word.replace("=0.5", "=1e-7") for word in command]) == 2
