"""A Ray cluster on this machine, for tests."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NO_RAY = importlib.util.find_spec("ray") is None


@contextmanager
def cluster_of(cpus: int) -> Iterator[None]:
    """Be in a new cluster whose workers find the modules that this process finds."""
    from pats_opt.cluster import joined

    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}}
    with joined(num_cpus=cpus, runtime_env=environment):
        yield
