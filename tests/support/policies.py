"""The built-in online policies, for tests of all of them."""

from __future__ import annotations

from pats_opt.core.registry import BUILT_IN, load
from pats_opt.core.solver import Kind

#: Policies that decide from a file, which they lack by default.
FROM_FILES = ("online-optimum",)


def policy_names() -> list[str]:
    """Return the names of the built-in policies that any instance can be simulated with."""
    return [n for n in BUILT_IN if load(n).kind is Kind.ONLINE and n not in FROM_FILES]
