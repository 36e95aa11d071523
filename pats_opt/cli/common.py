"""Options and output that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from pats_opt.cli import completing

F = TypeVar("F", bound=Callable[..., Any])


class FilePath(click.Path):
    """A path as given; the readers say in one line what is wrong with it."""

    def __init__(self) -> None:
        super().__init__(path_type=str)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Files with the suffix that the parameter takes, and folders."""
        suffixes = completing.SUFFIXES.get(param.name or "")
        if suffixes is None or incomplete.startswith("~"):
            return super().shell_complete(ctx, param, incomplete)  # all files, as the shell does
        return completing.paths(incomplete, suffixes)


FILE = FilePath()


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
        shell_complete=completing.params,
        help="A parameter of the solver or policy; may be repeated.",
    )(command)


def print_json(document: object) -> None:
    """One JSON object on standard output."""
    import msgspec

    click.echo(msgspec.json.encode(document).decode())
