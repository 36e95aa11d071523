"""The attacks from outside find mistakes that are planted, and make them smaller."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from tests.campaign.outside import files, inputs, signals
from tests.campaign.outside.command import CASE, Ended, case_folder, faults, forked, spawned
from tests.campaign.outside.mutation import damaged, shrunk

RIGHT = "pats-opt: error: i.json: requests[0].weight: expected a number\n"


@pytest.mark.parametrize(
    ("ended", "fault"),
    [
        (Ended(0, "", ""), None),
        (Ended(2, "", RIGHT), None),
        (Ended(None, "", ""), "it hangs"),
        (Ended(1, "", "KeyError: 'x'"), "exit status 1 (KeyError)"),
        (Ended(-11, "", ""), "exit status -11"),
        (Ended(0, "", "Traceback (most recent call last):"), "a traceback"),
        (Ended(0, "", "/x/y.py:3: UserWarning: z"), "a warning with a path of the source"),
        (Ended(2, "", ""), "exit status 2 with 0 messages"),
        (Ended(2, "", f"note\n{RIGHT}"), "a message of more than one line"),
        (Ended(2, "", RIGHT.replace("0", "\x1b")), "a message that cannot be printed"),
        (Ended(2, "", RIGHT.replace("0", "0" * 900)), "a message of too many characters"),
        (Ended(2, "", RIGHT.replace("i.json", "?")), "a message without the file's name"),
        (Ended(2, "", RIGHT, [f"{CASE}/o.json"]), "files left behind after a failure"),
        (Ended(0, "", "", ["o.json"]), "files outside the folder"),
    ],
)
def test_rules(ended: Ended, fault: str | None) -> None:
    """Each rule broken alone is found alone."""
    assert [*faults(ended, names=("i.json",))] == ([] if fault is None else [fault])


def test_damage_is_of_its_seed_and_of_every_kind() -> None:
    """Most of it is JSON that is wrong somewhere; some repeats keys, some is no text at all."""
    text = files.pair(0)[0]
    broken = [damaged(text, [seed], is_json=True) for seed in range(300)]
    assert broken == [damaged(text, [seed], is_json=True) for seed in range(300)]
    assert len({*broken}) > 250
    twice, parsed = 0, 0

    def count(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        twice += len(pairs) != len(dict(pairs))
        return dict(pairs)

    for each in broken:
        try:
            json.loads(each, object_pairs_hook=count)
        except (ValueError, RecursionError):
            continue
        parsed += 1
    assert twice > 3
    assert 100 < parsed < 290


def test_shrunk() -> None:
    assert shrunk([1, 2, 3, 4], lambda steps: {2, 4} <= {*steps}) == [2, 4]


def test_a_planted_bug_in_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that fails where the weight is no number: found, and shrunk to one change."""
    from pats_opt.model import files as reading

    def careless(instance: Any) -> None:
        {1.0: None}[instance.requests[0].weight]

    monkeypatch.setattr(reading, "validate", careless)
    text = files.pair(0)[0]
    document = json.loads(text)
    document["requests"][0]["weight"] = 1.0
    right = json.dumps(document).encode()
    aim = files.Target("instance", "i.json", {"i.json": right}, ("check", "i.json", "i.json"))
    monkeypatch.setattr(inputs, "target", lambda _: aim)
    found = {}
    for seed in range(20):
        found.update({f.kind: f for f in inputs.attempt(seed, Counter())})
        if finding := found.get("instance check: exit status 1 (KeyError)"):
            break
    assert finding is not None
    small = inputs.smaller(finding)
    assert small.kind == finding.kind
    assert len(small.files["steps"]) <= len(finding.files["steps"])


def test_runs_in_a_fork_and_in_a_process_end_alike() -> None:
    """With their outputs, statuses and files."""
    i, s = files.pair(1)
    with case_folder({"i.json": i, "s.json": s, "x.json": b"{"}) as folder:
        for line in ("check i.json s.json", "check x.json s.json", "schema schedule"):
            one, other = forked(line.split(), folder), spawned(line.split(), folder)
            assert (one.status, one.out, one.err) == (other.status, other.out, other.err)
        generated = forked(["generate", "--requests", "2", "-o", "o.json"], folder)
        assert generated.left == [f"{CASE}/o.json"]


def test_a_process_that_is_left_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And ended."""
    code = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    monkeypatch.setattr(signals, "PROGRAM", (sys.executable, "-c", code))
    monkeypatch.setattr(signals, "ORPHAN_S", 0.2)
    (tmp_path / CASE).mkdir()
    ended, problems = signals.stopped((), tmp_path / CASE, SIGKILL, 2.0)
    assert ended.status == -SIGKILL
    assert problems == ["a process is left"]
