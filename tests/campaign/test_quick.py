"""The quick form of the campaign: a few tries of every attack, new ones every day."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from tests.campaign.attack import Attack
from tests.campaign.campaign import SEEDS
from tests.campaign.catalogue import ATTACKS

TODAY = int(time.strftime("%Y%m%d"))


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_nothing_is_found(attack: Attack) -> None:
    """Each failure shows the command that repeats it."""
    for number in range(1, attack.quick + 1):
        found = attack.found(TODAY * SEEDS + number, Counter())
        assert not found, "\n".join(f"{f.command}\n{f.kind}: {f.problem}" for f in found)
