"""Output that only terminals get: progress, colours, tables; ``pats-opt solvers``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pats_opt.cli import run
from pats_opt.cli.terminal import Watch
from pats_opt.model.files import encode
from tests.support.terminal import COLOUR, environment, in_terminal
from tests.support.zoo import document, gpu, request

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """An instance of 12 requests and a schedule of it."""
    folder = tmp_path_factory.mktemp("terminal")
    made = document(
        *(request(f"r{n}", arrival_s=float(n)) for n in range(12)),
        gpus=[gpu(batch=2)],
        latency_price_per_s=0.01,
    )
    instance, schedule = folder / "instance.json", folder / "schedule.json"
    instance.write_bytes(encode(made))
    assert run(["solve", str(instance), "--solver", "pats", "-o", str(schedule)]) == 0
    return str(instance), str(schedule)


def test_solve_shows_progress_and_a_table(files: tuple[str, str]) -> None:
    """Live lines with who is at work, loss, bound and gap, wiped; then the result in colours."""
    shown = in_terminal(["solve", files[0], "--solver", "exact", "--time-limit", "20"])
    assert shown.status == 0
    live, _, result = shown.raw.rpartition("\x1b[?25h")
    assert "\x1b[?25l" in live  # the cursor is hidden while they are there
    assert "of 20 s" in live
    assert any(who in live for who in ("exact", "dp", "pats"))
    assert "\x1b[2K" in live + result
    assert COLOUR.search(result)
    for name in ("solver", "loss", "bound", "terms", "served"):
        assert name in result


@pytest.mark.parametrize(
    ("extra", "colours", "codes"),
    [({"NO_COLOR": "1"}, False, True), ({"TERM": "dumb"}, False, False), ({}, True, True)],
)
def test_colours_can_be_refused(
    files: tuple[str, str], extra: dict[str, str], colours: bool, codes: bool
) -> None:
    """``NO_COLOR`` takes colours away, a dumb terminal gets no control code at all."""
    for arguments in (
        ["solve", files[0], "--solver", "pats"],
        ["check", *files],
        ["simulate", files[0], "--policy", "fifo"],
        ["solvers", "pats"],
    ):
        shown = in_terminal(arguments, extra=extra)
        assert shown.status == 0, shown.text
        assert bool(COLOUR.search(shown.raw)) == colours, arguments
        assert ("\x1b" in shown.raw) == codes, arguments


@pytest.mark.parametrize(
    ("arguments", "longest"),
    [
        (["solve", "{0}", "--solver", "pats"], 60),
        (["check", "{0}", "{1}"], 10),
        (["simulate", "{0}", "--policy", "fifo"], 100),
        (["solvers", "dp"], 150),
    ],
)
def test_a_pipe_gets_plain_lines(
    files: tuple[str, str], arguments: list[str], longest: int
) -> None:
    """No escape and no progress, whatever ``FORCE_COLOR`` says, and no line is folded."""
    done = subprocess.run(
        [sys.executable, "-m", "pats_opt", *(a.format(*files) for a in arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=environment({"FORCE_COLOR": "1", "COLUMNS": "40"}),
    )
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) > longest


def test_json_on_a_terminal_is_one_object(files: tuple[str, str]) -> None:
    """With ``--json`` there are neither progress nor colours, on a terminal either."""
    shown = in_terminal(["solve", files[0], "--solver", "pats", "--json"])
    assert "\x1b" not in shown.raw
    assert json.loads(shown.raw)["loss"] > 0


def test_a_log_does_not_tear_the_live_lines(files: tuple[str, str]) -> None:
    """With -v each message has a line of its own above them."""
    shown = in_terminal(["-v", "solve", files[0], "--solver", "pats"], columns=120)
    lines = [line for line in shown.text.replace("\r", "\n").split("\n") if "INFO" in line]
    assert lines
    assert all(line.startswith("INFO pats_opt") for line in lines)


def test_check_lists_violations(files: tuple[str, str], tmp_path: Path) -> None:
    """Violations are red on a terminal, folded below their text, and the verdict is no."""
    schedule = json.loads(Path(files[1]).read_text())
    schedule["gpus"][0]["batches"][0]["requests"][0]["id"] = "r0x"
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(schedule))
    shown = in_terminal(["check", files[0], str(path)], columns=60)
    assert shown.status == 3
    told = " ".join(shown.text.split())
    assert "request 'r0x' is unknown; did you mean 'r0'" in told
    assert "valid no" in told
    assert max(map(len, shown.text.splitlines())) <= 60


def test_watch_keeps_the_best() -> None:
    """A worse loss or bound is no news, and each better loss counts once."""
    watch = Watch(None, quiet=True)
    with watch:
        watch.phase("exact", None)
        for bound, loss in ((None, 5.0), (1.0, 4.0), (0.5, 4.5), (2.0, None), (None, 3.0)):
            watch.found(bound, loss)
    assert (watch.loss, watch.bound, watch.improvements) == (3.0, 2.0, 2)


def test_the_table_of_solvers_fits(capsys: Capture) -> None:
    """On 80 columns no line is longer; each name and what it lacks is there, grouped by kind."""
    assert run(["solvers", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    shown = in_terminal(["solvers"])
    lines = shown.text.splitlines()
    assert max(map(len, lines)) <= 80
    first = [line.split()[0] for line in lines if line.strip()]
    assert {entry["name"] for entry in entries} <= set(first)
    at = [first.index(kind) for kind in ("exact", "heuristic", "online")]
    assert at == sorted(at)
    told = " ".join(shown.text.split())
    assert "lacks max_per_batch above 1" in told


def test_one_solver_in_full(capsys: Capture) -> None:
    """Its parameters with defaults, ranges and meaning; all of them."""
    assert run(["solvers", "pats", "--json"]) == 0
    entry = json.loads(capsys.readouterr().out)
    assert entry["name"] == "pats"
    assert run(["solvers", "pats"]) == 0
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line for line in printed.splitlines() if line}
    assert set(entry["params"]) <= set(rows)
    assert "0.5" in rows["threshold"]
    assert ">= 0, <= 1" in rows["threshold"]
    assert "below which a request is simple" in rows["threshold"]
    assert "cost | ghost | lfu | lru | polar" in rows["eviction"]


def test_every_parameter_is_explained(capsys: Capture) -> None:
    """Each parameter of each solver and policy has its meaning in its documentation."""
    from pats_opt.cli.describing import parameters
    from pats_opt.core import registry

    for name in registry.BUILT_IN:
        made = registry.load(name)
        for parameter in parameters(made, registry.parameters(made())):
            assert parameter.meaning, f"{name}: {parameter.name}"
            assert parameter.values != "any", f"{name}: {parameter.name}"
    assert run(["solvers", "dpp"]) == 2
    assert "choose one of: dp" in capsys.readouterr().err
