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
    """Silence Optuna's log, and its warnings that an interface may still change."""
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


def draws_of(dimension: Dimension, value: Any) -> Iterator[tuple[str, Any, BaseDistribution]]:
    """Yield name, value and distribution of the draws with which :func:`suggest` gives a value."""
    chosen, numbers = dimension.has_choice(value), dimension.numbers
    if dimension.choices:
        known = CategoricalDistribution(_choices(dimension))
        yield dimension.name + CHOICE, value if chosen else NUMBER, known
    if numbers is not None and not chosen:
        yield (
            dimension.name,
            value,
            IntDistribution(int(numbers.low), int(numbers.high), log=numbers.log)
            if numbers.whole
            else FloatDistribution(numbers.low, numbers.high, log=numbers.log),
        )


def _choices(dimension: Dimension) -> list[str | int | float | bool | None]:
    return [*dimension.choices, *([NUMBER] if dimension.numbers is not None else [])]
