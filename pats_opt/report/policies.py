"""Several policies on one instance: the runs of a report, without a folder that is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pats_opt.model.files import write_instance
from pats_opt.model.instance import Instance
from pats_opt.report.collect import Table, collect
from pats_opt.report.config import ReportConfig, tasks
from pats_opt.runs.engine import RunEngine, open_pool
from pats_opt.runs.record import Record
from pats_opt.runs.task import perform_missing


def policy_table(
    instance: Instance,
    policies: Sequence[str],
    *,
    time_limit: float | None = None,
    seed: int = 0,
    done: Callable[[Record], None] = lambda _: None,
) -> Table:
    """Simulate policies on an instance in worker processes.

    Args:
        instance: The instance.
        policies: Their specs.
        time_limit: Seconds for each; None for no limit.
        seed: Seed of every random choice.
        done: Called with each record.
    """
    records: list[Record] = []

    def keep(record: Record) -> None:
        records.append(record)
        done(record)

    with TemporaryDirectory(prefix="pats-opt-") as folder:
        file = Path(folder) / "instance.json"
        write_instance(instance, file)
        config = ReportConfig(
            instances=(str(file),), solvers=tuple(policies), time_limit=time_limit, seed=seed
        )
        to_do = tasks(config, Path(folder))
        with open_pool(RunEngine.PROCESS) as pool:
            perform_missing(to_do, pool, config.grace_s, keep)
    return collect(to_do, records)
