"""Write the generated tables of the guide: ``python docs/tables.py``.

A page has a table between ``<!-- table: NAME -->`` and ``<!-- end -->``. A test generates each
again and compares.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pats_opt
from pats_opt.core.registry import BUILT_IN, load
from pats_opt.core.solver import Feature, Kind
from pats_opt.model.files import write_bytes

HERE = Path(__file__).parent
ROOT = HERE.parent
EXPERIMENTS = ROOT / "experiments"

#: Experiments whose policies stand against proven optima -> heading of their column.
COMPARED = {
    "generated": "generated suites",
    "trace": "slices of a production trace",
    "h100": "as measured on an H100",
}

TABLE = re.compile(r"(?<=<!-- table: )([a-z-]+)( -->\n).*?(?=\n<!-- end -->)", re.S)


def solvers() -> str:
    """Every solver that is not a policy, with its abilities."""
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
    """Every online policy with the first line of its docstring."""
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
    """The missing features of the problem."""
    return ", ".join(sorted(frozenset(Feature) - features)) or "-"


def results() -> str:
    """The gap of each policy to the optimum, from the reports."""
    texts = {name: report(name) for name in COMPARED}
    heads = [
        f"[{heading}](../experiments/{name}/result/report.md)" for name, heading in COMPARED.items()
    ]
    lines = [f"| policy | {' | '.join(heads)} |", "|---|---|---|---|"]
    gaps = {
        name: {
            spec: f"{median} ({ends}"
            for spec, median, ends in re.findall(
                r"Online (\S+) has a gap of (\S+ %) \(median; (.+?\)) to the optimum", text
            )
        }
        for name, text in texts.items()
    }
    everywhere = [spec for spec in gaps["generated"] if all(spec in of for of in gaps.values())]
    lines += [
        f"| `{spec}` | {' | '.join(gaps[name][spec] for name in COMPARED)} |" for spec in everywhere
    ]
    proofs = (
        re.search(r"auto proved its schedule optimal on (\d+ of \d+)", x) for x in texts.values()
    )
    lines.append(
        f"| optima proven | {' | '.join(found[1] if found else '-' for found in proofs)} |"
    )
    return "\n".join(lines)


def names() -> str:
    """The public names, each with a link to its documentation."""
    lines = ["| name | what it is |", "|---|---|"]
    for name in pats_opt.__all__:
        if name.startswith("_"):
            continue
        thing = getattr(pats_opt, name)
        first = (inspect.getdoc(thing) or "").partition("\n")[0].replace("``", "`")
        lines.append(f"| {{py:obj}}`{name} <{thing.__module__}.{name}>` | {first} |")
    return "\n".join(lines)


def packages() -> str:
    """Every package with the first sentence of its docstring, and its modules."""
    lines = ["| package | contents | modules |", "|---|---|---|"]
    for top in (ROOT / "pats_opt", ROOT / "solvers" / "pats_solvers"):
        for init in sorted(top.rglob("__init__.py")):
            doc = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
            paragraph = " ".join(doc.partition("\n\n")[0].split())
            text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", paragraph).replace("``", "`")
            files = sorted(path.stem for path in init.parent.glob("[!_]*.py"))
            modules = ", ".join(f"`{name}`" for name in files)
            folder = init.parent.relative_to(ROOT).as_posix()
            lines.append(f"| `{folder}` | {text.rstrip(':')} | {modules} |")
    return "\n".join(lines)


def bound_gaps() -> str:
    """The gaps of the Lagrangian bound by feature."""
    text = (ROOT / "benchmarks" / "results" / "bound_gaps.md").read_text(encoding="utf-8")
    return text[text.index("| ") :].strip()


def campaign() -> str:
    """The table of the last full campaign."""
    return (EXPERIMENTS / "campaign" / "campaign.md").read_text(encoding="utf-8").strip()


def mutation() -> str:
    """The table of the last mutation testing."""
    return (EXPERIMENTS / "mutation" / "mutation.md").read_text(encoding="utf-8").strip()


def report(experiment: str) -> str:
    """The text of an experiment's report."""
    return (EXPERIMENTS / experiment / "result" / "report.md").read_text(encoding="utf-8")


TABLES: dict[str, Callable[[], str]] = {
    "bound-gaps": bound_gaps,
    "campaign": campaign,
    "mutation": mutation,
    "names": names,
    "packages": packages,
    "policies": policies,
    "results": results,
    "solvers": solvers,
}


def filled(page: str) -> str:
    """Return the text of a page with its tables generated again."""
    return TABLE.sub(lambda found: f"{found[1]}{found[2]}\n{TABLES[found[1]]()}\n", page)


def main() -> None:
    """Write every page with a table."""
    for path in HERE.rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        if filled(text) != text:
            write_bytes(path, filled(text).encode())


if __name__ == "__main__":
    main()
