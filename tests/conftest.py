"""Markers and Hypothesis profiles of all tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.support import scale

# Examples are the same on every run, and none fails for being slow on a busy machine. A longer
# search (HYPOTHESIS_PROFILE=search) draws new ones.
settings.register_profile(
    "default",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=len(scale.seeds(75)),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile(
    "search", settings.get_profile("default"), derandomize=False, max_examples=2000
)
# A mutant that fails a test is dead: its example need not be small ('make mutation').
settings.register_profile(
    "mutation", settings.get_profile("default"), phases=(Phase.explicit, Phase.generate)
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; an unknown one is an error."""
    config.addinivalue_line("markers", "slow: takes more than a few seconds")
    config.addinivalue_line("markers", "cuda: needs a CUDA device; skipped where there is none")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU, with the reason, where there is none."""
    marked = [item for item in items if "cuda" in item.keywords]
    if marked and not _has_cuda():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="there is no CUDA device"))


def _has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())
