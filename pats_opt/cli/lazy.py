"""Command group that imports a command only when it is used: help and completion stay fast."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import ClassVar

import click
from click.shell_completion import CompletionItem

from pats_opt.nearest import choose


class LazyGroup(click.Group):
    """Group of commands given by a table.

    Attributes:
        table: Command -> (``module:attribute``, one-line help), in the order of listing.
        noun: What its commands are called in help and errors.
    """

    table: ClassVar[Mapping[str, tuple[str, str]]]
    noun: ClassVar[str] = "command"

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names in the table's order."""
        return list(self.table)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command and return it; None if there is none of this name."""
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name][0].partition(":")
        found: click.Command = getattr(import_module(module), attribute)
        return found

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section(f"{self.noun.capitalize()}s"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest commands if one is misspelt."""
        if args and not args[0].startswith("-") and args[0] not in self.table:
            ctx.fail(f"there is no {self.noun} {args[0]!r}; {choose(args[0], self.table)}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Return the matching commands, without importing them, and options."""
        commands = [
            CompletionItem(name, help=text)
            for name, (_, text) in self.table.items()
            if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]
