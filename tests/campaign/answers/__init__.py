"""Attacks on the answers: optima, bounds, policies, the checker and the metrics."""

from __future__ import annotations

from tests.campaign.attack import Attack

ATTACKS: tuple[Attack, ...] = ()
