"""Import of arrival times alone."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pats_opt
from pats_opt.cli import run
from pats_opt.errors import InputError
from pats_opt.generate.recipe import Recipe
from pats_opt.importers.timestamps import import_timestamps
from pats_opt.importers.window import Window


def saved(folder: Path, text: str) -> str:
    """A file of timestamps."""
    path = folder / "arrivals.txt"
    path.write_text(text)
    return str(path)


def test_a_row_has_time_level_and_deadline(tmp_path: Path) -> None:
    path = saved(tmp_path, "1000,3,300\n1012.5,1,\n990,3,2500\n")
    found = import_timestamps(path)
    assert [
        (r.arrival_s, r.deadline_s, r.extra["qos"])  # type: ignore[index]
        for r in found.instance.requests
    ] == [(0.0, 2.5, "3"), (0.01, 0.3, "3"), (0.0225, None, "1")]
    assert found.span_s == 0.0225


@pytest.mark.parametrize("text", ["5\n1\n9\n", "5,0\n1,0\n9,0\n"])
def test_cells_on_the_right_may_be_missing(text: str, tmp_path: Path) -> None:
    requests = import_timestamps(saved(tmp_path, text), speed=0.5).instance.requests
    assert [r.arrival_s for r in requests] == [0.0, 0.008, 0.016]
    assert {r.deadline_s for r in requests} == {None}
    assert {r.extra is msgspec.UNSET for r in requests} == {"," not in text}


@given(times=st.lists(st.integers(0, 10**9), min_size=1, max_size=20))
def test_arrivals_are_the_times_in_order(
    times: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = saved(tmp_path_factory.mktemp("times"), "\n".join(map(str, times)))
    arrivals = [r.arrival_s for r in import_timestamps(path).instance.requests]
    assert arrivals == pytest.approx([(t - min(times)) / 1000 for t in sorted(times)])


def test_window(tmp_path: Path) -> None:
    path = saved(tmp_path, "0\n10\n20\n30\n40\n")
    found = import_timestamps(path, Window(since="10", until="40", count=3))
    assert [r.arrival_s for r in found.instance.requests] == [0.0, 0.01, 0.02]


def test_deadlines_of_the_recipe_only_where_the_file_has_none(tmp_path: Path) -> None:
    path = saved(tmp_path, "0,1,9000\n10,1,\n")
    recipe = msgspec.convert({"terms": {"deadline_share": 1.0}}, Recipe)
    first, second = import_timestamps(path, recipe=recipe).instance.requests
    assert first.deadline_s == 9.0
    assert second.deadline_s not in (None, 9.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ms,qos\n5,1\n", "row 1, column 'ms': 'ms' is no time; write rows of ms[,qos[,deadline"),
        ("5,1,2,3\n", "rows have 4 cells; a row is ms[,qos[,deadline_ms]]; import other logs wit"),
        ("5,1,soon\n", "row 1, column 'deadline_ms': 'soon' is no number from 0 to 1e+09; correct"),
        ("5\n6,1,7\n", "cannot be read as a log (found more fields than defined in 'Schema'); wri"),
        ("", "this file is empty; name a log with rows"),
    ],
)
def test_faults_are_one_line(text: str, expected: str, tmp_path: Path) -> None:
    path = saved(tmp_path, text)
    with pytest.raises(InputError) as caught:
        import_timestamps(path)
    assert str(caught.value).startswith(f"{path}: {expected}")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = saved(tmp_path, "0,2,900\n250,2,900\n700,2,900\n"), tmp_path / "made.json"
    args = "--base-share 1 --gpus 2 --full 50 --approximate-cache --lookup-time 0 --count 2"
    assert run(["import", "timestamps", path, *args.split(), "-o", str(out)]) == 0
    instance = pats_opt.read_instance(out)
    assert [r.arrival_s for r in instance.requests] == [0.0, 0.25]
    assert [len(r.options) for r in instance.requests] == [6, 6]
    for request in instance.requests:
        assert request.extra["qos"] == "2"  # type: ignore[index]
        assert set(request.extra["approximate_cache"]) == {"level"}  # type: ignore[index]
    assert "2 rows, 2 requests, 1 adapters" in capsys.readouterr().err
    assert run(["import", "timestamps", str(tmp_path / "none.txt"), "-o", str(out)]) == 2
    assert "none.txt: no such file; check the path" in capsys.readouterr().err
