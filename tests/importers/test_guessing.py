"""What a log tells without being asked: meaning of columns, units, outcomes, its load."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import UNSET

import pats_opt
from pats_opt.cli import run
from pats_opt.errors import InputError
from pats_opt.generate import generate
from pats_opt.generate.recipe import ImageCount, Recipe, StepCounts
from pats_opt.importers.guessing import guess_columns, telling, unit_of
from pats_opt.importers.load import load_statistics, noticed
from pats_opt.importers.trace import import_trace

LOG = """\
tMs,loraIds,lora_scales,num_inference_steps,num_images,slo_ms,prompt_tokens,status
0,ink,0.8,30,1,9000,10,ok
1500,ink;oil,1;0.5,30,2,20000,20,ok
4000,,,20,1,,5,failed
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("latency_ms", "ms"),
        ("deadlineMs", "ms"),
        ("arrival (s)", "s"),
        ("t_us", "us"),
        ("wait [min]", "min"),
        ("seconds", None),
        ("ms", None),
        ("arrivals", None),
        ("lora_ids", None),
    ],
)
def test_units_are_those_with_which_names_end(column: str, unit: str | None) -> None:
    assert unit_of(column) == unit


def test_columns_are_guessed_by_their_likeliest_name_and_have_one_meaning() -> None:
    names = ["id", "timestamp", "t", "lora_ids", "n", "steps", "Negative Prompt", "model", "Prompt"]
    assert guess_columns(names) == {
        "time": "timestamp",
        "adapter": "lora_ids",
        "base_model": "model",
        "steps": "steps",
        "images": "n",
        "prompt": "Prompt",
        "negative_prompt": "Negative Prompt",
    }
    assert telling(["predict_status", "Type", "statuses", "prompt"]) == ["predict_status", "Type"]


def test_a_log_is_read_by_its_column_names(log: Path) -> None:
    found = import_trace(log)
    requests = found.instance.requests
    assert [r.arrival_s for r in requests] == [0.0, 1.5, 1.5, 4.0]
    assert [r.adapter for r in requests] == ["ink", "ink+oil", "ink+oil", "base"]
    assert [r.deadline_s for r in requests] == [9.0, 20.0, 20.0, None]
    assert found.mapping.window.time_format == "ms"
    assert found.mapping.length_unit == "tokens"
    scales = [r.extra and r.extra["adapter_scales"] for r in requests[:2]]
    assert scales == [{"ink": 0.8}, {"ink": 1.0, "oil": 0.5}]
    assert found.noticed == (
        "column 'status' has 2 values: 2 ok, 1 failed; all are imported "
        "(--where 'status=ok' takes one of them)",
    )


def test_what_the_log_says_is_what_is_served(log: Path) -> None:
    found = import_trace(log)
    assert [[o.steps for o in r.options] for r in found.instance.requests] == [
        [30],
        [30],
        [30],
        [20],
    ]
    groups = [r.group for r in found.instance.requests]
    assert groups[1] == groups[2] != groups[0]
    assert found.changes[0] == "steps: those of the log (--pruned N,... lets solvers choose fewer)"
    assert found.changes[1] == "images: 1 row of several, 2 in all (--image-mode group)"


def test_fewer_steps_only_if_asked_for(log: Path) -> None:
    recipe = Recipe(steps=StepCounts(pruned=(20,)), images=ImageCount(mode="split"))
    found = import_trace(log, recipe=recipe)
    assert [len(r.options) for r in found.instance.requests] == [2, 2, 2, 1]
    assert found.instance.requests[1].group is UNSET
    assert "or 20 where a solver chooses fewer" in found.changes[0]


def test_generate_still_has_20_steps_as_an_option() -> None:
    assert {o.steps for r in generate(Recipe(requests=2)).requests for o in r.options} == {20, 60}


@pytest.mark.parametrize(
    ("stamps", "unit"),
    [
        (("1700000000", "1700000001"), "s"),
        (("1700000000000", "1700000001000"), "ms"),
        (("1700000000000000", "1700000001000000"), "us"),
        (("1700000000000000000", "1700000001000000000"), "ns"),
    ],
)
def test_dates_as_numbers_are_read_in_the_unit_that_makes_them_dates(
    stamps: tuple[str, str], unit: str, tmp_path: Path
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("timestamp\n" + "\n".join(stamps) + "\n")
    found = import_trace(path)
    assert found.mapping.window.time_format == unit
    assert found.span_s == pytest.approx(1.0, abs=1e-3)


def test_a_log_without_a_time_names_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column looks like a time of arrival") as error:
        import_trace(path)
    assert error.value.hint == "name it with --time; the columns are a, b"


def test_the_statistics_find_the_busiest_hour_and_its_bursts() -> None:
    quiet = [600.0 * i for i in range(7)]
    busy = [3600.0 + 0.1 * i * i for i in range(1, 100)]
    found = load_statistics(
        sorted([*quiet, *busy, 9000.0]), ["a"] * 60 + ["b"] * 30 + ["base"] * 17
    )
    assert (found.busiest_start_s, found.busiest_per_s) == (3600.0, 100 / 3600)
    assert found.burstiness is not None
    assert 0.5 < found.burstiness < 0.6  # the hour's own: over all it is above 3
    assert (found.adapters, round(found.first_share, 3)) == (2, 0.667)
    assert found.base_share == 17 / 107
    regular = load_statistics([10.0 * i for i in range(20)], ["base"] * 20)
    assert regular.burstiness == pytest.approx(0.0)
    assert regular.lines() == [
        "rate: 6.316 rows per minute; times between arrivals vary 0 times their mean (1: Poisson)"
    ]


def test_a_column_of_one_value_or_of_many_tells_nothing() -> None:
    assert noticed("status", ["ok"] * 3) is None
    assert noticed("type", map(str, range(20))) is None
    assert "1 (empty)" in (noticed("error", ["", "x", "x"]) or "")


def test_the_command_says_how_it_read_the_log(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.json"
    assert run(["import", "trace", str(log), "--adapter", "", "--scale", "", "-o", str(out)]) == 0
    said = capsys.readouterr().err
    assert "columns, guessed by their names: time 'tMs', steps 'num_inference_steps'" in said
    assert "units: times ms, deadlines ms, lengths of prompts tokens" in said
    assert "adapter 'loraIds'" not in said
    assert run(["import", "trace", str(log), "--time", "tMs", "-o", str(out)]) == 0
    said = capsys.readouterr().err
    assert "guessed" not in said
    assert len(pats_opt.read_instance(out).requests) == 3


def test_columns_named_in_where_are_not_noticed(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["import", "trace", str(log), "--where", "status!=failed", "-o", str(tmp_path / "x")]
    assert run(args) == 0
    assert "column 'status'" not in capsys.readouterr().err
