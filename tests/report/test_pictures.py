"""Pictures of schedules: drawn once, again where the schedule is newer, linked where they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pats_opt.cli import run
from pats_opt.report import pictures
from pats_opt.report.config import ReportConfig, saved_config, tasks
from pats_opt.report.gap import gap_report, prepare
from pats_opt.report.pictures import draw_pictures, links
from pats_opt.runs.record import Record
from pats_opt.runs.task import perform
from pats_opt.views.page import script_name

pytestmark = pytest.mark.usefixtures("stubs", "plain")

SPECS = ("steady", "steady:option=1", "bad")


@pytest.fixture
def done(tmp_path: Path, write: Callable[..., str]) -> list[Record]:
    """Two runs with a schedule and one without, in the folder ``out``."""
    config = ReportConfig(instances=(write(),), solvers=SPECS)
    return [perform(task) for task in tasks(config, tmp_path / "out")]


def test_a_picture_is_drawn_once(tmp_path: Path, done: list[Record]) -> None:
    """And again once its schedule is newer; meanwhile nothing links to the old one."""
    out, progress = tmp_path / "out", list[str]()

    @contextmanager
    def watch(total: int) -> Iterator[Callable[[str], None]]:
        progress.append(str(total))
        yield progress.append

    first, second, _ = (record.config.key for record in done)
    assert draw_pictures(out, done, watch=watch) == []
    assert progress == ["2", first, second]
    assert links(out) == {key: f"pictures/{key}.html" for key in (first, second)}
    page = out / "pictures" / f"{first}.html"
    assert f'src="./{script_name()}"' in page.read_text()
    assert (out / "pictures" / script_name()).is_file()
    drawn = page.stat().st_mtime_ns
    assert draw_pictures(out, done, watch=watch) == []
    os.utime(out / "schedules" / f"{first}.json", ns=(drawn + 10**9, drawn + 10**9))
    assert set(links(out)) == {second}
    assert draw_pictures(out, done, watch=watch) == []
    assert progress == ["2", first, second, "1", first]


def test_a_failing_picture_fails_alone(tmp_path: Path, done: list[Record]) -> None:
    out = tmp_path / "out"
    first, second, _ = (record.config.key for record in done)
    (out / "schedules" / f"{first}.json").write_text("{")
    (error,) = draw_pictures(out, done)
    assert error.startswith(f"no picture of {first}.json: ")
    assert len(error.splitlines()) == 1
    assert set(links(out)) == {second}


def test_pictures_are_drawn_in_processes(
    tmp_path: Path, done: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as allowed, where there are enough pictures; failures there are reported as well."""
    monkeypatch.setattr(pictures, "FEW", 1)
    out = tmp_path / "out"
    first, second, _ = (record.config.key for record in done)
    (out / "schedules" / f"{first}.json").write_text("{")
    (error,) = draw_pictures(out, done, jobs=2)
    assert error.startswith(f"no picture of {first}.json: ")
    assert set(links(out)) == {second}


def test_an_interrupt_keeps_what_is_drawn(
    tmp_path: Path, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is written with the pictures that are there; resuming draws the rest."""
    out = tmp_path / "out"
    config = ReportConfig(instances=(write(),), solvers=SPECS[:2])
    to_do = prepare(config, out)

    @contextmanager
    def stop_after_one(_: int) -> Iterator[Callable[[str], None]]:
        def done(_: str) -> None:
            raise KeyboardInterrupt

        yield done

    report = gap_report(config, out, to_do, watch=stop_after_one)
    assert report.missing == 0
    assert len(links(out)) == 1
    (link,) = links(out).values()
    assert (out / "report.html").read_text().count('href="pictures/') == 1
    assert f'href="{link}"' in (out / "report.html").read_text()
    again = gap_report(config, out, to_do)
    assert (again.undrawn, len(links(out))) == ((), 2)
    assert (out / "report.html").read_text().count('href="pictures/') == 2


def test_the_option_is_kept(tmp_path: Path, write: Callable[..., str]) -> None:
    """``--no-pictures`` draws none, and resuming keeps to it until the option changes."""
    out = tmp_path / "out"
    args = ["gap-report", "-o", str(out), "--resume"]
    assert run([*args, write(), "--solvers", "steady", "--no-pictures"]) == 0
    assert not (out / "pictures").exists()
    assert "pictures/" not in (out / "report.html").read_text()
    kept = saved_config(out)
    assert kept is not None
    assert not kept.pictures
    assert run(args) == 0
    assert not (out / "pictures").exists()
    assert run([*args, "--pictures"]) == 0
    assert len(links(out)) == 1
