"""The log over restarts: its earlier lines are never read with the GPUs of a later server."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from pats_opt.errors import InputError
from pats_opt.execute.adapter_set import AdapterPart, AdapterSet
from pats_opt.model.files import read_instance
from pats_opt.report.served_log import served_instances, site_file
from pats_opt.serving.model import ServerModel
from tests.serving.running import PATH, body, model, served


def log_one(folder: Path, log: Path, made: ServerModel, adapter: str) -> None:
    """Serve one image and log it."""
    with served(folder, log=log, made=made) as (client, _):
        assert client.post(PATH, json=body(model=adapter)).status_code == 200


def test_a_server_with_other_gpus(tmp_path: Path) -> None:
    log, more = tmp_path / "log.jsonl", model(tmp_path, gpus=2)
    log_one(tmp_path, log, model(tmp_path), "a")
    site = site_file(log).read_bytes()
    with (
        pytest.raises(InputError, match=r"log\.jsonl.*'gpus'.*--log"),
        served(tmp_path, log=log, made=more),
    ):
        pass
    log.rename(tmp_path / "log.1.jsonl")  # as when it was rotated
    with pytest.raises(InputError, match="gpus"), served(tmp_path, log=log, made=more):
        pass
    assert site_file(log).read_bytes() == site
    (tmp_path / "log.1.jsonl").unlink()
    log_one(tmp_path, log, more, "a")
    assert len(read_instance(site_file(log)).gpus) == 2


def test_a_server_with_other_adapters(tmp_path: Path) -> None:
    """Those of all lines are in the site; one with other memory or time is refused."""
    log, first = tmp_path / "log.jsonl", model(tmp_path)
    log_one(tmp_path, log, first, "b")
    log_one(tmp_path, log, replace(first, adapters=AdapterSet(files={"a": "", "c": ""})), "c")
    (made,) = served_instances(log, 1e9)
    assert [request.adapter for request in made.requests] == ["b", "c"]
    assert {adapter.id for adapter in made.adapters} == {"base", "a", "b", "c"}
    parts = AdapterPart("a"), AdapterPart("c")
    other = AdapterSet(files={"a": "", "c": ""}, compositions={"b": parts})
    with (
        pytest.raises(InputError, match="adapter b"),
        served(tmp_path, log=log, made=replace(first, adapters=other)),
    ):
        pass


def test_a_site_that_is_gone(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log_one(tmp_path, log, model(tmp_path), "a")
    site_file(log).unlink()
    with pytest.raises(InputError, match=r"log\.site\.json"), served(tmp_path, log=log):
        pass
