"""``pats-opt check``: the independent checker on a schedule file."""

from __future__ import annotations

from typing import Any

import click

from pats_opt.cli import common


@click.command("check")
@click.argument("instance", type=common.FILE)
@click.argument("schedule", type=common.FILE)
@common.json_option
@click.pass_context
def command(ctx: click.Context, instance: str, schedule: str, as_json: bool) -> None:
    """Check SCHEDULE against INSTANCE: every violation, each loss term, the loss.

    Exit status 0: valid; 3: not valid.
    """
    import msgspec

    from pats_opt.checker import check
    from pats_opt.errors import InputError
    from pats_opt.files import read_instance, read_schedule

    document, claimed = read_instance(instance), read_schedule(schedule)
    try:
        verdict = check(document, claimed)
    except InputError as error:
        raise error.in_file(schedule) from None
    terms: dict[str, Any] = msgspec.to_builtins(verdict.terms)
    if as_json:
        common.print_json(
            {
                "ok": verdict.ok,
                "violations": verdict.violations,
                "loss": verdict.loss,
                "terms": terms,
            }
        )
    else:
        for v in verdict.violations:
            rule = f"rule {v.rule}" if v.rule else "file"
            click.echo(f"violation    {rule}: {v.place}: {v.message}")
        click.echo("valid        " + ("yes" if verdict.ok else "no"))
        click.echo(f"loss         {verdict.loss:.9g}")
        for name, value in terms.items():
            click.echo(f"  {name:<10} {value:.9g}")
    ctx.exit(0 if verdict.ok else 3)
