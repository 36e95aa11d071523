"""Messages of wrong usage, each with its mend."""

from __future__ import annotations

import re

import click

from pats_opt.errors import shortened

#: Options of one meaning: a command has one of them, users of others or of other tools write any.
ALIKE = (
    ("--solver", "--solvers", "--policy", "--method", "--algorithm"),
    ("--time-limit", "--timeout", "--limit", "--max-time", "-t"),
    ("--jobs", "--threads", "--workers", "--cores", "-j", "-n"),
    ("--output", "--out", "--outfile", "--output-file", "--output-dir", "--outdir"),
    ("--instance", "--instances", "--input", "--file", "-i", "-f"),
    ("--schedule", "--schedules"),
    ("--param", "--parameter", "--params", "--option", "-p"),
)

#: Messages of click, and plainer ones.
PLAINER = {
    "is not a valid float range": "is no number",
    "is not a valid float": "is no number",
    "is not a valid integer range": "is no whole number",
    "is not a valid integer": "is no whole number",
}

_EXTRA = re.compile(r"^Got unexpected extra arguments? \((.*)\)$", re.DOTALL)


def message(error: click.ClickException) -> str:
    """Return the message of wrong usage in one line, with its mend."""
    context: click.Context | None = getattr(error, "ctx", None)
    text = error.format_message()
    for before, after in PLAINER.items():
        text = text.replace(before, after)
    text = shortened(re.sub(r"\s*\n\s*", " ", text)).rstrip(".")
    if context is None:
        return text
    if mend := _mend(error, context):
        text = f"{re.split(r'[.]? .?Did you mean', text)[0]}; {mend}"
    return f"{text} (see '{context.command_path} --help')"


def _mend(error: click.ClickException, context: click.Context) -> str:
    """Return the mend of an unknown option or an argument too many, or an empty text."""
    if isinstance(error, click.NoSuchOption):
        alike = next((group for group in ALIKE if error.option_name in group), ())
        return _use(alike, context)
    if extra := _EXTRA.match(error.format_message()):
        from pats_opt.core.registry import names

        if any(word.partition(":")[0] in names() for word in re.split("[ ,]+", extra[1])):
            return _use(ALIKE[0], context)
    return ""


def _use(options: tuple[str, ...], context: click.Context) -> str:
    """Return which of some options a command has, or the argument that it has instead."""
    own = {name for option in context.command.params for name in option.opts}
    if found := [option for option in options if option in own]:
        return f"use {found[0]}"
    if found := [option[2:] for option in options if option[2:] in own]:
        return f"write the {found[0]} without an option"
    return ""
