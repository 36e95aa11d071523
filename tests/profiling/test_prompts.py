"""Reading prompts for the quality measurement."""

from __future__ import annotations

from pathlib import Path

import pytest

from pats_opt.errors import InputError
from pats_opt.importers.complexity import estimate
from pats_opt.profiling.plan import read_prompts
from pats_opt.spreadsheet import csv_text


def read(folder: Path, name: str, text: str) -> list[tuple[str, float]]:
    path = folder / name
    path.write_bytes(text.encode())
    return [(p.text, p.complexity) for p in read_prompts(str(path))]


def test_one_prompt_a_line(tmp_path: Path) -> None:
    """Empty lines are passed over; complexity is estimated from the text."""
    found = read(tmp_path, "p.txt", "\ufeffa cat\n\n  a red, red apple \r\n")
    assert found == [
        ("a cat", estimate("a cat")),
        ("a red, red apple", estimate("a red, red apple")),
    ]


def test_prompts_marked_for_spreadsheets(tmp_path: Path) -> None:
    """A prompt from a table of ours, where an apostrophe keeps it from being a formula."""
    table = csv_text(["prompt_text"], [["-1+1 = a cat"], ["'a' cat"]])
    assert [text for text, _ in read(tmp_path, "p.csv", table)] == ["-1+1 = a cat", "'a' cat"]
    assert "'-1+1" in table


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", 'Prompt,complexity\n"a cat, asleep",0.25\nx,complex\ny,\n'),
        ("p.tsv", "prompt_text\tprompt_type\na cat, asleep\t0.25\nx\tComplex\ny\t\n"),
        (
            "p.jsonl",
            '{"prompt": "a cat, asleep", "complexity": 0.25}\n\n{"prompt": "x", '
            '"complexity": "complex"}\n{"prompt": "y"}\n',
        ),
    ],
)
def test_tables_and_json_lines(tmp_path: Path, name: str, text: str) -> None:
    assert read(tmp_path, name, text) == [("a cat, asleep", 0.25), ("x", 1.0), ("y", estimate("y"))]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("p.txt", "\n\n", "no prompts"),
        ("p.csv", "a,b\n1,2\n", "line 2: there is no prompt"),
        ("p.csv", "prompt,complexity\nx,1.5\n", "line 2: '1.5' is no complexity"),
        ("p.csv", "prompt,complexity\nx,hard\n", "'hard' is no complexity"),
        ("p.jsonl", '{"prompt": "x"}\n[1]\n', "line 2: this is no JSON object"),
        ("p.jsonl", '{"prompt": 3}\n', "there is no prompt"),
    ],
)
def test_errors_name_the_problem(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read(tmp_path, name, text)


def test_text_must_be_utf8(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match="UTF-8"):
        read_prompts(str(tmp_path / "p.txt"))
