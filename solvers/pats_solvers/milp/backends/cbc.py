"""CBC through PuLP: PuLP writes the files and reads the result, this runs CBC so that it can stop.

CBC is a program of its own, and runs under the guard of :mod:`pats_solvers.milp.backends.process`:
asked to stop, it ends with its best point, and it never outlives us. All files are in a folder that
is removed at the end.
"""

from __future__ import annotations

import math
import re
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pulp
from pulp.apis.coin_api import pulp_cbc_path

from pats_opt.errors import SolverError
from pats_opt.model.schedule import StopReason
from pats_solvers.milp.backends import BackendLimits, BackendResult
from pats_solvers.milp.backends.process import __file__ as guard_file
from pats_solvers.milp.backends.process import follow, start
from pats_solvers.milp.model import Floats, LinearModel

#: Seconds CBC gets to end by itself when it is asked to. It gets no time limit of its own: it would
#: measure that on the system's clock, which may jump.
GRACE = 1.5

#: Printed numbers have few digits: a printed bound is lowered by this, relative to its size.
PRINTED = 1e-5


def solve(model: LinearModel, limits: BackendLimits, hint: Floats | None) -> BackendResult:
    """Solve with CBC."""
    program, variables = pulp_problem(model)
    if hint is not None:
        for variable, value in zip(variables, hint.tolist(), strict=True):
            variable.setInitialValue(round(value), check=False)
    with tempfile.TemporaryDirectory(prefix="pats-milp-", ignore_cleanup_errors=True) as folder:
        return _CbcProcess(model, limits, folder).run(program, variables, hint is not None)


def pulp_problem(model: LinearModel) -> tuple[pulp.LpProblem, list[pulp.LpVariable]]:
    """Return the model as a PuLP problem, and its variables in order."""
    program = pulp.LpProblem("pats", pulp.LpMinimize)
    kinds = {True: pulp.LpInteger, False: pulp.LpContinuous}
    bounds = zip(model.lower.tolist(), model.upper.tolist(), model.integer.tolist(), strict=True)
    variables = [
        program.add_variable(f"x{i}", low, high, kinds[whole])
        for i, (low, high, whole) in enumerate(bounds)
    ]
    priced = np.flatnonzero(model.cost)
    program.setObjective(
        pulp.LpAffineExpression(
            [(variables[i], c) for i, c in zip(priced, model.cost[priced].tolist(), strict=True)]
        )
    )
    for row, (low, high, terms) in enumerate(_rows(model, variables)):
        expression = pulp.LpAffineExpression(terms)
        if low == high:
            program.addConstraint(expression == low, f"r{row}")
            continue
        if math.isfinite(low):
            program.addConstraint(expression >= low, f"r{row}")
        if math.isfinite(high):
            program.addConstraint(expression <= high, f"r{row}u")
    return program, variables


def _rows(
    model: LinearModel, variables: list[pulp.LpVariable]
) -> Iterator[tuple[float, float, list[tuple[pulp.LpVariable, float]]]]:
    """Yield bounds and terms of each row."""
    ends = np.searchsorted(model.rows, np.arange(len(model.row_lower) + 1)).tolist()
    columns, values = model.columns.tolist(), model.values.tolist()
    for row, (first, last) in enumerate(pairwise(ends)):
        terms = [
            (variables[c], v) for c, v in zip(columns[first:last], values[first:last], strict=True)
        ]
        yield float(model.row_lower[row]), float(model.row_upper[row]), terms


class _CbcProcess:
    def __init__(self, model: LinearModel, limits: BackendLimits, folder: str) -> None:
        self.model, self.limits, self.folder = model, limits, Path(folder)
        self.bound: float | None = None
        self.best: float | None = None

    def run(
        self, program: pulp.LpProblem, variables: list[pulp.LpVariable], warm: bool
    ) -> BackendResult:
        """Write the files, run CBC, read its result."""
        cbc = pulp.COIN_CMD(path=pulp_cbc_path, msg=False)
        mps, begin, solution = (str(self.folder / f"model.{end}") for end in ("mps", "mst", "sol"))
        order, names, row_names, _ = program.writeMPS(mps, rename=True)
        command = [cbc.path, mps]
        if warm:
            cbc.writesol(begin, program, order, names, row_names)
            command += ["-mips", begin]
        seed = str(self.limits.seed % 2**31)
        command += ["-ratio", "0", "-allow", "0", "-randomSeed", seed, "-randomCbcSeed", seed]
        command += ["-log", "1", "-solve", "-printingOptions", "all", "-solution", solution]
        guard = [sys.executable, "-I", "-S", guard_file, str(self.folder)]
        limits = self.limits
        child = start(guard + command)
        why, tail = follow(child, limits.remaining, limits.interrupted, self._read, GRACE)
        asked = None if why is None else StopReason(why)
        if not Path(solution).exists():
            if asked is not None or limits.remaining() == 0.0:  # it may crash at its time limit
                return BackendResult(asked or StopReason.TIME_LIMIT, None, self.bound)
            status = child.returncode
            raise SolverError(f"CBC ended with status {status} without an answer: {tail[-300:]}")
        status, values, *_, found = cbc.readsol_MPS(solution, program, order, names, row_names)
        x = np.array([values[v.name] for v in variables])
        if status == pulp.LpStatusInfeasible:  # "Infeasible", or "Integer infeasible"
            return BackendResult(StopReason.INFEASIBLE)
        if found == pulp.LpSolutionOptimal:
            return BackendResult(StopReason.OPTIMAL, x, self.model.objective(x))
        best = x if found == pulp.LpSolutionIntegerFeasible else None
        return BackendResult(asked or StopReason.TIME_LIMIT, best, self.bound)

    def _read(self, line: str) -> None:
        """Read bound and best objective from a line of CBC's log."""
        if found := re.search(r"(\S+) best solution, best possible (\S+)", line):
            best, bound = float(found[1]), float(found[2])
            self.best = best if best < 1e40 else self.best
        elif found := re.match(r"Lower bound:\s+(\S+)", line):
            bound = float(found[1])
        else:
            return
        self.bound = bound - PRINTED * abs(bound)
        self.limits.progress(self.bound, self.best)
