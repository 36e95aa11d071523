"""Depth of the random tests: one scale for the seeds of every suite.

``make test`` tries a third of the seeds, ``make test-full`` all of them, and ``PATS_OPT_DEPTH=20``
twenty times as many. What is not random (the zoo, each rule's valid and broken schedules) is always
tried whole.
"""

from __future__ import annotations

import math
import os

#: Share of the seeds that are tried.
DEPTH = float(os.environ.get("PATS_OPT_DEPTH", "0.34"))

#: Whether tests that take long try all that they can.
FULL = DEPTH >= 1


def seeds(full: int) -> range:
    """Seeds to try where ``full`` of them are the full depth; two at least."""
    return range(max(2, math.ceil(full * DEPTH)))
