"""Complexity of a prompt in [0, 1], for logs without it.

The estimator is the prompt's length: ``1 - 2 ** (-characters / 33)``, so 0 for an empty prompt,
0.5 at 33 characters, and nearing 1. Against the human labels of PartiPrompts (504 prompts labelled
Basic or Simple Detail, 425 labelled Fine-grained Detail or Complex) its area under the ROC curve is
0.961, and 0.5 is the threshold of highest balanced accuracy (0.891). Counting words gives 0.948,
clauses 0.742, spatial words 0.734, number words 0.509, and no sum of them more than words alone. It
ignores meaning, and was fitted to English.

``--estimator module:function`` replaces it by any function from a prompt to [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

from pats_opt.errors import InputError
from pats_opt.imported import import_function

#: Characters at which complexity is 0.5.
HALF = 33.0

#: Characters in one unit of a log's prompt length (English: letters and the space).
UNITS = {"characters": 1.0, "tokens": 4.5, "words": 6.0}

Estimator = Callable[[str], float]


def estimate(prompt: str) -> float:
    """Estimate the complexity of a prompt from its length."""
    return from_length(len(prompt.strip()))


def from_length(characters: float) -> float:
    """Complexity of a prompt of this many characters."""
    return float(round(1.0 - 2.0 ** (-max(0.0, characters) / HALF), 3))


def load_estimator(spec: str) -> Estimator:
    """Import the function that ``module:function`` names.

    Raises:
        InputError: there is no such module or function.
    """
    found = import_function(spec, "estimator", "prompt to 0..1")

    def checked(prompt: str) -> float:
        value = found(prompt)
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InputError(f"estimator {spec!r} gave {value!r}", hint="it must give 0 to 1")
        return float(value)

    return checked
