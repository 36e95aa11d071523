"""Options, argument types and output that several commands share."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem
from typing_extensions import override

from pats_opt.cli import completing

if TYPE_CHECKING:
    from pats_opt.model.instance import Instance

F = TypeVar("F", bound=Callable[..., Any])


class FilePath(click.Path):
    """Path argument.

    Args:
        read: Whether it is a file to read. Then all of a command line can be opened before the
            first is read, which may be large.
    """

    def __init__(self, *, read: bool = False) -> None:
        super().__init__(path_type=str)
        self._read = read

    @override
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        path = super().convert(value, param, ctx)
        if self._read:
            from pats_opt.model.files import refuse_unreadable

            refuse_unreadable(str(path))
        return path

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Return folders, and files with the suffix that the parameter takes."""
        suffixes = completing.SUFFIXES.get(param.name or "")
        if suffixes is None or incomplete.startswith("~"):
            return super().shell_complete(ctx, param, incomplete)  # all files, as the shell does
        return completing.paths(incomplete, suffixes)


#: Numbers beyond are slips of the pen.
MOST = 1_000_000_000


class Count(click.IntRange):
    """Whole number from ``min`` to :data:`MOST`."""

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number: int = super().convert(value, param, ctx)
        if number > MOST:
            self.fail(f"more than {MOST:,} is too many", param, ctx)
        return number


FILE = FilePath()
INPUT_FILE = FilePath(read=True)


def finite(ctx: click.Context, option: click.Parameter, seconds: float | None) -> float | None:
    """Refuse ``nan`` and ``inf`` as a number of seconds."""
    if seconds is not None and not math.isfinite(seconds):
        raise click.BadParameter(f"{seconds} is no number of seconds", ctx, option)
    return seconds


def pairs(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Parse a repeatable ``key=value`` option."""
    found = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{value!r}: write it as {option.metavar}", ctx, option)
        found[key] = text
    return found


def parsed(read: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return a callback that parses an option's text with ``read``, which raises ValueError.

    The error shows the option's metavar as the form to write it in.
    """

    def parse(ctx: click.Context, option: click.Parameter, text: str | None) -> Any:
        if text is None:
            return None
        try:
            return read(text)
        except ValueError:
            message = f"{text!r}: write it as {option.metavar}"
            raise click.BadParameter(message, ctx, option) from None

    return parse


def names(text: str) -> tuple[str, ...]:
    """Parse names separated by commas.

    Raises:
        ValueError: There is none.
    """
    found = tuple(filter(None, map(str.strip, text.split(","))))
    if not found:
        raise ValueError(text)
    return found


def option(flags: str, text: str, kind: Any = None, **settings: Any) -> Callable[[F], F]:
    """Return an option, a decorator of a command.

    Args:
        flags: The option as typed, and its parameter's name if that differs.
        text: Help. A default is added.
        kind: Click's type.
        settings: Other arguments of ``click.option``.
    """
    shown = "default" in settings
    return click.option(*flags.split(), help=text, type=kind, show_default=shown, **settings)


def field(given: str | Callable[[F], F], *described: Any, **settings: Any) -> Any:
    """Return the default of a field of an options table: an option, or the arguments of one."""
    return option(given, *described, **settings) if isinstance(given, str) else given


def options(table: type[Any]) -> Callable[[F], F]:
    """Add the options of a dataclass to a command, which receives one of it as ``options``.

    The default of each field is made by :func:`field`.
    """
    declared = fields(table)

    def decorate(command: Any) -> Any:
        @wraps(command)
        def call(**values: Any) -> Any:
            given = {field.name: values.pop(field.name) for field in declared}
            return command(**values, options=table(**given))

        for field in reversed(declared):
            call = field.default(call)
        return call

    return decorate


json_option = option("--json as_json", "Print one JSON object only.", is_flag=True)

engine_option = option(
    "--engine",
    "Where runs are done: processes of this machine, or tasks on the Ray cluster of RAY_ADDRESS.",
    click.Choice(["process", "ray"]),
    default="process",
)

seed_option = option("--seed", "Random seed.", click.IntRange(0), default=0)


def time_limit(text: str) -> Callable[[F], F]:
    """Add ``--time-limit S`` with a help text."""
    seconds = click.FloatRange(0, min_open=True)
    return option("--time-limit", text, seconds, metavar="S", callback=finite)


time_limit_option = time_limit("Stop after S seconds with the results so far.")

param_option = option(
    "--param params",
    "Parameter of the solver or policy; repeatable.",
    multiple=True,
    metavar="KEY=VALUE",
    callback=pairs,
    shell_complete=completing.params,
)

model_option = option(
    "--model",
    "tiny or sdxl-random (both with random weights), a diffusers folder, a .safetensors file, or a "
    "hub id.",
    default="tiny",
    metavar="MODEL",
)

dtype_option = option(
    "--dtype",
    "Precision. auto: bfloat16 on a GPU, float32 on the CPU.",
    click.Choice(["auto", "float32", "float16", "bfloat16"]),
    default="auto",
)

shrink_option = option(
    "--shrink",
    "Divide widths and heights by N, to multiples of 8 and at least 64 pixels.  "
    "[default: 16 for tiny, 1 otherwise]",
    Count(1),
    metavar="N",
)

guidance_option = option(
    "--guidance",
    "Classifier-free guidance scale; none at 1 or below.",
    click.FloatRange(0, 100),
    default=5.0,
    metavar="X",
)

memory_option = option(
    "--memory",
    "Use at most GIB of a GPU's memory, like a smaller GPU.",
    click.FloatRange(0, min_open=True),
    metavar="GIB",
)

schedule_option = option("-o --output", "Schedule file to write.", FILE)

new_folder_option = option(
    "-o --output", "Output folder.  [default: a new one in out/]", FILE, metavar="DIR"
)


def suites_option(flags: str, text: str) -> Callable[[F], F]:
    """Return a repeatable option that names generated suites."""
    return option(flags, text, multiple=True, metavar="NAME", shell_complete=completing.suites)


def new_folder(command: str) -> Path:
    """Return the name of a new output folder of a command, below ``out/``."""
    from datetime import datetime

    return Path("out") / f"{command}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"


def note_ticks(instance: Instance) -> None:
    """Say on standard error what an instance's ticks distort, if they do."""
    from pats_opt.model.timing import tick_distortion

    if line := tick_distortion(instance):
        click.echo(f"pats-opt: note: {line}", err=True)


def print_json(document: object) -> None:
    """Print one JSON object on standard output."""
    import msgspec

    click.echo(msgspec.json.encode(document).decode())
