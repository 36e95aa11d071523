"""The quick form of the campaign: a few tries of every attack, new ones every day."""

from __future__ import annotations

import time

import pytest

from pats_opt.runs.pool import WorkerPool
from tests.campaign.attack import Attack
from tests.campaign.campaign import SEEDS, attempt
from tests.campaign.catalogue import ATTACKS

TODAY = int(time.strftime("%Y%m%d"))


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_nothing_is_found(attack: Attack) -> None:
    """Each failure shows the command that repeats it."""
    # In another process, as in a campaign: one with threads cannot be forked safely.
    with WorkerPool(1) as pool:
        for number in range(1, attack.quick + 1):
            call = pool.submit(attempt, attack, TODAY * SEEDS + number, timeout_s=attack.timeout_s)
            found = call.result()[0]
            assert not found, "\n".join(f"{f.command}\n{f.kind}: {f.problem}" for f in found)
