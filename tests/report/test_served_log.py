"""``gap-report --log``: the schedule of a server beside those of policies, by window."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pats_opt.cli import run
from pats_opt.errors import InputError
from pats_opt.model.checker import check
from pats_opt.model.files import parse_instance, write_instance
from pats_opt.model.problem import Problem
from pats_opt.report.served_log import served_instances, site_file
from pats_opt.solving.solve import solve
from tests.support.zoo import adapter, document, gpu, request


def row(name: str, at: str, start: str | None, **others: Any) -> dict[str, Any]:
    """A line of a log: an image of one step, for adapter ``a``."""
    given = {
        "id": name,
        "arrival_time": f"2026-11-30T{at}+00:00",
        "model": "a",
        "options": [{"steps": 1, "quality": 0.5}, {"steps": 2, "quality": 1.0}],
        "demand": {"vram_gib": 1.0},
        "status": "ok" if start else "expired",
        "steps_run": 2 if start else None,
        "gpu": "gpu-0" if start else None,
        "start_time": f"2026-11-30T{start}+00:00" if start else None,
        "resident": ["a"] if start else [],
    }
    return {**given, **others}


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows, and beside them the server: one GPU, adapters of a second, steps of a second."""

    def write(*rows: dict[str, Any]) -> Path:
        path = tmp_path / "requests.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in rows))
        given = document(
            request("r0"),
            tick_s=0.5,
            gpus=[gpu(resident=())],
            adapters=[adapter("a", 1.0), adapter("b", 1.0)],
        )
        site = parse_instance(json.dumps(given))
        write_instance(replace(site, requests=()), tmp_path / "requests.site.json")
        return path

    return write


ROWS = (
    row("r0", "08:00:00.000", "08:00:01.000000"),
    row(
        *("r1", "08:00:00.500", "08:00:03.200000"),
        model="b",
        resident=["b"],
        steps_run=1,
    ),
    row("gone", "08:00:01.000", None, status="cancelled"),
    row("late", "08:30:00.000", None, deadline_s=1.0),
    row("r2", "09:10:00.000", "09:10:00.000000", model="b", resident=["b"]),
)


def test_the_schedule_is_rebuilt(log: Callable[..., Path]) -> None:
    """By hand: r0 waits for its load and takes 2 s, r1 for another load, half a second more."""
    first, second = served_instances(log(*ROWS), 3600.0)
    assert (first.name, second.name) == ("2026-11-30T08:00", "2026-11-30T09:00")
    assert [r.id for r in first.requests] == ["r0", "r1", "late"]
    found = solve(first, "served")
    verdict = check(Problem(first), found.schedule)
    assert verdict.ok
    # Latencies 3 and 4.5; qualities 0 and 0.5; the third expires after a second; two loads.
    assert found.loss == pytest.approx(3 + 4.5 + 0.5 + (1 + 1) + 2)
    (batches,) = [plan.batches for plan in found.schedule.gpus]
    assert [batch.start for batch in batches] == [2, 8]
    details = found.details
    assert (details["batches"], details["moved"], details["longest_move_s"]) == (2, 1, 0.5)
    assert second.gpus[0].resident == ("b",)  # as the window before left it
    assert solve(second, "served").loss == pytest.approx(2.0)


def test_an_instance_without_a_record() -> None:
    given = parse_instance(json.dumps(document(request("r0"))))
    with pytest.raises(InputError, match="no record of its serving"):
        solve(given, "served")


def test_the_command(
    log: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["gap-report", "--log", str(log(*ROWS)), "--no-pictures", "-o", str(out)]
    assert run([*command, "--solvers", "dp,fifo", "--jobs", "1"]) == 0
    told = capsys.readouterr().out
    assert "gap to the optimum by window" in told
    assert "2026-11-30T09:00" in told
    capsys.readouterr()
    assert run(["gap-report", "--resume", "--json", "--jobs", "1", "-o", str(out)]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    served = {r["instance"]: r["loss"] for r in runs if r["solver"] == "served"}
    best = {r["instance"]: r["loss"] for r in runs if r["solver"] == "dp"}
    assert set(served) == set(best) == {"2026-11-30T08:00", "2026-11-30T09:00"}
    assert all(best[name] <= served[name] for name in best)
    assert best["2026-11-30T08:00"] < served["2026-11-30T08:00"]


def test_windows_of_another_length(log: Callable[..., Path]) -> None:
    assert [len(i.requests) for i in served_instances(log(*ROWS), 1800.0)] == [2, 1, 1]
    assert [len(i.requests) for i in served_instances(log(*ROWS), 86400.0)] == [4]


def test_bad_logs(
    log: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(path: Path, *arguments: str) -> str:
        out = tmp_path / "none"
        assert run(["gap-report", "--log", str(path), "-o", str(out), *arguments]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert not out.exists()
        return said.err

    path = log(*ROWS, {"id": "x"})
    assert "line 6" in told(path)
    assert "no image of this log was served" in told(log(ROWS[2]))
    assert "'gpu-7' is not among" in told(log(row("r", "08:00:00.0", "08:00:00.0", gpu="gpu-7")))
    assert "--window needs a log" in run_told(capsys, "gap-report", "--window", "2")
    (tmp_path / "requests.site.json").unlink()
    assert "requests.site.json is missing" in told(path)


def run_told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Standard error of a command with a wrong option."""
    assert run(list(arguments)) == 2
    return capsys.readouterr().err


def test_a_rotated_log_has_the_same_site() -> None:
    assert site_file("x/serve.3.jsonl") == site_file("x/serve.jsonl") == Path("x/serve.site.json")
