"""All attacks, by name."""

from __future__ import annotations

from tests.campaign import answers, outside
from tests.campaign.attack import Attack

ATTACKS: dict[str, Attack] = {
    attack.name: attack for attack in (*answers.ATTACKS, *outside.ATTACKS)
}
