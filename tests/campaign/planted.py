"""Attacks with a known outcome, for the tests of the campaign."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from tests.campaign.attack import Attack, Counts, Finding


def _quiet(seed: int, counts: Counts) -> Iterator[Finding]:
    counts["instances"] += 1
    counts[f"runs/solver-{seed % 2}"] += 3
    yield from ()


def _odd(seed: int, counts: Counts) -> Iterator[Finding]:
    counts["instances"] += 1
    if seed % 2:
        yield Finding(kind="odd", problem=f"{seed} is odd", files={"number": seed})


def _smaller(finding: Finding) -> Finding:
    return Finding(kind="odd", problem="1 is odd", files={"number": 1})


def _wrong(seed: int, counts: Counts) -> Iterator[Finding]:
    raise ZeroDivisionError(f"at {seed}")


def _dying(seed: int, counts: Counts) -> Iterator[Finding]:
    os.abort()


def _hanging(seed: int, counts: Counts) -> Iterator[Finding]:
    time.sleep(60)
    yield from ()


QUIET = Attack("quiet", "finds nothing", _quiet, aims={"instances": 10, "kills": 5})
ODD = Attack("odd", "dislikes odd seeds", _odd, shrink=_smaller)
WRONG = Attack("wrong", "raises", _wrong)
DYING = Attack("dying", "crashes its process", _dying)
HANGING = Attack("hanging", "never ends", _hanging, timeout_s=1.0)
