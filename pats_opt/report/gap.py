"""The report from start to end: prepare a folder, run what is missing, write the pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.model.files import write_instance
from pats_opt.model.instance import Instance
from pats_opt.report.collect import Table, collect
from pats_opt.report.config import ReportConfig, save_config, tasks
from pats_opt.report.pages import write_pages
from pats_opt.report.pictures import Watch, draw_pictures, unwatched
from pats_opt.runs.engine import RunEngine, open_pool
from pats_opt.runs.folder import RunFolder
from pats_opt.runs.record import Record, Task, cores, read_record
from pats_opt.runs.task import perform_missing
from pats_opt.views.notebook import piece
from pats_opt.wording import counted, number, percent


class Report(Struct, frozen=True, kw_only=True):
    """A written report.

    Attributes:
        folder: The report's folder.
        table: The table of its runs.
        sentences: The summary.
        missing: Number of runs not done because of an interrupt.
        interrupted: Whether runs or pictures are missing because of one.
        undrawn: An error for each schedule without a picture, one line each.
    """

    folder: Path
    table: Table
    sentences: tuple[str, ...]
    missing: int
    interrupted: bool = False
    undrawn: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        groups = {total.group for total in self.table.totals}
        group = "" if "" in groups else next(iter(groups), "")
        totals = [total for total in self.table.totals if total.group == group]
        return piece(
            chips=[("bad", f"{self.missing} not run")] if self.missing else [],
            heading=f"Gap report over {counted(self.table.own['case'].n_unique(), 'instance')}",
            notes=self.sentences,
            head=["solver", "runs", "proven", "mean gap", "mean seconds"] if totals else [],
            rows=[
                [
                    total.solver.spec,
                    str(total.runs),
                    str(total.proven),
                    percent(total.gap),
                    number(total.time_s, 3),
                ]
                for total in totals
            ],
            foot=f"The whole report: {self.folder / 'report.html'}",
        )


def prepare(
    config: ReportConfig,
    folder: Path,
    *,
    resume: bool = False,
    made: Mapping[Path, Instance] | None = None,
) -> list[Task]:
    """Check the configuration before the first run, and make the folder.

    Args:
        config: The configuration.
        folder: The report's folder; new or empty unless it is resumed.
        resume: Whether to keep finished runs.
        made: Instances of the configuration that are written first, by their files.

    Raises:
        InputError: A solver, an instance or a suite is wrong, or the folder is in use.
    """
    home = RunFolder(folder, "report")
    if not resume:
        home.refuse_used()
    for path, instance in (made or {}).items():
        write_instance(instance, path)
    found = tasks(config, folder)
    if not found:
        raise InputError("there is nothing to run", hint="name instances, or a suite with --suite")
    with home.locked():
        save_config(config, folder)
    return found


def gap_report(
    config: ReportConfig,
    folder: Path,
    to_do: Sequence[Task],
    *,
    jobs: int | None = 1,
    engine: RunEngine = RunEngine.PROCESS,
    done: Callable[[Record], None] = lambda _: None,
    watch: Watch = unwatched,
) -> Report:
    """Do the runs without a record, draw the schedules, and write the pages.

    Args:
        config: The configuration.
        folder: The prepared folder.
        to_do: The runs that :func:`prepare` found.
        jobs: Runs at a time, None for all cores.
        engine: Where runs are done; schedules are drawn on this machine.
        done: Called with each record, the old ones first.
        watch: Watches the drawing.

    Ctrl-C ends the runs in progress, or the drawing; the report is then of what is finished.
    """
    found: dict[str, Record] = {}
    undrawn: list[str] = []
    interrupted = False

    def keep(record: Record) -> None:
        found[record.config.key] = record
        done(record)

    with RunFolder(folder, "report").locked():
        try:
            with open_pool(engine, jobs) as pool:
                perform_missing(to_do, pool, config.grace_s, keep)
        except KeyboardInterrupt:
            for task in to_do:  # a run may have left its record just now
                if task.config.key not in found and (record := read_record(folder, task.config)):
                    keep(record)
            interrupted = len(found) < len(to_do)
        records = [found[t.config.key] for t in to_do if t.config.key in found]
        if config.pictures and len(records) == len(to_do):
            try:
                undrawn = draw_pictures(folder, records, jobs=jobs or cores(), watch=watch)
            except KeyboardInterrupt:
                interrupted = True
        table = collect(to_do, records)
        sentences = write_pages(table, config, folder)
    return Report(
        folder=folder,
        table=table,
        sentences=tuple(sentences),
        missing=len(to_do) - len(records),
        interrupted=interrupted,
        undrawn=tuple(undrawn),
    )
