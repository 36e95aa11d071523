"""The search space in Optuna's terms: distributions of a parameter, and values drawn from them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from pats_opt.tuning.space import Dimension

#: Choice that stands for a number, for a parameter with choices and numbers.
NUMBER = "a number"

#: Ending of the choice's name in Optuna; that of the number is the parameter's own.
CHOICE = "="


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's log, and its warnings that an interface may still change.

    search.py lists the interfaces in use, and pyproject.toml bounds Optuna's version.
    """
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def suggest(trial: optuna.Trial, dimension: Dimension) -> Any:
    """Draw a value of a parameter."""
    if dimension.choices:
        chosen = trial.suggest_categorical(dimension.name + CHOICE, _choices(dimension))
        if dimension.numbers is None or chosen != NUMBER:
            return chosen
    numbers = dimension.numbers
    assert numbers is not None, "a dimension has choices or numbers"
    if numbers.whole:
        return trial.suggest_int(
            dimension.name, int(numbers.low), int(numbers.high), log=numbers.log
        )
    return numbers.rounded(
        trial.suggest_float(dimension.name, numbers.low, numbers.high, log=numbers.log)
    )


def draws_of(dimension: Dimension, value: Any) -> dict[str, Any]:
    """Return a value as Optuna would have drawn it."""
    if dimension.has_choice(value):
        return {dimension.name + CHOICE: value}
    choice = {dimension.name + CHOICE: NUMBER} if dimension.choices else {}
    return {**choice, dimension.name: value}


def distributions_of(dimension: Dimension, value: Any) -> dict[str, BaseDistribution]:
    """Return the distributions of the draws in :func:`draws_of`."""
    found: dict[str, BaseDistribution] = {}
    if dimension.choices:
        found[dimension.name + CHOICE] = CategoricalDistribution(_choices(dimension))
    numbers = dimension.numbers
    if numbers is not None and not dimension.has_choice(value):
        found[dimension.name] = (
            IntDistribution(int(numbers.low), int(numbers.high), log=numbers.log)
            if numbers.whole
            else FloatDistribution(numbers.low, numbers.high, log=numbers.log)
        )
    return found


def _choices(dimension: Dimension) -> list[str | int | float | bool | None]:
    return [*dimension.choices, *([NUMBER] if dimension.numbers is not None else [])]
