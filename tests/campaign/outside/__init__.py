"""Attacks from outside: broken files and commands, environments, signals, hostile text."""

from __future__ import annotations

from tests.campaign.attack import Attack
from tests.campaign.outside import arguments, environments, inputs, pages, signals

ATTACKS: tuple[Attack, ...] = (
    inputs.ATTACK,
    arguments.ATTACK,
    environments.ATTACK,
    signals.ATTACK,
    pages.ATTACK,
)
