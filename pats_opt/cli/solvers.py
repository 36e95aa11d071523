"""``pats-opt solvers``: what there is to choose from."""

from __future__ import annotations

from typing import Any

import click

from pats_opt.cli import common, completing
from pats_opt.cli.terminal import Fact, console, print_facts, styled

#: What a kind of solver promises, in the order the kinds are listed.
KINDS = {
    "exact": "proves its optimum, given time",
    "bound": "proves a lower bound",
    "heuristic": "gives a schedule, offline",
    "online": "a policy: gives a schedule without seeing the future",
}


@click.command("solvers")
@click.argument("name", required=False, shell_complete=completing.specs)
@common.json_option
def command(name: str | None, as_json: bool) -> None:
    """List every solver and policy with what it can do.

    With NAME, tell all of one: how it works, its parameters, their defaults and ranges.
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
    """One solver or policy, ready for JSON.

    Raises:
        InputError: for an unknown name, naming the nearest ones.
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


def _print_all(listed: list[dict[str, Any]]) -> None:
    """A line for each, grouped by kind: a table on a terminal, plain columns in a pipe."""
    rank = list(KINDS)
    listed = sorted(listed, key=lambda entry: rank.index(entry["kind"]))
    rows = [(entry, _row(entry)) for entry in listed]
    head = ("name", "kind", "bound", "start", "summary")
    if not styled():
        widths = [max(len(row[i]) for row in (head, *(r for _, r in rows))) for i in range(4)]
        for row in (head, *(row for _, row in rows)):
            click.echo("  ".join([*map(str.ljust, row[:4], widths), row[4]]))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="cyan")
    table.add_column("", no_wrap=True)
    table.add_column("bound", justify="center")
    table.add_column("start", justify="center")
    table.add_column("what it does")
    kind = ""
    for entry, (name, _, bound, start, _) in rows:
        if entry["kind"] != kind:
            if kind:
                table.add_row()
            kind = entry["kind"]
            table.add_row(Text(kind, style="bold"), "", "", Text(KINDS[kind], style="italic"))
        text = Text(_summary(entry))
        if entry["capabilities"]["lacks"]:
            text.append(f"\nlacks {', '.join(entry['capabilities']['lacks'])}", style="yellow")
        table.add_row(Text(f"  {name}", style="green"), _mark(bound), _mark(start), text)
    out = console()
    out.print(table)
    out.print(
        "\nbound: gives a proven lower bound; start: improves a schedule it is given."
        "\n'pats-opt solvers NAME' tells all of one, with its parameters."
    )


def _mark(word: str) -> str:
    return "\N{CHECK MARK}" if word == "yes" else "\N{MIDDLE DOT}"


def _row(entry: dict[str, Any]) -> tuple[str, str, str, str, str]:
    can = entry["capabilities"]
    lacks = f"; lacks {', '.join(can['lacks'])}" if can["lacks"] else ""
    return (
        entry["name"],
        entry["kind"],
        "yes" if can["bound"] else "no",
        "yes" if can["warm_start"] else "no",
        _summary(entry).removesuffix("." if lacks else "") + lacks,
    )


def _summary(entry: dict[str, Any]) -> str:
    from pats_opt.cli.describing import plain

    return plain(entry["summary"])


def _print_one(entry: dict[str, Any]) -> None:
    """All of one: what it is, what it can do, its parameters."""
    from pats_opt.cli.describing import about, paragraphs, parameters
    from pats_opt.core import registry

    made, can = registry.load(entry["name"]), entry["capabilities"]
    first, rest = about(made)
    facts = [
        Fact("kind", f"{entry['kind']}: {KINDS[entry['kind']]}"),
        Fact("bound", "gives a proven lower bound" if can["bound"] else "gives none"),
        Fact("start", "improves a schedule it is given" if can["warm_start"] else "needs none"),
        Fact(
            "handles",
            ", ".join(can["features"]) if can["lacks"] else "every feature of the problem",
        ),
    ]
    if can["lacks"]:
        facts.append(Fact("lacks", ", ".join(can["lacks"]), "yellow"))
    if can["packages"]:
        facts.append(Fact("needs", ", ".join(can["packages"])))
    print_facts(facts, 10, f"{entry['name']}: {first}")
    out = console()
    if rest:
        out.print(f"\n{paragraphs(rest) if styled() else rest}", soft_wrap=not styled())
    told = parameters(made, entry["params"])
    if not told:
        return
    key, default = told[0].name, told[0].default
    out.print(
        f"\nparameters, given as {entry['name']}:{key}={default} or with --param {key}={default}\n"
    )
    head = ("name", "default", "values", "meaning")
    if not styled():
        widths = [max(map(len, column)) for column in zip(head, *told, strict=True)]
        for row in (head, *told):
            click.echo("  ".join(map(str.ljust, row, widths)).rstrip())
        return
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="cyan")
    for title in head:
        table.add_column(title, no_wrap=title in ("name", "default"), overflow="fold")
    for parameter in told:
        table.add_row(*parameter)
    out.print(table)
