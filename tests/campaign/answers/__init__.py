"""Attacks on the answers: optima, bounds, policies, the checker and the metrics."""

from __future__ import annotations

from tests.campaign.answers import midsize, mutants, optima, policies

ATTACKS = (optima.ATTACK, policies.ATTACK, mutants.ATTACK, midsize.ATTACK)
