"""The campaign itself: what it counts, finds, keeps and repeats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.campaign import __main__, table
from tests.campaign.campaign import PROGRESS, Campaign
from tests.campaign.planted import DYING, HANGING, ODD, QUIET, WRONG


def test_findings_crashes_and_hangs_of_one_campaign(tmp_path: Path) -> None:
    """Equal findings are counted once, made smaller and written; the other attacks go on."""
    lines: list[str] = []
    campaign = Campaign(tmp_path, 7, (QUIET, ODD, WRONG, DYING, HANGING), lines.append)
    campaign.run(3.0, jobs=2)
    found = {kept.finding.attack: kept for kept in campaign.progress.found.values()}
    assert found.keys() == {"odd", "wrong", "dying", "hanging"}
    odd = campaign.progress.tallies["odd"]
    assert found["odd"].times == (odd.tries + 1) // 2 > 1
    assert (found["odd"].finding.files, found["odd"].finding.seed) == ({"number": 1}, 7_000_001)
    assert found["wrong"].finding.kind == "ZeroDivisionError in planted.py"
    assert found["hanging"].finding.kind == "hang"
    assert "SIGABRT" in found["dying"].finding.kind
    written = json.loads((tmp_path / "odd-odd.json").read_text())
    assert written["repeat"] == "python -m tests.campaign --only odd --repeat 7000001"
    quiet = campaign.progress.tallies["quiet"]
    assert quiet.counts["instances"] == quiet.tries > 10
    text = table.write(campaign)
    assert f"{quiet.tries:,} instances; 0 kills" in text
    assert f"quiet,tries,,{quiet.tries}\n" in (tmp_path / "campaign.csv").read_text()
    assert f"| odd | {found['odd'].times} |" in text
    assert any(line.startswith("FOUND odd") for line in lines)


def test_a_campaign_goes_on_where_it_ended(tmp_path: Path) -> None:
    """With the seeds, counts and time of the part before."""
    first = Campaign(tmp_path, 7, (QUIET,), print)
    first.run(0.5, jobs=1)
    second = Campaign(tmp_path, 8, (QUIET,), print)
    tries = first.progress.tallies["quiet"].tries
    assert second.progress == first.progress
    second.run(second.progress.seconds + 0.5, jobs=1)
    assert second.progress.tallies["quiet"].tries > tries
    assert second.progress.tallies["quiet"].counts["instances"] > tries


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 1 for findings, 0 for none; one try again by its seed; no folder twice."""
    monkeypatch.setattr(__main__, "ATTACKS", {a.name: a for a in (QUIET, ODD)})

    def status(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(__main__.main, arguments)
        return done.exit_code, done.output

    folder = str(tmp_path / "campaign")
    few = ("--minutes", "0.01", "--seed", "3", "--jobs", "1", "-o", folder)
    assert status(*few, "--only", "quiet")[0] == 0
    assert (tmp_path / "campaign" / PROGRESS).exists()
    assert status(*few, "--only", "quiet")[0] == 2
    code, output = status(*few[2:], "--minutes", "0.02", "--resume", "--only", "quiet,odd")
    assert code == 1
    assert "| odd |" in output
    assert status("--only", "odd", "--repeat", "5")[0] == 1
    assert "5 is odd" in status("--only", "odd", "--repeat", "5")[1]
    assert status("--only", "odd", "--repeat", "4")[0] == 0
    assert "there are: quiet, odd" in status("--only", "evn")[1]


def test_ctrl_c_ends_with_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was tried so far, and the shell's status of an interrupt."""

    def interrupted(campaign: Campaign, seconds: float, jobs: int) -> None:
        campaign.progress.tallies["quiet"].tries = 5
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "ATTACKS", {"quiet": QUIET})
    monkeypatch.setattr(Campaign, "run", interrupted)
    done = CliRunner().invoke(__main__.main, ["-o", str(tmp_path)])
    assert done.exit_code == 130
    assert "| finds nothing (`quiet`) | 5 |" in done.output
    assert (tmp_path / "campaign.md").exists()
