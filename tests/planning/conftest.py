"""Fixtures of the planning tests: a load that two GPUs serve in time and one does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pats_opt.model.files import encode
from tests.report.examples import document


@pytest.fixture
def load(tmp_path: Path) -> str:
    """An instance file of twelve requests, a second apart."""
    path = tmp_path / "load.json"
    path.write_bytes(encode(document(name="load", requests=12)))
    return str(path)


@pytest.fixture
def log(tmp_path: Path) -> str:
    """A request log of eight rows."""
    path = tmp_path / "log.csv"
    adapters = ("red", "blue", "red", "green", "blue", "red", "red", "blue")
    rows = [f"{2 * i},{adapter},30" for i, adapter in enumerate(adapters)]
    path.write_text("\n".join(["t_s,lora,steps", *rows]) + "\n")
    return str(path)
