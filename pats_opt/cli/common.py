"""Options and output that several commands share."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click
import msgspec

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

#: A path as given; the readers say in one line what is wrong with it.
FILE = click.Path(path_type=str)


def json_option(command: F) -> F:
    """``--json``: one JSON object on standard output and nothing else."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object only.")(
        command
    )


def seed_option(command: F) -> F:
    """``--seed``: of every random choice."""
    return click.option(
        "--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed."
    )(command)


def jobs_option(command: F) -> F:
    """``--jobs``: threads or processes."""
    return click.option(
        "--jobs",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Processes (gap-report) or threads (solver cpsat).",
    )(command)


def finite(ctx: click.Context, option: click.Parameter, seconds: float | None) -> float | None:
    """Refuse ``nan`` and ``inf`` as a number of seconds."""
    if seconds is not None and not math.isfinite(seconds):
        raise click.BadParameter(f"{seconds} is no number of seconds", ctx, option)
    return seconds


def time_limit_option(command: F) -> F:
    """``--time-limit``: seconds."""
    return click.option(
        "--time-limit",
        type=click.FloatRange(0, min_open=True),
        metavar="S",
        callback=finite,
        help="Seconds; then the best found so far is returned.",
    )(command)


def param_option(command: F) -> F:
    """``--param key=value``: parameters of a solver or policy, as often as needed."""

    def parse(
        ctx: click.Context, option: click.Parameter, values: tuple[str, ...]
    ) -> dict[str, str]:
        found = {}
        for value in values:
            key, equals, text = value.partition("=")
            if not equals:
                raise click.BadParameter(f"{value!r}: write it as key=value", ctx, option)
            found[key] = text
        return found

    return click.option(
        "--param",
        "params",
        multiple=True,
        metavar="KEY=VALUE",
        callback=parse,
        help="A parameter of the solver or policy; may be repeated.",
    )(command)


def print_json(document: object) -> None:
    """One JSON object on standard output."""
    click.echo(msgspec.json.encode(document).decode())


@contextmanager
def progress(total: int, told: Callable[[T], str], *, quiet: bool) -> Iterator[Callable[[T], None]]:
    """A bar on a terminal's standard error; else nothing.

    Args:
        total: How many are to be done.
        told: What the bar says once one is done.
        quiet: Whether there is none on a terminal either.

    Yields:
        What to call with each that is done.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[last]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=total, last="")
        yield lambda done: bar.update(task, advance=1, last=told(done))
