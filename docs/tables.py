"""Write the tables that the guide holds from the code and the results: ``python docs/tables.py``.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->`` in a page, so that it can be
read wherever the page is. A test makes each again and compares.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pats_opt
from pats_opt.core.registry import BUILT_IN, load
from pats_opt.core.solver import ALL_FEATURES, Feature, Kind
from pats_opt.model.files import write_bytes

HERE = Path(__file__).parent
EXPERIMENTS = HERE.parent / "experiments"

#: Experiments whose policies stand against proven optima -> heading of their column.
COMPARED = {
    "generated": "generated suites",
    "trace": "slices of a production trace",
    "h100": "as measured on an H100",
}

TABLE = re.compile(r"(?<=<!-- table: )([a-z-]+)( -->\n).*?(?=\n<!-- end -->)", re.S)


def solvers() -> str:
    """Every solver that is no policy: what it promises and lacks."""
    lines = [
        "| name | kind | bound | starts from a schedule | cannot do |",
        "|---|---|---|---|---|",
    ]
    for name in BUILT_IN:
        made = load(name)
        if made.kind is Kind.ONLINE:
            continue
        can = made.capabilities
        yes = ("yes" if has else "no" for has in (can.bound, can.warm_start))
        lines.append(f"| `{name}` | {made.kind} | {' | '.join(yes)} | {lacks(can.features)} |")
    return "\n".join(lines)


def policies() -> str:
    """Every online policy in its own words."""
    lines = ["| name | what it does |", "|---|---|"]
    for name in BUILT_IN:
        made = load(name)
        if made.kind is Kind.ONLINE:
            first = (inspect.getdoc(made) or "").partition("\n")[0].replace("``", "`")
            missing = lacks(made.capabilities.features)
            cannot = "" if missing == "-" else f" Cannot do: {missing}."
            lines.append(f"| `{name}` | {first}{cannot} |")
    return "\n".join(lines)


def lacks(features: frozenset[Feature]) -> str:
    """The features of the problem that are missing."""
    return ", ".join(sorted(ALL_FEATURES - features)) or "-"


def results() -> str:
    """What each policy loses against the optimum, as the reports tell it."""
    told = {name: report(name) for name in COMPARED}
    heads = [
        f"[{heading}](../experiments/{name}/result/report.md)" for name, heading in COMPARED.items()
    ]
    lines = [f"| policy | {' | '.join(heads)} |", "|---|---|---|---|"]
    lost = {
        name: {
            spec: f"{median} ({ends}"
            for spec, median, ends in re.findall(
                r"Online (\S+) loses (\S+ %) \(median; (.+?\)) against the proven", text
            )
        }
        for name, text in told.items()
    }
    everywhere = [spec for spec in lost["generated"] if all(spec in of for of in lost.values())]
    lines += [
        f"| `{spec}` | {' | '.join(lost[name][spec] for name in COMPARED)} |" for spec in everywhere
    ]
    proofs = (
        re.search(r"auto proved its schedule optimal on (\d+ of \d+)", x) for x in told.values()
    )
    lines.append(
        f"| optima proven | {' | '.join(found[1] if found else '-' for found in proofs)} |"
    )
    return "\n".join(lines)


def names() -> str:
    """The public names, each with a link to where it is documented."""
    lines = ["| name | what it is |", "|---|---|"]
    for name in pats_opt.__all__:
        if name.startswith("_"):
            continue
        thing = getattr(pats_opt, name)
        first = (inspect.getdoc(thing) or "").partition("\n")[0].replace("``", "`")
        lines.append(f"| {{py:obj}}`{name} <{thing.__module__}.{name}>` | {first} |")
    return "\n".join(lines)


def report(experiment: str) -> str:
    """The text of an experiment's report."""
    return (EXPERIMENTS / experiment / "result" / "report.md").read_text(encoding="utf-8")


TABLES: dict[str, Callable[[], str]] = {
    "names": names,
    "policies": policies,
    "results": results,
    "solvers": solvers,
}


def filled(page: str) -> str:
    """The text of a page with its tables made anew."""
    return TABLE.sub(lambda found: f"{found[1]}{found[2]}\n{TABLES[found[1]]()}\n", page)


def main() -> None:
    """Write every page that has a table."""
    for path in HERE.rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        if filled(text) != text:
            write_bytes(path, filled(text).encode())


if __name__ == "__main__":
    main()
