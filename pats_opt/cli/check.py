"""``pats-opt check``: run the independent checker on a schedule file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli import common
from pats_opt.cli.terminal import Fact, print_facts, shares, styled

if TYPE_CHECKING:
    from pats_opt.model.checker import Verdict


@click.command("check")
@click.argument("instance", type=common.INPUT_FILE)
@click.argument("schedule", type=common.INPUT_FILE)
@common.json_option
@click.pass_context
def command(ctx: click.Context, instance: str, schedule: str, as_json: bool) -> None:
    """Check SCHEDULE against INSTANCE. Print every violation, each loss term and the loss.

    The exit status is 0 if the schedule is valid, and 3 if it is not.
    """
    import msgspec

    from pats_opt.errors import in_file
    from pats_opt.model.checker import check
    from pats_opt.model.files import read_instance, read_schedule

    document, claimed = read_instance(instance), read_schedule(schedule)
    with in_file(schedule):
        verdict = check(document, claimed)
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
        _print(verdict, terms)
    common.note_ticks(document)
    ctx.exit(0 if verdict.ok else 3)


def _print(verdict: Verdict, terms: dict[str, float]) -> None:
    """Print the verdict as text."""
    facts = []
    for v in verdict.violations:
        rule = f"rule {v.rule}" if v.rule else "file"
        facts.append(Fact("violation", f"{rule}: {v.place}: {v.message}", "red"))
    good = verdict.ok
    facts.append(Fact("valid", "yes" if good else "no", "bold green" if good else "bold red"))
    facts.append(Fact("loss", f"{verdict.loss:.9g}", "bold"))
    if styled():
        facts.append(Fact("terms", "", drawn=lambda: shares(terms, "{:.9g}".format)))
    else:
        facts += [Fact(f"  {name}", f"{value:.9g}") for name, value in terms.items()]
    print_facts(facts)
