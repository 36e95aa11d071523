"""The complexity estimator and what replaces it."""

from __future__ import annotations

import pytest

from pats_opt.errors import InputError
from pats_opt.importers import complexity


def test_simple_and_complex_prompts_fall_on_either_side_of_a_half() -> None:
    assert complexity.estimate("a red apple") < 0.5
    assert (
        complexity.estimate(
            "a crowded harbour at dusk, sailors unloading crates under lanterns while gulls circle"
        )
        > 0.8
    )


def test_estimate_rises_from_0_towards_1() -> None:
    values = [complexity.estimate("x" * n) for n in range(0, 300, 10)]
    assert values[0] == 0.0
    assert values == sorted(values)
    assert values[-1] <= 1.0
    assert complexity.estimate("x" * 33) == 0.5


def test_space_around_a_prompt_counts_nothing() -> None:
    assert complexity.estimate("  a cat \n") == complexity.estimate("a cat")


def test_own_estimator_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        complexity, "no_vowels", lambda prompt: float("a" not in prompt), raising=False
    )
    estimate = complexity.load_estimator("pats_opt.importers.complexity:no_vowels")
    assert (estimate("a cat"), estimate("sky")) == (0.0, 1.0)


@pytest.mark.parametrize("spec", ["nothing", "no_such_module:f", "pats_opt:nothing", ":f"])
def test_unknown_estimator_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match="there is no estimator"):
        complexity.load_estimator(spec)


def test_thing_that_is_no_function_is_refused() -> None:
    with pytest.raises(InputError, match="is no function"):
        complexity.load_estimator("pats_opt.importers.complexity:HALF")


def test_estimate_out_of_range_is_refused() -> None:
    """``len`` is a function, but not one to 0..1."""
    with pytest.raises(InputError, match="it must give 0 to 1"):
        complexity.load_estimator("builtins:len")("a cat")
