"""``pats-opt import FORMAT``: a table of formats, each a command imported when it is used."""

from __future__ import annotations

import click

from pats_opt.cli.lazy import LazyGroup
from pats_opt.importers import FORMATS


class Formats(LazyGroup):
    """The formats of :data:`pats_opt.importers.FORMATS`."""

    table = FORMATS
    what = "format"


@click.command("import", cls=Formats)
def command() -> None:
    """Import a file of another format as an instance."""
