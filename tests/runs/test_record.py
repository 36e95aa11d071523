"""Records on disk: safe names, whole files, and none taken for another configuration's."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.model.schedule import StopReason
from pats_opt.runs.record import RunConfig, read_record, record_path, slug, write_record
from tests.report.examples import instance, record, solver

RECORD = record(instance("one"), solver("milp", "exact"), 4.0, 3.0, StopReason.TIME_LIMIT)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    assert read_record(tmp_path, RECORD.config) == RECORD


@given(st.text(), st.text(min_size=1))
def test_names_never_leave_the_folder(name: str, spec: str) -> None:
    """Whatever an instance or a solver is called, its files lie in ``runs``."""
    config = RunConfig(
        instance=instance(name, sha256="0" * 64),
        solver=solver(spec, "exact"),
        time_limit=1.0,
        seed=0,
    )
    path = record_path(Path("folder"), config)
    assert path.parent == Path("folder/runs")
    assert path.name.isascii()
    assert path.name.isprintable()
    assert len(path.name) < 120


@pytest.mark.parametrize("name", ["../x", "..", "a/b", "\x00", "", "CON ", "-rf", "é"])
def test_slug(name: str) -> None:
    made = slug(name)
    assert made
    assert not set(made) & set("/\\\x00 ")
    assert not made.startswith((".", "-"))


@pytest.mark.parametrize(
    "change",
    [
        {"instance": instance("one", sha256="1" * 64)},
        {"solver": msgspec.structs.replace(RECORD.config.solver, params={"a": 1})},
        {"solver": solver("cpsat", "exact")},
        {"time_limit": 11.0},
        {"seed": 1},
        {"version": "2"},
    ],
)
def test_another_configuration_has_another_record(
    tmp_path: Path, change: dict[str, object]
) -> None:
    write_record(tmp_path, RECORD)
    assert read_record(tmp_path, msgspec.structs.replace(RECORD.config, **change)) is None


def test_a_damaged_record_counts_as_missing(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    path = record_path(tmp_path, RECORD.config)
    path.write_bytes(path.read_bytes()[:-20])
    assert read_record(tmp_path, RECORD.config) is None


def test_a_record_follows_a_moved_instance(tmp_path: Path) -> None:
    """Class and file are the report's view of a run: changing them reruns nothing."""
    write_record(tmp_path, RECORD)
    moved = msgspec.structs.replace(
        RECORD.config, instance=msgspec.structs.replace(RECORD.config.instance, group="new")
    )
    found = read_record(tmp_path, moved)
    assert found is not None
    assert found.config.instance.group == "new"
