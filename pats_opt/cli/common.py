"""Options, argument types and output that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from pats_opt.cli import completing

F = TypeVar("F", bound=Callable[..., Any])


class FilePath(click.Path):
    """Path argument. The reader of the file reports in one line what is wrong with it."""

    def __init__(self) -> None:
        super().__init__(path_type=str)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Return folders, and files with the suffix that the parameter takes."""
        suffixes = completing.SUFFIXES.get(param.name or "")
        if suffixes is None or incomplete.startswith("~"):
            return super().shell_complete(ctx, param, incomplete)  # all files, as the shell does
        return completing.paths(incomplete, suffixes)


FILE = FilePath()


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


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object only.")

seed_option = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed."
)

time_limit_option = click.option(
    "--time-limit",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    callback=finite,
    help="Stop after S seconds with the results so far.",
)

param_option = click.option(
    "--param",
    "params",
    multiple=True,
    metavar="KEY=VALUE",
    callback=pairs,
    shell_complete=completing.params,
    help="Parameter of the solver or policy; repeatable.",
)

model_option = click.option(
    "--model",
    default="tiny",
    show_default=True,
    metavar="MODEL",
    help="tiny or sdxl-random (both with random weights), a diffusers folder, a .safetensors file, "
    "or a hub id.",
)

dtype_option = click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "float16", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Precision. auto: bfloat16 on a GPU, float32 on the CPU.",
)

shrink_option = click.option(
    "--shrink",
    type=click.IntRange(1),
    metavar="N",
    help="Divide widths and heights by N, to multiples of 8 and at least 64 pixels.  "
    "[default: 16 for tiny, 1 otherwise]",
)

guidance_option = click.option(
    "--guidance",
    type=click.FloatRange(0, 100),
    default=5.0,
    show_default=True,
    metavar="X",
    help="Classifier-free guidance scale; none at 1 or below.",
)

memory_option = click.option(
    "--memory",
    type=click.FloatRange(0, min_open=True),
    metavar="GIB",
    help="Use at most GIB of a GPU's memory, like a smaller GPU.",
)


def new_folder(command: str) -> Path:
    """Return the name of a new output folder of a command, below ``out/``."""
    from datetime import datetime

    return Path("out") / f"{command}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"


def print_json(document: object) -> None:
    """Print one JSON object on standard output."""
    import msgspec

    click.echo(msgspec.json.encode(document).decode())
