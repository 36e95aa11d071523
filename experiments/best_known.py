"""Update ``instances/best_known.csv``: the best loss and bound known of the suites' instances.

    python experiments/best_known.py --suite demo --solver auto --solver milp --limit 60

Rows only improve: a loss is replaced by a lower one, a bound by a higher one, each with the solver,
its version and the seconds of that run. A loss is that of a kept schedule which the checker has
replayed. An instance that has changed (another digest) starts anew. Finished runs are kept in the
jobs folder and the table is rewritten after each, so an interrupted call goes on where it was.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path

import click
from msgspec import Struct
from msgspec.structs import asdict, replace

from pats_opt.generate.suites import suite, suites
from pats_opt.model.checker import check
from pats_opt.model.files import read_bytes, read_instance, read_schedule, write_bytes
from pats_opt.model.loss import gap
from pats_opt.model.problem import Problem
from pats_opt.report.config import instance_info, solver_info
from pats_opt.runs.engine import RunEngine, open_pool
from pats_opt.runs.instances import InstanceFile, instance_files
from pats_opt.runs.record import Record, RunConfig, Task
from pats_opt.runs.task import perform_missing
from pats_opt.spreadsheet import csv_text

TABLE = Path(__file__).parents[1] / "instances" / "best_known.csv"

#: A bound meets a loss where the gap is at most this share of it.
PROVEN = 1e-6

#: Seconds that a run may take for its set-up and its end besides its limit.
GRACE_S = 300.0


class Known(Struct, frozen=True):
    """Best known loss and bound of an instance, each with the solver and the run that found it."""

    suite: str
    instance: str
    sha256: str
    loss: float | None = None
    solver: str = ""
    version: str = ""
    seconds: float | None = None
    bound: float | None = None
    bounder: str = ""
    bounder_version: str = ""
    bounder_seconds: float | None = None
    gap: float | None = None
    proven: bool = False

    def improved(self, loss: float | None, record: Record) -> Known:
        """This row with a run taken in, where it is better.

        Args:
            loss: Loss of the run's schedule as the checker has it, or None.
            record: The run.

        Raises:
            click.ClickException: The bound and the loss contradict each other.
        """
        found, bound = self, record.bound
        solver, version = record.config.solver.spec, record.config.version
        seconds = round(record.seconds, 1)
        if loss is not None and (self.loss is None or loss < self.loss - 1e-9):
            found = replace(found, loss=loss, solver=solver, version=version, seconds=seconds)
        if bound is not None and (self.bound is None or bound > self.bound + 1e-9):
            found = replace(
                found,
                bound=bound,
                bounder=solver,
                bounder_version=version,
                bounder_seconds=seconds,
            )
        if found.loss is None or found.bound is None:
            return found
        slack = PROVEN * max(1.0, found.loss)
        if found.bound > found.loss + slack:
            raise click.ClickException(
                f"{self.instance}: bound {found.bound} of {found.bounder} is above loss "
                f"{found.loss} of {found.solver}: one of them is wrong"
            )
        return replace(
            found, gap=gap(found.loss, found.bound), proven=found.bound >= found.loss - slack
        )


def read_table(path: Path) -> dict[str, Known]:
    """The rows of a table by instance name; none where there is no file."""
    if not path.exists():
        return {}
    rows = csv.DictReader(io.StringIO(read_bytes(path).decode()))
    numbers = ("loss", "seconds", "bound", "bounder_seconds", "gap")
    return {
        row["instance"]: Known(
            **{name: float(row[name]) if row[name] else None for name in numbers},
            **{name: text for name, text in row.items() if name not in {*numbers, "proven"}},
            proven=row["proven"] == "yes",
        )
        for row in rows
    }


def write_table(path: Path, known: dict[str, Known]) -> None:
    """Write the rows of which something is known, suite by suite; suites from files come last."""
    rows, order = [], {name: i for i, name in enumerate(suites())}
    places = {"loss": 9, "bound": 9, "gap": 6, "seconds": 1, "bounder_seconds": 1}
    last = len(order)
    told = [row for row in known.values() if row.loss is not None or row.bound is not None]
    for row in sorted(told, key=lambda r: (order.get(r.suite, last), r.suite, r.instance)):
        cells = asdict(row)
        cells["proven"] = "yes" if row.proven else "no"
        for name, digits in places.items():
            cells[name] = "" if cells[name] is None else f"{cells[name]:.{digits}f}"
        rows.append(cells.values())
    write_bytes(path, csv_text(Known.__struct_fields__, rows).encode())


def checked_loss(record: Record, source: InstanceFile, folder: Path) -> float | None:
    """Loss of a run's schedule, replayed from its file; None where there is none or it is wrong."""
    if record.schedule is None:
        return None
    instance = read_instance(source.file)
    verdict = check(Problem(instance), read_schedule(folder / record.schedule))
    return verdict.loss if verdict.ok else None


def update(
    known: dict[str, Known],
    tasks: dict[str, tuple[InstanceFile, Task]],
    jobs: int,
    written: Callable[[], None],
) -> None:
    """Take finished runs into the table, and do those that are missing.

    Args:
        known: The rows by instance, which change.
        tasks: Instance and run, by the run's key.
        jobs: Runs at a time.
        written: Called after each change.
    """

    def keep(record: Record) -> None:
        source, task = tasks[record.config.key]
        loss = checked_loss(record, source, Path(task.folder))
        row = known[source.instance.name].improved(loss, record)
        known[row.instance] = row
        written()
        found = f"loss {loss}, bound {record.bound}, {record.seconds:.1f} s"
        proven = ", proven" if row.proven else ""
        print(f"{row.instance}: {record.config.solver.spec}: {found}{proven}", file=sys.stderr)

    with open_pool(RunEngine.PROCESS, jobs, fresh=True) as pool:
        perform_missing([task for _, task in tasks.values()], pool, GRACE_S, keep)


@click.command()
@click.option("--suite", "names", multiple=True, help="Suites [all].")
@click.option(
    "--solver", "solvers", multiple=True, default=("auto",), help="Solvers, in turn [auto]."
)
@click.option("--limit", type=float, help="Seconds per run [those of the class].")
@click.option("--jobs", type=int, default=1, show_default=True, help="Runs at a time.")
@click.option(
    "--jobs-dir",
    type=click.Path(path_type=Path),
    default=Path("out/best-known"),
    show_default=True,
    help="Where finished runs are kept.",
)
@click.option("--table", type=click.Path(path_type=Path), default=TABLE, help="The table.")
def main(  # noqa: PLR0917 (options arrive as one argument each)
    names: tuple[str, ...],
    solvers: tuple[str, ...],
    limit: float | None,
    jobs: int,
    jobs_dir: Path,
    table: Path,
) -> None:
    """Run the solvers on the instances that are not proven yet, and keep what is better."""
    known = read_table(table)
    for name in names or tuple(suites()):
        sources = list(instance_files((), (name,), jobs_dir))
        seconds = {group.name: limit or group.time_limit for group in suite(name).classes}
        for instance, _, _ in sources:
            row = known.get(instance.name)
            if row is None or row.sha256 != instance.sha256:
                known[instance.name] = Known(name, instance.name, instance.sha256)
        for spec in solvers:
            tasks = {}
            for source in sources:
                if known[source.instance.name].proven:
                    continue
                config = RunConfig(
                    instance=instance_info(source, jobs_dir),
                    solver=solver_info(spec),
                    time_limit=seconds[source.group],
                    seed=0,
                )
                task = Task(config=config, instance=str(source.file), folder=str(jobs_dir))
                tasks[config.key] = source, task
            update(known, tasks, jobs, lambda: write_table(table, known))


if __name__ == "__main__":
    main()
