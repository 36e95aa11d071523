"""Reading the prompts of the quality measurement."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pats_opt.errors import InputError
from pats_opt.generate.quality import COMPLEXITY_COLUMNS, LEVELS
from pats_opt.importers.complexity import Estimator, estimate
from pats_opt.model.files import read_bytes
from pats_opt.profiling.plan import Prompt

#: Column names read as the prompt, in order of preference.
PROMPT_COLUMNS = ("prompt", "prompt_text", "caption", "text")

_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def read_prompts(path: str, estimator: Estimator = estimate) -> tuple[Prompt, ...]:
    """Prompts of a text file (one a line), a CSV or TSV file, or a file of JSON lines.

    Args:
        path: The file; its ending says which kind it is.
        estimator: Gives the complexity where the file does not.

    Raises:
        InputError: naming the file, the line and the hint.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("this is not UTF-8 text", file=path, hint="save it as UTF-8") from None
    ending = Path(path).suffix.lower()
    if ending in _SEPARATORS:
        rows = _table(text, _SEPARATORS[ending], path)
    elif ending in (".jsonl", ".ndjson"):
        rows = _json_lines(text, path)
    else:
        rows = ((i, {"prompt": line}) for i, line in enumerate(text.splitlines(), 1))
    found = []
    for line, row in rows:
        known = {str(key).strip().lower(): value for key, value in row.items()}
        prompt = next((known[name] for name in PROMPT_COLUMNS if name in known), None)
        if not isinstance(prompt, str):
            raise InputError(
                "there is no prompt",
                file=path,
                place=f"line {line}",
                hint=f"name the column one of {', '.join(PROMPT_COLUMNS)}",
            )
        if prompt.strip():
            found.append(Prompt(prompt.strip(), _complexity(known, prompt, estimator, path, line)))
    if not found:
        raise InputError("this file has no prompts", file=path, hint="add some")
    return tuple(found)


def _table(text: str, separator: str, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = csv.DictReader(io.StringIO(text), delimiter=separator)
    try:
        for row in rows:
            yield rows.line_num, {key: value for key, value in row.items() if key is not None}
    except csv.Error as error:
        raise InputError(
            f"this is no table ({error})",
            file=path,
            place=f"line {rows.line_num}",
            hint="correct it there",
        ) from None


def _json_lines(text: str, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for i, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                raise InputError(
                    "this is no JSON object",
                    file=path,
                    place=f"line {i}",
                    hint='write each line as {"prompt": "..."}',
                )
            yield i, row


def _complexity(
    row: dict[str, Any], prompt: str, estimator: Estimator, path: str, line: int
) -> float:
    given = next(
        (row[name] for name in COMPLEXITY_COLUMNS if row.get(name) not in (None, "")), None
    )
    if given is None:
        return estimator(prompt)
    word = str(given).strip().lower()
    try:
        value = LEVELS[word] if word in LEVELS else float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InputError(
            f"{given!r} is no complexity",
            file=path,
            place=f"line {line}",
            hint=f"write 0 to 1, or one of {', '.join(LEVELS)}",
        )
    return value
