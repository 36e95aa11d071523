"""``pats-opt show``: a schedule as a picture."""

from __future__ import annotations

import click

from pats_opt.cli import common


@click.command("show")
@click.argument("schedule", type=common.FILE)
@click.option("--instance", required=True, type=common.FILE, help="The schedule's instance.")
@click.option("-o", "--output", required=True, type=common.FILE, help=".html, .svg or .png.")
def command(schedule: str, instance: str, output: str) -> None:
    """Draw SCHEDULE: a lane a GPU, its memory, and how many requests wait.

    The schedule is checked first. One that breaks rules is drawn as far as it can be read, with
    what is wrong written on the page and a warning on standard error.
    """
    from pats_opt.errors import one_line
    from pats_opt.files import read_instance, read_schedule
    from pats_opt.plot.pages import show

    document = read_instance(instance)
    verdict = show(document, read_schedule(schedule), output)
    if not verdict.ok:
        first = verdict.violations[0]
        click.echo(
            one_line(
                f"pats-opt: warning: {schedule}: not valid ({len(verdict.violations)} violations; "
                f"rule {first.rule}: {first.place}: {first.message})"
            ),
            err=True,
        )
