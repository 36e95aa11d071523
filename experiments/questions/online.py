"""Policies against the online optimum, on systems where it is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.online_limit.reading import System, systems
from experiments.questions.statistics import mean
from experiments.questions.words import code, more


def with_both() -> list[System]:
    """Return the systems whose online optimum is known beside the offline one."""
    return [system for system in systems() if system.optimum is not None]


def given_away(grid: Sequence[System], policies: Mapping[str, str]) -> list[str]:
    """Return what policies lose more than the online optimum, on average over systems.

    Args:
        grid: The systems.
        policies: The policies by the names that they are given.
    """
    return [
        f"{code(name)} {more(1.0 + mean(excess).mean)}"
        for name, policy in policies.items()
        if (excess := [x for system in grid if (x := system.excess(policy)) is not None])
    ]
