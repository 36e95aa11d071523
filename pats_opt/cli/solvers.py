"""``pats-opt solvers``: list the solvers and policies, or describe one."""

from __future__ import annotations

from typing import Any

import click

from pats_opt.cli import common, completing
from pats_opt.cli.terminal import Fact, console, print_facts, print_table, styled

#: Kinds of solvers and their results, in the order of listing.
KINDS = {
    "exact": "proves an optimum, given time",
    "bound": "proves a lower bound",
    "heuristic": "finds a schedule, offline",
    "online": "a policy: decides without knowing the future",
}


@click.command("solvers")
@click.argument("name", required=False, shell_complete=completing.specs)
@common.json_option
def command(name: str | None, as_json: bool) -> None:
    """List the solvers and policies with their abilities.

    With NAME, describe one: how it works, and its parameters with defaults and ranges.
    """
    from pats_opt.core import registry

    if name is not None:
        found = describe(name.partition(":")[0])
        if as_json:
            common.print_json(found)
        else:
            _print_one(found)
        return
    listed = [describe(each) for each in registry.names()]
    if as_json:
        common.print_json(listed)
    else:
        _print_all(listed)


def describe(name: str) -> dict[str, Any]:
    """Return the entry of a solver or policy, ready for JSON.

    Raises:
        InputError: The name is unknown; the message has the nearest ones.
    """
    import inspect

    from pats_opt.core import registry
    from pats_opt.core.solver import Feature, Kind

    made = registry.load(name)
    can = made.capabilities
    summary = (inspect.getdoc(made) or "").partition("\n")[0]
    return {
        "name": name,
        "kind": made.kind.value,
        "online": made.kind is Kind.ONLINE,
        "summary": summary,
        "capabilities": {
            "features": sorted(can.features),
            "lacks": sorted(set(Feature) - can.features),
            "bound": can.bound,
            "warm_start": can.warm_start,
            "packages": list(can.packages),
        },
        "params": registry.parameters(made()),
    }


def _print_all(entries: list[dict[str, Any]]) -> None:
    """Print a line per solver, sorted by kind."""
    from pats_opt.cli.describing import plain

    rows: list[tuple[str, ...]] = []
    bold: list[int] = []
    for kind, promise in KINDS.items():
        if styled():
            bold.append(len(rows))
            rows.append((kind, "", "", promise))
        for entry in entries:
            can, summary = entry["capabilities"], plain(entry["summary"])
            if can["lacks"]:
                summary = f"{summary.removesuffix('.')}; lacks {', '.join(can['lacks'])}"
            flags = ("yes" if can[key] else "no" for key in ("bound", "warm_start"))
            if entry["kind"] == kind:
                rows.append((entry["name"], *(() if styled() else (kind,)), *flags, summary))
    if not styled():
        print_table(("name", "kind", "bound", "start", "summary"), rows, left=5)
        return
    print_table(("", "bound", "start", "summary"), rows, left=4, bold=bold)
    click.echo(
        "\nbound: proves a lower bound; start: can improve a given schedule."
        "\n'pats-opt solvers NAME' describes one, with its parameters."
    )


def _print_one(entry: dict[str, Any]) -> None:
    """Print the description of a solver, its abilities and its parameters."""
    from pats_opt.cli.describing import ParameterHelp, documentation, parameters
    from pats_opt.core import registry

    made, can = registry.load(entry["name"]), entry["capabilities"]
    summary, description = documentation(made)
    facts = [
        Fact("kind", f"{entry['kind']}: {KINDS[entry['kind']]}"),
        Fact("bound", "proves a lower bound" if can["bound"] else "none"),
        Fact("start", "can improve a given schedule" if can["warm_start"] else "not used"),
        Fact("handles", ", ".join(can["features"]) if can["lacks"] else "every feature"),
    ]
    if can["lacks"]:
        facts.append(Fact("lacks", ", ".join(can["lacks"]), "yellow"))
    if can["packages"]:
        facts.append(Fact("needs", ", ".join(can["packages"])))
    print_facts(facts, f"{entry['name']}: {summary}")
    if description:
        click.echo(f"\n{_folded(description) if styled() else description}")
    listed = parameters(made, entry["params"])
    if listed:
        example = f"{listed[0].name}={listed[0].default}"
        click.echo(f"\nparameters, set with {entry['name']}:{example} or --param {example}\n")
        print_table(ParameterHelp._fields, listed, left=4)


def _folded(text: str) -> str:
    """Return text with its paragraphs folded to the terminal, and indented blocks as they are."""
    from textwrap import fill

    width = console().width
    return "\n\n".join(
        part if any(line.startswith(" ") for line in part.splitlines()) else fill(part, width)
        for part in text.split("\n\n")
    )
