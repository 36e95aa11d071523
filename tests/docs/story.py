"""A page as a story: its blocks are run in their order, in a folder of its own.

- ``sh``: in this process where all its lines are plain ``pats-opt`` commands, else through bash,
  which stops at the first error.
- ``python``: all of a page's blocks are one session. A block whose text before it ends in
  ``Save ... as `NAME`:`` is a file instead, and so is any other language's.
- ``json``, ``toml``: must be right, and what says its ``format`` is read as that.
- ``none``: a formula.
- ``text``: what the block before it prints. ``...`` stands for any text in a line, or any lines.

A fence of another language is an error, so that nothing is left out by accident.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from sybil import Document, Example
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

from pats_opt import cli
from pats_opt.generate.profile import Profile
from pats_opt.model.instance import Instance
from pats_opt.model.parsing import convert
from pats_opt.model.schedule import Schedule
from tests.docs.instead import INSTEAD, ROOT, Instead

FENCES = FencedCodeBlockLexer(
    language=r"[^\n]*", mapping={"language": "language", "source": "source"}
)

SAVED = re.compile(r"[Ss]ave (?:it|this|them) as `([^`]+)`:$")

FORMATS: dict[str, type[Struct]] = {
    "pats-opt/instance": Instance,
    "pats-opt/schedule": Schedule,
    "pats-opt/profile": Profile,
}

#: Fences that are the site's own; the last shows what moves on a terminal.
DIRECTIVES = ("{toctree}", "{eval-rst}", "{code-block} text")

#: Commands that start worker processes or load a model.
APART = ("execute", "gap-report", "plan", "profile", "replay", "serve", "tune")

LIMIT_S = 240  # seconds for one block; kernels are compiled once per machine


def pages() -> list[Path]:
    """Every page that a reader may type from."""
    folders = ("experiments", "instances", "solvers")
    found = [ROOT / "README.md", *(ROOT / name / "README.md" for name in folders)]
    return [*found, *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Example]:
    """The fences of a page that hold code."""
    document = Document.parse(str(page), FENCES)
    return [one for one in document.examples() if language(one) not in DIRECTIVES]


def language(block: Example) -> str:
    """Words after the fence."""
    return str(block.region.lexemes["language"])


class Story:
    """Runs the blocks of one page in ``folder``."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.page, self.folder = page, folder
        self.site = folder.parent / "site"
        self.told: str | None = None
        self.python = PythonEvaluator()

    def run(self) -> None:
        """Every block; the first that fails is named by its line."""
        known = set(sys.modules)
        sys.path.insert(0, str(self.folder))
        try:
            for block in blocks(self.page):
                self.block(block)
        finally:
            sys.path.remove(str(self.folder))
            for name in set(sys.modules) - known:
                if getattr(sys.modules[name], "__file__", None) == str(self.folder / f"{name}.py"):
                    del sys.modules[name]

    def block(self, block: Example) -> None:
        """One of them."""
        source = block.parsed = block.region.lexemes["source"]
        kind, name = language(block), self.named(block)
        if kind in ("json", "toml"):
            right(source, kind)
        if name is not None:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, encoding="utf-8")
        elif kind == "sh":
            self.told = self.shell(source, block.line)
        elif kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                self.python(block)
            self.told = printed.getvalue()
        elif kind == "text":
            assert self.told is not None, f"{self.page}:{block.line}: output of nothing"
            compare(source, self.told, f"{self.page}:{block.line}")
            self.told = None
        else:
            assert kind in ("json", "toml", "none"), f"{self.page}:{block.line}: what is {kind!r}?"

    def named(self, block: Example) -> str | None:
        """The file that the text right before the block says to save it as."""
        paragraph = block.document.text[: block.start].rstrip().rpartition("\n\n")[2]
        found = SAVED.search(" ".join(paragraph.split()))
        return found[1] if found is not None else None

    def shell(self, source: str, line: int) -> str:
        """Standard output of the commands."""
        for one in replaced(source):
            source = source.replace(one.said, one.done)
        commands = plain_commands(source)
        if commands is not None:
            return self.in_process(commands, line)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", source],
            cwd=self.folder,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(self.site),
                "SITE": str(self.site),
                "COLUMNS": "100",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, (
            f"{self.page}:{line}: {done.returncode}\n{done.stderr}{done.stdout}"
        )
        return done.stdout

    def in_process(self, commands: list[list[str]], line: int) -> str:
        """The standard output of commands that run here, one after another."""
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.setenv("COLUMNS", "100")
            for command in commands:
                status = cli.run(command)
                assert status == 0, f"{self.page}:{line}: {status}\n{err.getvalue()}"
        return out.getvalue()


def plain_commands(source: str) -> list[list[str]] | None:
    """The arguments of each ``pats-opt`` command where there is nothing else in a block.

    Commands that start processes of their own or a model keep a process to themselves, and so does
    all that needs a shell.
    """
    if re.search(r"[|<>;&$`*?~()]", re.sub(r"'[^']*'|\"[^\"$`]*\"", "", source)):
        return None
    lines = [shlex.split(line, comments=True) for line in source.replace("\\\n", " ").split("\n")]
    commands = [words for words in lines if words]
    if any(words[0] != "pats-opt" or words[1] in APART for words in commands):
        return None
    return [words[1:] for words in commands]


def replaced(source: str) -> list[Instead]:
    """The entries of the list that a shell block meets."""
    return [one for one in INSTEAD if one.said in source]


def right(source: str, kind: str) -> None:
    """Read JSON or TOML, strictly where its format is one of ours."""
    document: Any = json.loads(source) if kind == "json" else tomllib.loads(source)
    if isinstance(document, dict) and document.get("format") in FORMATS:
        convert(document, FORMATS[document["format"]])


def compare(expected: str, told: str, place: str) -> None:
    """Hold what was printed to what the page says."""
    wanted = [line.rstrip() for line in expected.strip("\n").splitlines()]
    given = [line.rstrip() for line in told.strip("\n").splitlines()]
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*?") + r"\n"
        for line in wanted
    )
    if re.fullmatch(pattern, "".join(f"{line}\n" for line in given)) is None:
        # Equal lists would have matched; pytest shows where they differ.
        assert given == wanted, place


def unused() -> list[Instead]:
    """Entries of the list that no page needs any more."""
    shells = [
        b.region.lexemes["source"] for page in pages() for b in blocks(page) if language(b) == "sh"
    ]
    return [one for one in INSTEAD if not any(one.said in source for source in shells)]
