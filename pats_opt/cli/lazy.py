"""A group whose commands are imported when they are used, so that help and completion are quick."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import ClassVar

import click
from click.shell_completion import CompletionItem

from pats_opt.nearest import choose


class LazyGroup(click.Group):
    """A group whose commands come from a table.

    Attributes:
        table: Command -> (``module:attribute``, one-line help), in the order they are listed.
        what: What a command of it is called, in its help and its errors.
    """

    table: ClassVar[Mapping[str, tuple[str, str]]]
    what: ClassVar[str] = "command"

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names in the table's order."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported now; None where there is none."""
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name][0].partition(":")
        found: click.Command = getattr(import_module(module), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands from the table, without importing them."""
        with formatter.section(f"{self.what.capitalize()}s"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest commands where one is misspelt."""
        if args and not args[0].startswith("-") and args[0] not in self.table:
            ctx.fail(f"there is no {self.what} {args[0]!r}; {choose(args[0], self.table)}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Commands from the table, without importing them; or options."""
        return [
            *(
                CompletionItem(name, help=text)
                for name, (_, text) in self.table.items()
                if name.startswith(incomplete)
            ),
            *click.Command.shell_complete(self, ctx, incomplete),
        ]
