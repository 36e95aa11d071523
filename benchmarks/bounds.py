"""Bounds and schedules of solvers on the same instances, with one thread each.

    python -m benchmarks.bounds [compare|regimes|parts|growth ...] [--limit-scale X] [-o FOLDER]

``compare`` has monolithic models against the Lagrangian bound and the exact search, ``regimes`` the
suites of hard regimes, with PyJobShop and the best online policy, ``parts`` the portfolio ``auto``
against its parts alone under short limits, and ``growth`` what makes ``exact`` slow. Each run is a
process of its own, whose memory peak (its children included) is measured. Every finished run is
kept in the jobs folder, so that an interrupted benchmark goes on where it was. Writes
``bounds.csv``, in which runs that are not done now keep their rows, and ``bounds.md``. PyJobShop
needs the extra ``benchmark``.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from benchmarks.bounds_page import page
from benchmarks.rivals import perform_any, register
from pats_opt.generate import Recipe, generate
from pats_opt.generate.suites import recipes, suite
from pats_opt.model.files import read_bytes, write_bytes, write_instance
from pats_opt.model.loss import gap
from pats_opt.report.config import instance_info, solver_info
from pats_opt.runs.engine import RunEngine, open_pool
from pats_opt.runs.instances import InstanceFile
from pats_opt.runs.record import Record, RunConfig, Task
from pats_opt.runs.task import perform_missing
from pats_opt.spreadsheet import csv_text

#: Seconds at which gaps are looked up.
MARKS = (10, 60, 300)

#: Seconds that a run may take for its set-up and its end besides its limit.
GRACE_S = 300.0

PRICED = ("lagrangian", "exact")
MONOLITHIC = ("milp:backend=highs", "milp:backend=scip", "milp:backend=cbc", "cpsat")

#: Suites of hard regimes.
REGIMES = (
    "different", "heavy", "caches", "heavy-cache", "pairs", "fleet", "fleet-different", "fine",
    "scale",
)  # fmt: skip

#: Solvers in a regime, and where there are more than :data:`MANY` requests.
SOLVERS = ("auto", "exact", "lagrangian", "local-search", "milp", "cpsat", "pyjobshop")
BASELINE = "best-online"
MANY = 200

#: The portfolio and its parts, and the seconds that they are compared under.
PARTS = ("auto", "lagrangian", "local-search")
SHORT_S = (5.0, 20.0)

#: Limit of a monolithic model where it is hopeless anyway.
HOPELESS_S = 30.0

DOCUMENTS: dict[str, Any] = {"arrivals": {"load": 1.2}}
A100: dict[str, Any] = {
    "arrivals": {"load": 1.2},
    "service": {"profile": "a100-40g", "tick_s": 0.6},
    "terms": {"latency_price_per_s": 0.01},
}


class Case(NamedTuple):
    """An instance of a table, and how long each solver has for it."""

    table: str
    name: str
    seed: int
    recipe: Recipe
    limits: dict[str, float]


def compare() -> Iterator[Case]:
    """Every exact solver and backend on every class, side by side."""
    for requests, adapters in ((20, 3), (40, 4), (80, 5), (160, 6)):
        slow = 300.0 if requests <= 40 else HOPELESS_S
        limits = dict.fromkeys(PRICED, 300.0) | dict.fromkeys(MONOLITHIC, slow)
        for profile, recipe in (("documents", DOCUMENTS), ("a100", A100)):
            name = f"{profile}-{requests}x{adapters}"
            yield Case("compare", name, 0, sized(recipe, requests, adapters), limits)


def regimes() -> Iterator[Case]:
    """The suites of hard regimes; of large instances only what can take them."""
    for name in REGIMES:
        seconds = {group.name: group.time_limit for group in suite(name).classes}
        for group, seed, recipe in recipes(name):
            solvers = SOLVERS if recipe.requests <= MANY else PARTS
            limits = dict.fromkeys((*solvers, BASELINE), seconds[group])
            yield Case("regimes", group, seed, recipe, limits)


def parts() -> Iterator[Case]:
    """The portfolio and its parts on one instance of each hard regime, under short limits."""
    for name in REGIMES:
        for group, seed, recipe in recipes(name):
            if seed == 0 and recipe.requests <= MANY:
                for seconds in SHORT_S:
                    yield Case(
                        "parts",
                        f"{group}, {seconds:g} s",
                        seed,
                        recipe,
                        dict.fromkeys(PARTS, seconds),
                    )


def growth() -> Iterator[Case]:
    """Time, gap and memory by one thing at a time."""
    for name, recipe in _grown():
        yield Case("growth", name, 0, recipe, {"exact": 60.0})
    fleet = sized(DOCUMENTS, 10_000, 50, gpus={"count": 4}, arrivals={"load": 1.0})
    yield Case("growth", "fleet: documents 10000x50 on 4", 0, fleet, {"lagrangian": 900.0})


def _grown() -> Iterator[tuple[str, Recipe]]:
    for profile, recipe in (("documents", DOCUMENTS), ("a100", A100)):
        for requests, adapters in ((20, 3), (40, 4), (80, 5), (160, 6), (320, 10), (1000, 20)):
            name = f"requests: {profile} {requests}x{adapters}"
            yield name, sized(recipe, requests, adapters)
    for adapters in (2, 5, 10, 20):
        yield f"adapters: documents 80x{adapters}", sized(DOCUMENTS, 80, adapters)
    for tick_s in (1.2, 0.6, 0.3, 0.12, 0.06):
        recipe = sized(DOCUMENTS, 40, 4, service={"tick_s": tick_s})
        yield f"ticks: documents 40x4, {tick_s} s", recipe
    for requests, adapters in ((20, 3), (40, 4), (80, 5), (160, 6), (320, 10), (1000, 20)):
        recipe = sized(A100, requests, adapters, service={"profile": "a100-40g", "tick_s": 0.05})
        yield f"ticks: a100 {requests}x{adapters}, 0.05 s", recipe
    for gpus in (1, 2, 4):
        recipe = sized(DOCUMENTS, 40 * gpus, 6, gpus={"count": gpus})
        yield f"GPUs: documents {40 * gpus}x6 on {gpus}", recipe
    for places in (1, 2, 4, 8):
        recipe = sized(DOCUMENTS, 60, 10, switching={"max_resident": places})
        yield f"cache: documents 60x10, {places} resident", recipe
    for load in (0.5, 1.0, 1.5, 2.0, 3.0):
        recipe = sized(DOCUMENTS, 80, 5, arrivals={"load": load})
        yield f"load: documents 80x5, load {load}", recipe
    for kinds in (1, 2, 4, 8, 16):
        levels = [(i + 0.5) / kinds for i in range(kinds)]
        recipe = sized(DOCUMENTS, 80, 5, complexity={"levels": {"values": levels}})
        yield f"different: documents 80x5, {kinds} kinds of prompts", recipe
    spread = {"levels": {"values": [0.5]}, "spread": 0.5}
    yield "different: documents 80x5, all", sized(DOCUMENTS, 80, 5, complexity=spread)


def sized(below: dict[str, Any], requests: int, adapters: int, **others: Any) -> Recipe:
    """The recipe for so many requests and adapters, with other tables replaced."""
    size = {"requests": requests, "popularity": {"adapters": adapters}}
    return msgspec.convert(below | size | others, Recipe)


TABLES = {"compare": compare, "regimes": regimes, "parts": parts, "growth": growth}


def row_of(case: Case, record: Record) -> dict[str, Any]:
    """The row of a finished run."""
    refused = record.error is not None and record.error.type in {"CapabilityError", "InputError"}
    ended = record.end if record.status is None else record.status.stop
    return {
        "table": case.table,
        "name": case.name,
        "seed": case.seed,
        "solver": record.config.solver.spec,
        "limit": record.config.time_limit,
        "loss": record.loss,
        "bound": record.bound,
        "gap": gap(record.loss, record.bound),
        "stop": "refused" if refused else ended.value,
        "seconds": record.seconds,
        **{f"gap_{mark}": _gap_at(record, mark) for mark in MARKS},
        "peak_gib": record.peak_gib,
    }


def _gap_at(record: Record, mark: float) -> float | None:
    """The gap known by ``mark`` seconds; None where there was no bound or no schedule."""
    known = [point for point in record.trace if point.seconds <= mark]
    return gap(known[-1].loss, known[-1].bound) if known else None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of an earlier ``bounds.csv``; none where there is no file."""
    if not path.exists():
        return []
    words = ("table", "name", "solver", "stop")
    return [
        {key: text if key in words else float(text) if text else None for key, text in row.items()}
        | {"seed": int(row["seed"])}
        for row in csv.DictReader(read_bytes(path).decode().splitlines())
    ]


def main() -> None:
    """Run what is missing and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], default=list(TABLES))
    parser.add_argument("--limit-scale", type=float, default=1.0, help="factor of every time limit")
    parser.add_argument("--solver", action="append", help="run this solver only; repeatable")
    parser.add_argument("--only", default="", help="run instances only whose name begins so")
    parser.add_argument("--seed", type=int, help="run instances of this seed only")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    here = Path(__file__).parent
    parser.add_argument("--jobs-dir", type=Path, default=here / "out" / "bounds")
    parser.add_argument("-o", "--output", type=Path, default=here / "results")
    options = parser.parse_args()
    register()
    rows = {_key(row): row for row in read_rows(options.output / "bounds.csv")}
    found: dict[str, tuple[Case, Task]] = {}
    order = []
    for case in (case for table in TABLES.values() for case in table()):
        order += [(case.table, case.name, case.seed, solver) for solver in case.limits]
        if case.table not in options.tables or not case.name.startswith(options.only):
            continue
        if options.seed not in (None, case.seed):
            continue
        solvers = [s for s in case.limits if s in (options.solver or case.limits)]
        for task in _tasks(case, solvers, options.limit_scale, options.jobs_dir):
            found[task.config.key] = case, task

    def keep(record: Record) -> None:
        case, _ = found[record.config.key]
        row = row_of(case, record)
        rows[_key(row)] = row
        print(*(row[key] for key in ("name", "seed", "solver", "stop", "gap")), file=sys.stderr)

    try:
        with open_pool(RunEngine.PROCESS, options.jobs, fresh=True) as pool:
            perform_missing([t for _, t in found.values()], pool, GRACE_S, keep, perform_any)
    finally:
        kept = [rows[key] for key in order if key in rows]
        options.output.mkdir(parents=True, exist_ok=True)
        table = csv_text(tuple(kept[0]), [tuple(row.values()) for row in kept])
        write_bytes(options.output / "bounds.csv", table.encode())
        write_bytes(options.output / "bounds.md", page(kept, MARKS, options.jobs).encode())


def _key(row: dict[str, Any]) -> tuple[str, str, int, str]:
    return row["table"], row["name"], row["seed"], row["solver"]


def _tasks(case: Case, solvers: list[str], scale: float, folder: Path) -> Iterator[Task]:
    """The runs of an instance, whose file is written."""
    instance = generate(case.recipe, case.seed, class_name=case.name)
    file = folder / "instances" / f"{instance.sha256[:12]}.json"
    write_instance(instance, file)
    info = instance_info(InstanceFile(instance, file, case.name), folder)
    for spec in solvers:
        config = RunConfig(
            instance=info, solver=solver_info(spec), time_limit=case.limits[spec] * scale, seed=0
        )
        yield Task(config=config, instance=str(file), folder=str(folder))


if __name__ == "__main__":
    main()
