"""Tiny random instances with their optima by exhaustive search."""

from __future__ import annotations

import json
from functools import cache

from pats_opt.core.solver import Feature
from pats_opt.model.files import encode
from pats_opt.model.instance import Instance
from pats_opt.testing.instances import random_instance
from pats_opt.testing.solvers import together
from tests.support.brute_force import brute_force


@cache
def tiny(feature: Feature | None, seed: int) -> tuple[Instance, float | None]:
    """A random instance with a feature (None: a random mix), and its optimum, None without one."""
    wanted = None if feature is None else together(feature)
    instance = random_instance(seed, wanted, requests=(2, 4), tight=seed % 2 == 0)
    return instance, brute_force(json.loads(encode(instance)))
