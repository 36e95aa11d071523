"""The pictures of a report's schedules: one page each, below ``FOLDER/pictures``.

They are the pages of ``pats-opt show``, with the script that all of them need once beside them. A
page that is there and no older than its schedule is kept, so that drawing goes on where it was
interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

from pats_opt.errors import one_line
from pats_opt.runs.pool import WorkerError, WorkerPool, completed
from pats_opt.runs.record import Record

#: Called with the number of pictures to draw; its context is called with the name of each.
Watch = Callable[[int], AbstractContextManager[Callable[[str], None]]]

#: With fewer pictures for each process, starting processes takes longer than drawing.
FEW = 4


class PictureTask(NamedTuple):
    """A picture to draw: its schedule and its instance, and the page to write."""

    schedule: Path
    instance: Path
    page: Path


def links(folder: Path) -> dict[str, str]:
    """The current pictures, relative to the report's folder, by the key of their run."""
    return {
        page.stem: f"pictures/{page.name}"
        for page in (folder / "pictures").glob("*.html")
        if _current(page, folder / "schedules" / f"{page.stem}.json")
    }


def unwatched(_: int) -> AbstractContextManager[Callable[[str], None]]:
    """A :data:`Watch` that does nothing."""
    return nullcontext(lambda _: None)


def draw_pictures(
    folder: Path, records: Iterable[Record], *, jobs: int = 1, watch: Watch = unwatched
) -> list[str]:
    """Draw the schedules of runs without a current picture, in ``jobs`` processes at a time.

    Returns:
        A line for each picture that could not be drawn.

    Raises:
        KeyboardInterrupt: After the processes have ended; finished pictures stay.
    """
    from pats_opt.views.page import script_name, write_assets

    to_do = list(_to_draw(folder, records))
    if not to_do:
        return []
    home = folder / "pictures"
    home.mkdir(exist_ok=True)
    if not (home / script_name()).is_file():
        write_assets(home)
    with watch(len(to_do)) as done:
        return [problem for problem in _drawn(to_do, jobs, done) if problem]


def _to_draw(folder: Path, records: Iterable[Record]) -> Iterator[PictureTask]:
    """The pictures that are missing or older than their schedules."""
    for record in records:
        if record.schedule is None:
            continue
        page = folder / "pictures" / f"{record.config.key}.html"
        schedule = folder / record.schedule
        if not _current(page, schedule):
            yield PictureTask(schedule, folder / record.config.instance.file, page)


def _current(page: Path, schedule: Path) -> bool:
    try:
        return page.stat().st_mtime_ns >= schedule.stat().st_mtime_ns
    except OSError:
        return False


def _drawn(to_do: Sequence[PictureTask], jobs: int, done: Callable[[str], None]) -> Iterator[str]:
    """Draw the pictures; each gives its error, or an empty line, when it is done."""
    processes = min(jobs, len(to_do) // FEW)
    if processes < 2:
        for task in to_do:
            yield draw(task)
            done(task.page.stem)
        return
    with WorkerPool(processes) as pool:
        futures = {pool.submit(draw, task): task for task in to_do}
        for future in completed(futures):
            task = futures[future]
            try:
                yield future.result()
            except WorkerError as error:
                yield _problem(task, error)
            done(task.page.stem)


def draw(task: PictureTask) -> str:
    """Draw one picture; returns its error in one line, or an empty one."""
    from pats_opt.model.files import read_instance, read_schedule
    from pats_opt.views.html import show

    try:
        instance, schedule = read_instance(task.instance), read_schedule(task.schedule)
        show(instance, schedule, task.page, assets=".")
    except Exception as error:  # a picture is an extra: the report goes on without it
        return _problem(task, error)
    return ""


def _problem(task: PictureTask, error: BaseException) -> str:
    return one_line(f"no picture of {task.schedule.name}: {error or type(error).__name__}")
