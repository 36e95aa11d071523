"""The search space in Optuna's terms: how values are drawn, and drawn values written down."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna

from pats_opt.tuning.space import Dimension, Numbers

#: The choice that stands for a number, where a parameter may be a word as well.
NUMBER = "a number"

#: Ends the name of the choice in Optuna; that of the number is the parameter's own.
WORD = "="


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's log, and its warnings that an interface may still change.

    Which of them are used is in search.py, and pyproject.toml bounds Optuna's version.
    """
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _words(dimension: Dimension) -> list[str | int | float | bool | None]:
    return [*dimension.choices, *([NUMBER] if dimension.numbers is not None else [])]


def suggested(trial: optuna.Trial, dimension: Dimension) -> Any:
    """A value drawn for a parameter."""
    if dimension.choices:
        chosen = trial.suggest_categorical(dimension.name + WORD, _words(dimension))
        if dimension.numbers is None or chosen != NUMBER:
            return chosen
    numbers = dimension.numbers
    assert numbers is not None
    if numbers.whole:
        return trial.suggest_int(
            dimension.name, int(numbers.low), int(numbers.high), log=numbers.log
        )
    return numbers.rounded(
        trial.suggest_float(dimension.name, numbers.low, numbers.high, log=numbers.log)
    )


def holds(dimension: Dimension, value: Any) -> bool:
    """Whether a value lies in the space that is searched; a default need not."""
    if _is_choice(dimension, value):
        return True
    return dimension.numbers is not None and value in dimension.numbers


def _is_choice(dimension: Dimension, value: Any) -> bool:
    return any(value == c and type(value) is type(c) for c in dimension.choices)


def drawn(dimension: Dimension, value: Any) -> dict[str, Any]:
    """A value as Optuna would have drawn it."""
    if _is_choice(dimension, value):
        return {dimension.name + WORD: value}
    word = {dimension.name + WORD: NUMBER} if dimension.choices else {}
    return {**word, dimension.name: value}


def distributions(
    dimension: Dimension, value: Any
) -> Mapping[str, optuna.distributions.BaseDistribution]:
    """The distributions that :func:`drawn`'s draws come from."""
    found: dict[str, optuna.distributions.BaseDistribution] = {}
    if dimension.choices:
        found[dimension.name + WORD] = optuna.distributions.CategoricalDistribution(
            _words(dimension)
        )
    if not _is_choice(dimension, value) and dimension.numbers is not None:
        found[dimension.name] = _of_numbers(dimension.numbers)
    return found


def _of_numbers(numbers: Numbers) -> optuna.distributions.BaseDistribution:
    if numbers.whole:
        return optuna.distributions.IntDistribution(
            int(numbers.low), int(numbers.high), log=numbers.log
        )
    return optuna.distributions.FloatDistribution(numbers.low, numbers.high, log=numbers.log)
