"""Published optima against ours: writes ``result.csv`` and ``result.md`` beside this file.

    python experiments/published_optima/run.py FOLDER [--match TEXT] [--compare SOLVER ...]

FOLDER holds the published files, which are not part of this repository, and ``optima.json`` with
their optima: ``{"bin-packing": {name: bins}, "tsplib": {name: {"tour": length}}, "csplib058":
{name: cost}}``; each kind is in the folder of its name. Every tour there that has an optimum is
solved. Rows of earlier runs that this run does not make stay. One run at a time, one thread.
``auto`` solves every instance; for bin packing also whether one bin fewer and the published number
of bins do. ``--compare`` runs further solvers on :data:`COMPARED`. Every row has passed the
checker, and its objective is the exported one, in the source's own terms.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import click

import pats_opt
from pats_opt import exporters
from pats_opt.errors import InfeasibleError, InputError
from pats_opt.importers.bin_packing import bin_packing_instance, read_bin_packing
from pats_opt.importers.csplib058 import import_csplib058
from pats_opt.importers.tsplib import import_tsplib
from pats_opt.model.files import write_bytes
from pats_opt.model.problem import Problem
from pats_opt.spreadsheet import csv_text

HERE = Path(__file__).parent

#: Instances for the comparison of solvers: each kind, from small to large.
COMPARED = ("br17", "gr17", "ftv33", "pigment15a", "PM_u010_05", "PM_u020_05", "u120_00")


class Case(NamedTuple):
    """One thing to solve; ``expected`` is None where no schedule exists."""

    kind: str
    name: str
    question: str
    instance: pats_opt.Instance
    expected: float | None


class Row(NamedTuple):
    """One run: ``reached`` the published value, ``proven`` with a bound that meets it."""

    kind: str
    instance: str
    question: str
    requests: int
    published: str
    solver: str
    ours: str
    bound: str
    reached: str
    proven: str
    seconds: float


def cases(folder: Path) -> Iterator[Case]:
    """Everything there is to solve."""
    optima = json.loads((folder / "optima.json").read_text(encoding="utf-8"))
    for path in sorted((folder / "csplib058").iterdir()):
        best = optima["csplib058"][path.stem]
        yield Case("csplib058", path.stem, "least cost", import_csplib058(path), best)
    for path in sorted((folder / "tsplib").iterdir()):
        if path.stem in optima["tsplib"]:
            best = optima["tsplib"][path.stem]["tour"]
            yield Case("tsplib", path.stem, "shortest tour", import_tsplib(path), best)
    for path in sorted((folder / "bin-packing").iterdir()):
        for packing in read_bin_packing(path):
            best, name = optima["bin-packing"][packing.name], packing.name
            fewest = bin_packing_instance(packing)
            yield Case("bin-packing", name, "fewest bins", fewest, best)
            enough = bin_packing_instance(packing, bins=best)
            yield Case("bin-packing", name, f"do {best} bins", enough, best)
            too_few = bin_packing_instance(packing, bins=best - 1)
            yield Case("bin-packing", name, f"do {best - 1} bins", too_few, None)


def run(case: Case, solver: str, time_limit: float) -> Row:
    """Solve one case."""
    instance, expected = case.instance, case.expected
    ours = bound = "-"
    reached = proven = False
    began = time.monotonic()
    try:
        result = pats_opt.solve(instance, solver, time_limit=time_limit)
        if result.loss is not None:
            problem = Problem(instance)
            objective = exporters.export(case.kind, problem, result.schedule).document["objective"]
            ours = f"{objective:g}"
            if expected is None or objective < expected:
                raise SystemExit(f"{case.name}: {objective} is better than published {expected}")
            asked = case.question.startswith("do ")
            reached = objective == expected
            proven = reached and (asked or result.status.stop == "optimal")
        bound = "-" if result.bound is None else f"{result.bound:g}"
    except InfeasibleError:
        if expected is not None:
            raise SystemExit(f"{case.name}: infeasible, but published {expected}") from None
        ours, reached, proven = "infeasible", True, True
    except InputError as refusal:
        ours = f"refused: {refusal.problem}"
    return Row(
        case.kind,
        case.name,
        case.question,
        len(instance.requests),
        "infeasible" if expected is None else f"{expected:g}",
        solver,
        ours,
        bound,
        "yes" if reached else "no",
        "yes" if proven else "no",
        round(time.monotonic() - began, 2),
    )


def earlier(folder: Path) -> list[Row]:
    """Rows of earlier runs."""
    file = folder / "result.csv"
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as opened:
        return [
            Row(**{**row, "requests": int(row["requests"]), "seconds": float(row["seconds"])})
            for row in csv.DictReader(opened)
        ]


def merged(old: list[Row], new: Row) -> list[Row]:
    """Rows with a new one in place of the one for the same run, or after its kind's."""
    same = [(*row[:3], row.solver) == (*new[:3], new.solver) for row in old]
    if any(same):
        return [new if is_same else row for row, is_same in zip(old, same, strict=True)]
    kinds = [row.kind for row in old]
    after = len(old) - kinds[::-1].index(new.kind) if new.kind in kinds else len(old)
    return [*old[:after], new, *old[after:]]


def write(rows: list[Row], folder: Path, time_limit: float) -> None:
    """Both files, whole."""
    write_bytes(folder / "result.csv", csv_text(Row._fields, rows).encode())
    write_bytes(folder / "result.md", page(rows, time_limit).encode())


def page(rows: list[Row], time_limit: float) -> str:
    """The tables as text."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("pats-opt", "ortools", "numpy"))
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    lines = [
        "# Published optima and ours",
        "",
        "Written by `python experiments/published_optima/run.py`; nothing here is typed.",
        "Instances: BPPLib (PM_u*), OR-Library (u120_*), TSPLIB, CSPLib 058; encodings in",
        f"`docs/published-optima.md`. At most {time_limit:g} s per run, one thread; seconds are of",
        "the wall clock, warm start and check included, on a machine that did other work as well.",
        "Rows may be of several runs of the script.",
        "",
        f"{machine}; {packages}.",
        "",
        "## `auto` on every instance",
        "",
    ]
    ours = [row for row in rows if row.solver == "auto"]
    questions: dict[tuple[str, str], list[Row]] = {}
    for row in ours:
        question = row.question if row.kind != "bin-packing" else _question(row)
        questions.setdefault((row.kind, question), []).append(row)
    lines += [
        "| kind | question | instances | reached | proven | slowest, s |",
        "|---|---|---|---|---|---|",
    ]
    for (kind, question), group in questions.items():
        counts = [sum(getattr(r, key) == "yes" for r in group) for key in ("reached", "proven")]
        slowest = max(r.seconds for r in group)
        lines.append(
            f"| {kind} | {question} | {len(group)} | {counts[0]} | {counts[1]} | {slowest:.1f} |"
        )
    lines += ["", *table(ours)]
    others = [row for row in rows if row.solver != "auto"]
    if others:
        lines += ["", "## Other solvers on some of them", "", *table(others)]
    return "\n".join(lines) + "\n"


def _question(row: Row) -> str:
    """A packing's question without its number of bins."""
    if row.question == "fewest bins":
        return row.question
    return (
        "the published number does" if row.published != "infeasible" else "one bin fewer does not"
    )


def table(rows: list[Row]) -> list[str]:
    """Rows as a table."""
    names = [name for name in Row._fields if name != "kind"]
    cells = ([str(getattr(row, name)) for name in names] for row in rows)
    return [f"| {' | '.join(line)} |" for line in (names, ["---"] * len(names), *cells)]


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--time-limit", type=float, default=60.0, show_default=True, help="Seconds per run.")
@click.option("--compare", "others", multiple=True, help="Further solvers on some instances.")
@click.option("--match", default="", help="Only instances whose kind/name holds this.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=HERE, help="Folder.")
def main(
    folder: Path, time_limit: float, others: tuple[str, ...], match: str, output: Path
) -> None:
    """Solve the published instances in FOLDER."""
    rows = earlier(output)
    for case in cases(folder):
        if match not in f"{case.kind}/{case.name}":
            continue
        asked = case.question.startswith("do ")
        compared = others if case.name in COMPARED and not asked else ()
        for solver in ("auto", *compared):
            row = run(case, solver, time_limit)
            rows = merged(rows, row)
            print(*row, file=sys.stderr)
            write(rows, output, time_limit)


if __name__ == "__main__":
    main()
