"""``gap-report --latency-sweep``: runs at other latency prices, their table, curve and resuming."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from pats_opt import check, read_instance, read_schedule
from pats_opt.cli import run
from pats_opt.report.config import ReportConfig, sweep, tasks
from pats_opt.report.service import tradeoffs
from tests.report.examples import instance, record, solver, table_of

Capture = pytest.CaptureFixture[str]


def test_sweep_from_end_to_end(tmp_path: Path, write: Callable[..., str], capsys: Capture) -> None:
    """Every price is run once, schedules are of the instance's file, pages show the curve."""
    path, out = write("one.json"), tmp_path / "out"
    args = [
        "gap-report",
        "--no-pictures",
        path,
        "--solvers",
        "dp,fifo",
        "-o",
        str(out),
        "--jobs",
        "1",
    ]
    assert run([*args, "--latency-sweep", "0.5,0.05,0,0.5", "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [(r["latency_price"], r["solver"]) for r in runs] == [
        (price, spec) for price in (0.05, 0.0, 0.5) for spec in ("dp", "fifo")
    ]
    lines = list(csv.DictReader(io.StringIO((out / "runs.csv").read_text())))
    assert [float(line["latency_price_per_s"]) for line in lines] == [0.05] * 2 + [0] * 2 + [
        0.5
    ] * 2
    means = [float(line["latency_mean_s"]) for line in lines if line["solver"] == "dp"]
    assert means[2] <= means[0] <= means[1]
    for line in lines:
        schedule = read_schedule(out / line["schedule"])
        assert check(read_instance(path), schedule).ok
    page = (out / "report.html").read_text()
    assert 'aria-label="Loss without latency against latency, one line per solver"' in page
    table = (out / "report.md").read_text().partition("## Latency against everything else")[2]
    assert table.count("\n| one |") == 6
    made = {p: p.stat().st_mtime_ns for p in (out / "runs").iterdir()}
    assert run(["gap-report", "-o", str(out), "--resume"]) == 0
    assert {p: p.stat().st_mtime_ns for p in (out / "runs").iterdir()} == made
    assert run(["gap-report", "-o", str(out), "--resume", "--latency-sweep", "0.5,2"]) == 0
    after = {p: p.stat().st_mtime_ns for p in (out / "runs").iterdir()}
    assert after.items() >= made.items()
    assert len(after) == len(made) + 2


def test_own_price_has_the_key_it_always_had(write: Callable[..., str], tmp_path: Path) -> None:
    """A sweep adds runs; it changes no other, and no two share a key."""
    path = write("one.json")
    plain = ReportConfig(instances=(path,), solvers=("fifo",))
    swept = msgspec.structs.replace(plain, latency_sweep=(0.05, 1.0, 2.0))
    (own,) = tasks(plain, tmp_path)
    first, *others = tasks(swept, tmp_path)
    assert first == own
    assert [task.config.latency_price for task in others] == [1.0, 2.0]
    assert len({task.config.key for task in (first, *others)}) == 3


def test_automatic_prices_go_around_the_instances_own(write: Callable[..., str]) -> None:
    """Rising, on both sides, without its own; around a default where its own is 0."""
    config = ReportConfig(latency_sweep="auto")
    priced, free = (
        read_instance(write(f"{price}.json", latency_price_per_s=price)) for price in (0.2, 0.0)
    )
    found = sweep(config, priced)
    assert found == sorted(found)
    assert found[0] < 0.2 < found[-1]
    assert 0.2 not in found
    assert 0.05 in sweep(config, free)
    assert sweep(ReportConfig(), priced) == []


@pytest.mark.parametrize("text", ["", "a", "0.1,x", "-1", "nan", "inf", "0.1;0.2"])
def test_bad_prices(text: str, write: Callable[..., str], capsys: Capture) -> None:
    assert run(["gap-report", write("one.json"), "--latency-sweep", text]) == 2
    assert "write prices of at least 0 by commas, or 'auto'" in capsys.readouterr().err


def test_figures_at_another_price_stay_apart() -> None:
    """Bounds and losses of a sweep enter no gap and no mean of the instance itself."""
    a, dp, fifo = instance("a"), solver("dp", "exact"), solver("fifo", "online")
    own = [record(a, dp, 4.0, 4.0), record(a, fifo, 5.0)]
    swept = [record(a, dp, 40.0, 40.0), record(a, fifo, 50.0)]
    at_ten = [
        msgspec.structs.replace(r, config=msgspec.structs.replace(r.config, latency_price=10.0))
        for r in swept
    ]
    records = [*own, *at_ten]
    table = table_of(records)
    assert table.contradictions == ()
    assert table.own["best_bound"].to_list() == [4.0, 4.0]
    assert table.runs.filter("swept")["best_bound"].to_list() == [40.0, 40.0]
    assert table.totals == table_of(own).totals
    (tradeoff,) = tradeoffs(table)
    assert tradeoff.select("solver", "loss").rows() == [
        *(("dp", 4.0), ("dp", 40.0)),
        *(("fifo", 5.0), ("fifo", 50.0)),
    ]
