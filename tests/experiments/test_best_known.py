"""Best known values only improve, count checked schedules only, and survive an interruption."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from pats_opt.runs.record import Record
from tests.experiments.test_figures import ROOT

SCRIPT = runpy.run_path(str(ROOT / "experiments" / "best_known.py"))
SUITE = (
    'about = "Tiny"\nrecipe = { requests = 4, popularity = { adapters = 2 } }\n'
    '[[classes]]\nname = "tiny"\nseeds = [0, 1]\ntime_limit = 20\n'
)


@pytest.fixture
def update(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run the script on a suite of two instances; return the rows by instance."""
    (tmp_path / "tiny.toml").write_text(SUITE)

    def run(*solvers: str) -> dict[str, Any]:
        table = tmp_path / "known.csv"
        options = [f"--suite={tmp_path / 'tiny.toml'}", f"--jobs-dir={tmp_path / 'jobs'}"]
        options += [f"--table={table}", *(f"--solver={solver}" for solver in solvers)]
        done = CliRunner().invoke(SCRIPT["main"], options, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        rows: dict[str, Any] = SCRIPT["read_table"](table)
        return rows

    return run


def test_rows_only_improve(update: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """A bound is kept of the one run, a schedule of another; what is proven is not run again."""
    first = update("fifo")
    assert all(row.bound is None and row.solver == "fifo" for row in first.values())
    second = update("exact", "fifo")
    for name, row in second.items():
        assert row.proven
        assert row.bounder == "exact"
        assert row.loss <= first[name].loss
        assert row.gap == 0
        assert row.seconds is not None
    kept = {path.name for path in (tmp_path / "jobs" / "runs").iterdir()}
    assert update("local-search") == second
    assert {path.name for path in (tmp_path / "jobs" / "runs").iterdir()} == kept


def test_finished_runs_are_kept(update: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """Where the table is lost, and one of the two runs, only that one is done again."""
    before = update("fifo")
    (tmp_path / "known.csv").unlink()
    lost, kept = sorted((tmp_path / "jobs" / "runs").iterdir())
    lost.unlink()
    written = kept.stat().st_mtime_ns
    after = update("fifo")
    assert {n: row.loss for n, row in after.items()} == {n: row.loss for n, row in before.items()}
    assert kept.stat().st_mtime_ns == written
    assert lost.exists()


def test_a_schedule_that_the_checker_refuses_does_not_count(
    update: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    update("fifo")
    (tmp_path / "known.csv").unlink()
    for path in (tmp_path / "jobs" / "schedules").iterdir():
        path.write_text(re.sub(r'"completion": ?\d+', '"completion": 0', path.read_text()))
    assert update("fifo") == {}


def test_a_bound_above_the_loss_is_an_error(
    update: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    from msgspec.structs import replace

    from pats_opt.model.parsing import convert, parse_json

    (row, _) = update("exact").values()
    path = min((tmp_path / "jobs" / "runs").iterdir())
    record: Record = convert(parse_json(path.read_bytes()), Record)
    with pytest.raises(click.ClickException, match="one of them is wrong"):
        row.improved(None, replace(record, bound=row.loss + 1))


def test_the_committed_table_is_of_the_suites() -> None:
    """Each row's digest is that of the instance, and proven rows have a gap of 0."""
    from pats_opt.generate.suites import instances

    rows = SCRIPT["read_table"](SCRIPT["TABLE"])
    assert rows
    made = {i.name: i.sha256 for name in {r.suite for r in rows.values()} for i in instances(name)}
    for row in rows.values():
        assert row.sha256 == made[row.instance]
        assert row.loss is not None
        assert row.bound is not None
        assert row.bound <= row.loss + 1e-6 * max(1.0, row.loss)
        assert row.proven == (row.loss - row.bound <= 1e-6 * max(1.0, row.loss))
