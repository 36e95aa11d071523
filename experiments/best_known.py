"""Update ``instances/best_known.csv``: the best loss and bound known of the suites' instances.

    python experiments/best_known.py --suite demo --solver cpsat --solver milp --time-limit 60

Rows only improve: a loss is replaced by a lower one, a bound by a higher one, and each result has
passed the checker. An instance that has changed (another digest) starts anew. The file is rewritten
after each run, so an interrupt loses nothing.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from msgspec import Struct
from msgspec.structs import asdict, replace

import pats_opt
from pats_opt.errors import PatsError
from pats_opt.generate.suites import instances, suites
from pats_opt.model.files import read_bytes, write_bytes
from pats_opt.spreadsheet import csv_text

TABLE = Path(__file__).parents[1] / "instances" / "best_known.csv"

#: A bound meets a loss where the gap is at most this share of it.
PROVEN = 1e-6


class Known(Struct, frozen=True):
    """Best known loss and bound of an instance; ``solver`` found the one, ``bounder`` the other."""

    suite: str
    instance: str
    sha256: str
    loss: float | None = None
    solver: str = ""
    bound: float | None = None
    bounder: str = ""
    proven: bool = False
    version: str = ""

    def improved(self, loss: float | None, bound: float | None, solver: str) -> Known:
        """This row with a result taken in, where it is better."""
        found = self
        if loss is not None and (self.loss is None or loss < self.loss - 1e-9):
            found = replace(found, loss=loss, solver=solver, version=pats_opt.__version__)
        if bound is not None and (self.bound is None or bound > self.bound + 1e-9):
            found = replace(found, bound=bound, bounder=solver, version=pats_opt.__version__)
        if found.loss is None or found.bound is None:
            return found
        slack = PROVEN * max(1.0, found.loss)
        if found.bound > found.loss + slack:
            raise click.ClickException(
                f"{self.instance}: bound {found.bound} of {found.bounder} is above loss "
                f"{found.loss} of {found.solver}: one of them is wrong"
            )
        return replace(found, proven=found.bound >= found.loss - slack)


def read_table(path: Path) -> dict[str, Known]:
    """The rows of a table by instance name; none where there is no file."""
    if not path.exists():
        return {}
    rows = csv.DictReader(io.StringIO(read_bytes(path).decode()))
    return {
        row["instance"]: Known(
            suite=row["suite"],
            instance=row["instance"],
            sha256=row["sha256"],
            loss=float(row["loss"]) if row["loss"] else None,
            solver=row["solver"],
            bound=float(row["bound"]) if row["bound"] else None,
            bounder=row["bounder"],
            proven=row["proven"] == "yes",
            version=row["version"],
        )
        for row in rows
    }


def write_table(path: Path, known: dict[str, Known]) -> None:
    """Write the rows, in the order of the suites."""
    rows, order = [], list(suites())
    for row in sorted(known.values(), key=lambda r: (order.index(r.suite), r.instance)):
        cells = asdict(row)
        cells["proven"] = "yes" if row.proven else "no"
        for key in ("loss", "bound"):
            cells[key] = "" if cells[key] is None else f"{cells[key]:.9f}"
        rows.append(cells.values())
    write_bytes(path, csv_text(Known.__struct_fields__, rows).encode())


def runs(names: tuple[str, ...]) -> Iterator[tuple[str, pats_opt.Instance]]:
    """Each instance of the suites, with the suite's name."""
    for name in names or tuple(suites()):
        for instance in instances(name):
            yield name, instance


@click.command()
@click.option("--suite", "names", multiple=True, help="Suites [all].")
@click.option(
    "--solver", "solvers", multiple=True, default=("auto",), help="Solvers, in turn [auto]."
)
@click.option("--time-limit", type=float, default=60.0, show_default=True, help="Seconds per run.")
@click.option("--jobs", type=int, default=1, show_default=True, help="Threads of a solver.")
@click.option("--table", type=click.Path(path_type=Path), default=TABLE, help="The table.")
def main(
    names: tuple[str, ...], solvers: tuple[str, ...], time_limit: float, jobs: int, table: Path
) -> None:
    """Run the solvers on the instances that are not proven yet, and keep what is better."""
    known = read_table(table)
    for suite, instance in runs(names):
        row = known.get(instance.name)
        if row is None or row.sha256 != instance.sha256:
            row = Known(suite=suite, instance=instance.name, sha256=instance.sha256)
        for solver in solvers:
            if row.proven:
                break
            try:
                result = pats_opt.solve(instance, solver, time_limit=time_limit, jobs=jobs)
            except PatsError as error:
                print(f"{instance.name}: {solver}: {error}", file=sys.stderr)
                continue
            row = row.improved(result.loss, result.bound, solver)
            known[instance.name] = row
            write_table(table, known)
            print(
                f"{instance.name}: {solver}: loss {result.loss}, bound {result.bound}, "
                f"{result.runtime_s:.1f} s{', proven' if row.proven else ''}",
                file=sys.stderr,
            )


if __name__ == "__main__":
    main()
