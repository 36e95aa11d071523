"""Artefacts that take long to make, each made once per run, however many processes it has."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that ``make`` has filled, the same one in all processes of a run.

    Args:
        factory: Pytest's factory of temporary folders.
        name: The folder's name, unique in the run.
        make: Fills the folder. Where it fails, the next process tries again.
    """
    base = factory.getbasetemp()
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    folder = (base if alone else base.parent) / f"shared-{name}"
    done = folder.with_suffix(".done")
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            done.touch()
    return folder
