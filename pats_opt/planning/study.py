"""A plan from start to end: check, simulate what the search asks for, bound, write the page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from pats_opt.model.files import encode, write_bytes
from pats_opt.planning import config as configs
from pats_opt.planning.config import PlanConfig
from pats_opt.planning.grid import PlanGrid, make_grid
from pats_opt.planning.pages import cells_csv, page
from pats_opt.planning.result import PlanResult, reference, result_of, score
from pats_opt.planning.search import PlanCell, next_cells
from pats_opt.runs.engine import RunEngine, open_pool
from pats_opt.runs.folder import RunFolder
from pats_opt.runs.pool import RunPool
from pats_opt.runs.record import Record, Task, read_record
from pats_opt.runs.task import perform_missing

#: Seconds past a time limit after which a run is killed.
GRACE_S = 60.0


def prepare(config: PlanConfig, folder: Path, *, resume: bool = False) -> PlanGrid:
    """Check everything before the first run, and make the folder.

    Args:
        config: The options.
        folder: Folder of the plan; new or empty unless it is resumed.
        resume: Whether to keep finished runs.

    Raises:
        InputError: The load, an axis or the folder is wrong.
    """
    home = RunFolder(folder, "plan")
    if not resume:
        home.refuse_used()
    elif (folder / configs.CONFIG).is_file():
        home.refuse_other(configs.identity(configs.saved(folder)), configs.identity(config))
    with home.removed_if_unused(), home.locked():
        grid = make_grid(config, folder)
        configs.save(config, folder)
    return grid


def plan(
    grid: PlanGrid,
    *,
    jobs: int | None = 1,
    engine: RunEngine = RunEngine.PROCESS,
    done: Callable[[Record], None] = lambda _: None,
) -> PlanResult:
    """Simulate what the search asks for, bound the short windows, and write the files.

    Ctrl-C ends the runs in progress; the result is then of what is finished.

    Args:
        grid: From :func:`prepare`.
        jobs: Runs at a time, None for all cores; their number changes no result.
        engine: Where runs are done.
        done: Called with each record, old ones too.
    """
    records: dict[PlanCell, Record] = {}
    bounds: list[list[Record]] = []
    missing = 0
    with RunFolder(grid.folder, "plan").locked():
        try:
            with open_pool(engine, jobs) as pool:
                _search(grid, records, pool, done)
                bounds = _bounds(grid, records, pool, done)
        except KeyboardInterrupt:
            _read(grid, records)
            missing = max(1, len(_next(grid, records)))
        result = result_of(grid, records, bounds, missing=missing)
        folder = grid.folder
        write_bytes(folder / configs.RESULT, encode(result))
        write_bytes(folder / configs.TABLE, cells_csv(result).encode())
        write_bytes(folder / configs.PAGE, page(grid, result).encode())
    return result


def _next(grid: PlanGrid, records: dict[PlanCell, Record]) -> list[PlanCell]:
    config = grid.config
    scores = {cell: score(record) for cell, record in records.items()}
    return next_cells(grid.lines, grid.gpus, scores, config.objective, every=config.every_cell)


def _search(
    grid: PlanGrid,
    records: dict[PlanCell, Record],
    pool: RunPool,
    done: Callable[[Record], None],
) -> None:
    while cells := _next(grid, records):
        tasks: dict[str, Task] = {}
        same: dict[str, list[PlanCell]] = defaultdict(list)  # tiers may load equally fast
        for cell in cells:
            task = grid.task(*cell)
            tasks[task.config.key] = task
            same[task.config.key].append(cell)

        def keep(record: Record, same: dict[str, list[PlanCell]] = same) -> None:
            records.update(dict.fromkeys(same[record.config.key], record))
            done(record)

        perform_missing(list(tasks.values()), pool, GRACE_S, keep)


def _bounds(
    grid: PlanGrid,
    records: dict[PlanCell, Record],
    pool: RunPool,
    done: Callable[[Record], None],
) -> list[list[Record]]:
    """Run the bounds and the policies on the short windows of the reference."""
    cell = reference(grid, {cell: score(record) for cell, record in records.items()})
    if cell is None:
        return []
    windows = grid.bound_tasks(*cell)
    found: dict[str, Record] = {}

    def keep(record: Record) -> None:
        found[record.config.key] = record
        done(record)

    perform_missing([task for window in windows for task in window], pool, GRACE_S, keep)
    return [_in_order(window, found) for window in windows]


def _in_order(window: Sequence[Task], found: dict[str, Record]) -> list[Record]:
    return [found[task.config.key] for task in window]


def _read(grid: PlanGrid, records: dict[PlanCell, Record]) -> None:
    """Add the records of all cells that have one, which a run may have left just now."""
    for line in grid.lines:
        for gpus in grid.gpus:
            cell, task = PlanCell(line, gpus), grid.task(line, gpus)
            if cell not in records and (record := read_record(grid.folder, task.config)):
                records[cell] = record
