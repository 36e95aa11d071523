"""``pats-opt warm-up``: compile what solvers need before the first one runs."""

from __future__ import annotations

import time

import click

from pats_opt.cli import common, completing, terminal
from pats_opt.cli.common import Count, option


@click.command("warm-up")
@click.argument("names", metavar="[SOLVER ...]", nargs=-1, shell_complete=completing.specs)
@option("--jobs", "Processes that compile at a time.  [default: all cores]", Count(1))
@common.json_option
def command(names: tuple[str, ...], jobs: int | None, as_json: bool) -> None:
    """Compile the machine code of solvers and policies, all of them by default.

    It is kept in the user's cache (NUMBA_CACHE_DIR names another folder), so that no later command
    waits for it: for images of containers, and for test machines.
    """
    from pats_opt.core import registry
    from pats_opt.solving.preparing import compile_all, kernels_of
    from pats_opt.solving.solve import runnable
    from pats_opt.wording import counted

    known = [runnable(spec) for spec in names or registry.names()]
    solvers = [solver for solver in known if kernels_of(solver, None)]
    sets = {kernels for solver in solvers for kernels in kernels_of(solver, None)}
    missing = sum(not kernels.is_ready() for kernels in sets)
    began = time.monotonic()
    with terminal.progress(missing, lambda name: f"{name} is ready", quiet=as_json) as done:
        compile_all(solvers, jobs, done)
    wall_s = round(time.monotonic() - began, 3)
    if as_json:
        ready = [solver.name for solver in solvers]
        common.print_json({"solvers": ready, "compiled": missing, "wall_s": wall_s})
    else:
        which = f"{counted(len(solvers), 'solver')} {'is' if len(solvers) == 1 else 'are'} ready"
        click.echo(f"{which} after {wall_s:.1f} s")
