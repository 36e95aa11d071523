"""Mutation testing of the rules: the checker, the model, the brute force and the kernels.

Run with ``make mutation``. mutmut changes one thing at a time in the modules that ``[tool.mutmut]``
in pyproject.toml names, and runs the tests that call it. A mutant that no test notices survives:
either a test is missing, or the change makes no difference, and then ``survivors.toml`` says why.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

#: Where mutmut works: it names a module by its path below ``src``.
WORK = ROOT / "out" / "mutation"

#: Their decorators only compile, which a mutant does without.
KERNELS = Path("pats_solvers/common/kernels.py")

#: Bytes of addresses; some mutants fill a list without end.
MEMORY = 8 << 30


def stage() -> None:
    """Lay the packages out as mutmut needs them."""
    shutil.rmtree(WORK, ignore_errors=True)
    (WORK / "src").mkdir(parents=True)
    (WORK / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    (WORK / "tests").symlink_to(ROOT / "tests")
    (WORK / "src" / "pats_opt").symlink_to(ROOT / "pats_opt")
    shutil.copytree(
        ROOT / "solvers" / "pats_solvers",
        WORK / "src" / "pats_solvers",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    kernels = WORK / "src" / KERNELS
    lines = kernels.read_text().splitlines(keepends=True)
    kernels.write_text("".join(line for line in lines if not line.startswith("@")))


def main() -> None:
    """Run mutmut; the arguments are its own."""
    stage()
    mutmut = Path(sys.executable).with_name("mutmut")
    subprocess.run(
        [mutmut, "run", "--max-children", "1", *sys.argv[1:]],
        cwd=WORK,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1", "HYPOTHESIS_PROFILE": "mutation"},
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )


if __name__ == "__main__":
    main()
