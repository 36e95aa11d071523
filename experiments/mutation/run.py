"""Mutation testing of the rules: checker, model, kernels, brute force, and a simulator's actions.

Run with ``make mutation``. mutmut changes one thing at a time in the modules that ``[tool.mutmut]``
of pyproject.toml names, and runs the tests that call the changed function. A change that no test
notices survives: a test is missing, code is superfluous, or the change makes no difference.
``survivors.toml`` says which make none, and why; any other survivor is an error.

``python experiments/mutation/run.py --again`` tries those again after tests or code have changed,
and the mutants of changed functions.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

#: Where mutmut works; it takes a module's name from the path below ``src``.
WORK = ROOT / "out" / "mutation"

MUTMUT = Path(sys.executable).with_name("mutmut")

#: Their decorators only compile, and mutmut leaves out functions that have any.
KERNELS = WORK / "src" / "pats_solvers" / "common" / "kernels.py"

#: Bytes of addresses of a mutant; some fill a list without end.
MEMORY = 8 << 30

#: A mutant that never ends is as dead as one that a test refuses.
DEAD = {"killed", "timeout"}

TABLE = """With mutmut {mutmut}:

{modules}

The survivors, none of which changes what the code does for its callers:

{classes}
"""


class Mutant(NamedTuple):
    """A mutant: its file, its name, what became of it."""

    file: Path
    name: str
    status: str

    def change(self) -> str:
        """Return the function, the changed code and what is in its place, in a line."""
        lines = [
            line
            for line in get_diff_for_mutant(self.name, path=self.file).splitlines()
            if re.match(r"[-+](?!--|\+\+)", line)
        ]
        old, new = (" ".join(x[1:].strip() for x in lines if x[0] == sign) for sign in "-+")
        function = re.sub(r"^.*\.xǁ?_?|__mutmut_\d+$", "", self.name).replace("ǁ", ".")
        return f"{function}: {old} -> {new}"


def stage() -> None:
    """Lay the packages out as mutmut needs them."""
    (WORK / "src").mkdir(parents=True, exist_ok=True)
    for link, target in (
        (WORK / "pyproject.toml", ROOT / "pyproject.toml"),
        (WORK / "tests", ROOT / "tests"),
        (WORK / "src" / "pats_opt", ROOT / "pats_opt"),
    ):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    solvers = WORK / "src" / "pats_solvers"
    shutil.rmtree(solvers, ignore_errors=True)
    shutil.copytree(ROOT / "solvers" / "pats_solvers", solvers)
    lines = KERNELS.read_text().splitlines(keepends=True)
    KERNELS.write_text("".join(line for line in lines if not line.startswith("@")))


def run(*arguments: str) -> None:
    """Run mutmut: uncompiled, and without a search for the smallest example that fails."""
    env = {"NUMBA_DISABLE_JIT": "1", "HYPOTHESIS_PROFILE": "mutation"}
    subprocess.run(
        [MUTMUT, "run", *arguments],
        env=os.environ | env,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )


def mutants() -> Iterator[Mutant]:
    """Yield all mutants with their results."""
    for file in sorted((WORK / "mutants").rglob("*.py.meta")):
        source = file.relative_to(WORK / "mutants").with_suffix("")
        for name, code in json.loads(file.read_text())["exit_code_by_key"].items():
            yield Mutant(source, name, status_by_exit_code[code])


def explained(found: list[Mutant]) -> tuple[Counter[str], list[Mutant]]:
    """Return how many mutants survive for each reason, and those that survive for none."""
    classes = tomllib.loads((HERE / "survivors.toml").read_text())["class"]
    reasons: Counter[str] = Counter()
    others = []
    for mutant in found:
        if mutant.status in DEAD:
            continue
        change = mutant.change()
        reason = next((c["reason"] for c in classes if re.search(c["change"], change)), None)
        if reason is None or mutant.status != "survived":
            others.append(mutant)
        else:
            reasons[reason] += 1
    return reasons, others


def table(found: list[Mutant], reasons: Counter[str]) -> str:
    """Return the table of modules, and the reasons of survivors."""
    rows = ["| module | mutants | killed | survived |", "|---|---:|---:|---:|"]
    files = {mutant.file: [m for m in found if m.file == mutant.file] for mutant in found}
    named = [(f"`{file.as_posix().removeprefix('src/')}`", those) for file, those in files.items()]
    for name, those in [*named, ("in all", found)]:
        killed = sum(mutant.status in DEAD for mutant in those)
        rows.append(f"| {name} | {len(those)} | {killed} | {len(those) - killed} |")
    return TABLE.format(
        mutmut=version("mutmut"),
        modules="\n".join(rows),
        classes="\n".join(f"- {count}: {reason}" for reason, count in reasons.most_common()),
    )


def main() -> None:
    """Try the mutants and write the table, which the guide shows."""
    again = sys.argv[1:] == ["--again"]
    if not again:
        shutil.rmtree(WORK, ignore_errors=True)
    stage()
    os.chdir(WORK)  # mutmut reads and writes where it is
    (WORK / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)  # which test calls what
    run()
    reasons, others = explained(list(mutants()))
    if again and others:
        run(*[mutant.name for mutant in others])
        reasons, others = explained(list(mutants()))
    (HERE / "mutation.md").write_text(table(list(mutants()), reasons))
    if others:
        texts = [f"{mutant.name} ({mutant.status}): {mutant.change()}" for mutant in others]
        sys.exit("\n".join(["no test notices, and survivors.toml does not explain:", *texts]))


if __name__ == "__main__":
    main()
