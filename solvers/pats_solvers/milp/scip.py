"""SCIP through MathOpt, in this process: it takes a start, and stops when asked."""

from __future__ import annotations

import threading
from typing import Any

from ortools.math_opt.python import mathopt
from ortools.util.python.solve_interrupter import SolveInterrupter

from pats_solvers.milp.backends import Answer, Limits
from pats_solvers.milp.mathopt import answer, native, parameters
from pats_solvers.milp.model import Floats, Model

#: Seconds between two looks at the user's wish to stop.
POLL = 0.05


def solve(model: Model, limits: Limits, hint: Floats | None) -> Answer:
    """Solve with SCIP in a thread, so that Ctrl-C reaches this one."""
    program = native(model)
    params = parameters(limits.seed, limits.remaining())
    params.threads = 1
    params.enable_output = False
    interrupter = SolveInterrupter()
    start = mathopt.ModelSolveParameters()
    if hint is not None:
        values = dict(zip(program.variables(), hint.tolist(), strict=True))
        start.solution_hints.append(mathopt.SolutionHint(variable_values=values))
    done: list[Any] = []

    def work() -> None:
        try:
            done.append(
                mathopt.solve(
                    program,
                    mathopt.SolverType.GSCIP,
                    params=params,
                    model_params=start,
                    msg_cb=lambda lines: _report(lines, limits),
                    interrupter=interrupter,
                )
            )
        except Exception as error:  # noqa: BLE001 - handed to the waiting thread
            done.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL)
        if limits.interrupted():
            interrupter.interrupt()
    if isinstance(done[0], Exception):
        raise done[0]
    return answer(model, done[0])


def _report(lines: list[str], limits: Limits) -> None:
    """Bound and best objective from a line of SCIP's table."""
    for line in lines:
        cells = line.split("|")
        if len(cells) < 6:
            continue
        try:
            bound = float(cells[-4])
        except ValueError:
            continue
        try:
            best: float | None = float(cells[-3])
        except ValueError:
            best = None  # "--" while there is none
        limits.progress(bound, best)
