"""Sets of kernels that compile nothing, by name, as a process of their own finds them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple


class FakeKernels(NamedTuple):
    """A set that is ready once its process has written a file."""

    name: str
    file: Path

    def is_ready(self) -> bool:
        """Return whether the file is there."""
        return self.file.exists()

    def __call__(self) -> None:
        """Do nothing: there is nothing to load."""


def quick() -> None:
    """Write a process's number into the folder that the environment names."""
    Path(os.environ["FAKE_KERNELS"], "quick").write_text(str(os.getpid()))


def endless() -> None:
    """Write a process's number, and go on for ten minutes."""
    Path(os.environ["FAKE_KERNELS"], "began").write_text(str(os.getpid()))
    time.sleep(600)


def broken() -> None:
    """Fail as a compiler does."""
    raise RuntimeError
