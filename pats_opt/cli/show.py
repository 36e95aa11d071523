"""``pats-opt show``: a schedule as a picture, or two side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pats_opt.cli import common

if TYPE_CHECKING:
    from pats_opt.model.checker import Verdict


@click.command("show")
@click.argument("schedules", metavar="SCHEDULE [SCHEDULE]", nargs=-1, type=common.INPUT_FILE)
@click.option(
    "--instance", required=True, type=common.INPUT_FILE, help="Instance of the schedules."
)
@click.option("-o", "--output", type=common.FILE, help="Page or picture: .html, .svg or .png.")
@click.option("--png", type=common.FILE, metavar="FILE", help="PNG picture to write.")
@click.option("--svg", type=common.FILE, metavar="FILE", help="SVG picture to write.")
def command(
    schedules: tuple[str, ...],
    instance: str,
    output: str | None,
    png: str | None,
    svg: str | None,
) -> None:
    """Draw SCHEDULE: one lane per GPU, its memory, the queue, and prices of GPU time.

    A page (.html) can be zoomed, explains what you point at, and needs no network. Two schedules of
    one instance are drawn side by side, with their differences. Without a file name, the page is
    written to the current folder under the name of the first schedule.

    Each schedule is checked first. One that breaks rules is drawn as far as possible. Its page
    lists the violations, and a warning is printed on standard error.
    """
    from pats_opt.errors import in_file
    from pats_opt.model.files import read_instance, read_schedule, refuse_unwritable
    from pats_opt.model.problem import Problem
    from pats_opt.views.html import suffix_of, write
    from pats_opt.views.view import ScheduleView

    if not 1 <= len(schedules) <= 2:
        raise click.UsageError(f"name one schedule, or two to compare, not {len(schedules)}")
    files = list(_files(output, png, svg))
    if not files:
        files = [f"{Path(schedules[0]).stem}.html"]
    for file in files:
        suffix_of(file)
        refuse_unwritable(file)
    problem = Problem(read_instance(instance))
    views = []
    for schedule in schedules:
        with in_file(schedule):
            views.append(ScheduleView.of(problem, read_schedule(schedule)))
        _warn(schedule, views[-1].verdict)
    for file in files:
        write(views, file)
    if output is None and png is None and svg is None:
        click.echo(files[0])


def _files(output: str | None, png: str | None, svg: str | None) -> Iterator[str]:
    """The files that are asked for; ``--png`` and ``--svg`` take names that say the same."""
    if output is not None:
        yield output
    for file, suffix in ((png, ".png"), (svg, ".svg")):
        if file is None:
            continue
        if Path(file).suffix.lower() != suffix:
            raise click.UsageError(f"--{suffix[1:]} writes {suffix} files, not {file!r}")
        yield file


def _warn(schedule: str, verdict: Verdict) -> None:
    """Say on standard error that a schedule is not valid."""
    from pats_opt.errors import one_line

    if not verdict.ok:
        warning = f"pats-opt: warning: {schedule}: not valid, {verdict.first()}"
        click.echo(one_line(warning), err=True)
