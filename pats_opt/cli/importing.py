"""``pats-opt import FORMAT``: a table of formats, each a command imported when it is used."""

from __future__ import annotations

from importlib import import_module

import click

from pats_opt.importers import FORMATS
from pats_opt.nearest import choose


class Formats(click.Group):
    """The formats of :data:`pats_opt.importers.FORMATS`, listed without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names in the table's order."""
        return list(FORMATS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The format's command, imported now; None where there is none."""
        if cmd_name not in FORMATS:
            return None
        module, _, attribute = FORMATS[cmd_name][0].partition(":")
        found: click.Command = getattr(import_module(module), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the formats from the table, without importing them."""
        with formatter.section("Formats"):
            formatter.write_dl([(name, text) for name, (_, text) in FORMATS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest formats where one is misspelt."""
        if args and not args[0].startswith("-") and args[0] not in FORMATS:
            ctx.fail(f"there is no format {args[0]!r}; {choose(args[0], FORMATS)}")
        return super().resolve_command(ctx, args)


@click.command("import", cls=Formats)
def command() -> None:
    """Import a file of another format as an instance."""
