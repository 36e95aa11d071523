"""``pats-opt solvers``: what there is to choose from."""

from __future__ import annotations

from typing import Any

import click

from pats_opt.cli import common


@click.command("solvers")
@common.json_option
def command(as_json: bool) -> None:
    """List every solver and policy with what it can do."""
    found = [describe(name) for name in _names()]
    if as_json:
        common.print_json(found)
        return
    for entry in found:
        can = entry["capabilities"]
        lacks = f"; lacks {', '.join(can['lacks'])}" if can["lacks"] else ""
        click.echo(f"{entry['name']:<10} {entry['kind']:<10} {entry['summary']}{lacks}")
        for name, default in entry["params"].items():
            click.echo(f"{'':<10} {'':<10}   {name} = {default}")


def describe(name: str) -> dict[str, Any]:
    """One solver or policy, ready for JSON."""
    import inspect

    from pats_opt import registry
    from pats_opt.solver import Feature, Kind

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


def _names() -> list[str]:
    from pats_opt import registry

    return registry.names()
