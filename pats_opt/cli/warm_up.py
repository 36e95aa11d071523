"""``pats-opt warm-up``: compile what solvers need before the first one runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli import common, completing, terminal
from pats_opt.cli.common import Count, option

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Solvers whose code others use too. They go first, each in a process, and the others find it.
FIRST = ("dp", "lagrangian", "local-search")


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
    from pats_opt.runs.record import cores
    from pats_opt.wording import counted

    known = list(names) or registry.names()
    specs = [spec for spec in known if hasattr(registry.make(spec), "prepare")]
    first = [spec for spec in specs if spec in FIRST]
    rest = [spec for spec in specs if spec not in FIRST]
    began, seconds = time.monotonic(), dict[str, float]()
    with terminal.progress(len(specs), lambda spec: f"{spec} is ready", quiet=as_json) as done:
        for part in (first, rest):
            _compile(part, jobs or cores(), seconds, done)
    if as_json:
        common.print_json({"seconds": seconds, "wall_s": round(time.monotonic() - began, 3)})
    else:
        which = f"{counted(len(specs), 'solver')} {'is' if len(specs) == 1 else 'are'} ready"
        click.echo(f"{which} after {time.monotonic() - began:.1f} s")


def _compile(specs: Sequence[str], jobs: int, seconds: dict[str, float], done: Any) -> None:
    """Compile for some solvers, each in a process; add the seconds of each."""
    from concurrent.futures import as_completed

    from pats_opt.runs.pool import WorkerPool

    with WorkerPool(jobs) as pool:
        futures = {pool.submit(ready, spec): spec for spec in specs}
        for future in as_completed(futures):
            seconds[futures[future]] = round(future.result(), 3)
            done(futures[future])


def ready(spec: str) -> float:
    """Compile what a solver needs for any problem; return the seconds that it took."""
    from pats_opt.solving.solve import prepare, runnable

    began = time.monotonic()
    prepare(runnable(spec))
    return time.monotonic() - began
