"""Solvers and policies by name, with parameters, and third-party ones."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from typing import Annotated, Any, ClassVar, Literal

import pytest
from msgspec import Meta, Struct

from pats_opt.core import registry
from pats_opt.core.policy import Policy
from pats_opt.core.solver import Capabilities, Kind, Outcome, Run, Solver
from pats_opt.errors import InputError
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason


class Theirs(Struct, frozen=True):
    """A third-party solver."""

    width: Annotated[int, Meta(ge=1)] = 3
    mode: Literal["fast", "slow"] = "fast"

    name: ClassVar[str] = "theirs"
    kind: ClassVar[Kind] = Kind.HEURISTIC
    capabilities: ClassVar[Capabilities] = Capabilities()

    def solve(self, problem: Problem, run: Run) -> Outcome:  # noqa: ARG002
        """Nothing."""
        return Outcome(StopReason.COMPLETE)


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution that registers ``theirs``."""
    point = EntryPoint(name="theirs", value=f"{__name__}:Theirs", group=registry.ENTRY_POINTS)
    monkeypatch.setattr(EntryPoint, "load", lambda _self: Theirs)

    def entry_points(**wanted: Any) -> EntryPoints:
        return EntryPoints([point]).select(**wanted)

    monkeypatch.setattr(registry, "entry_points", entry_points)


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_built_in(name: str) -> None:
    """Each built-in name gives a solver or policy of that name, with its defaults."""
    made = registry.make(name)
    assert made.name == name
    assert isinstance(made, Solver) or hasattr(made, "start")
    assert registry.make(name, **registry.parameters(made)) == made


def test_third_party(third_party: None) -> None:
    """An entry point is listed after the built-in ones, and made like them."""
    assert registry.names() == [*registry.BUILT_IN, "theirs"]
    made = registry.make("theirs:width=7:mode=slow")
    assert made == Theirs(width=7, mode="slow")
    assert registry.parameters(made) == {"width": 7, "mode": "slow"}


def test_keywords_and_text_are_the_same(third_party: None) -> None:
    """Parameters come typed from code or as text from the command line."""
    assert registry.make("theirs", width=7) == registry.make("theirs:width=7")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("mlip", "there is no solver or policy 'mlip'; choose one of: milp"),
        ("", "there is no solver or policy ''; choose one of: "),
        ("theirs:width", "parameter 'width' of 'theirs' has no value; write it as key=value"),
        ("theirs:widht=2", "'theirs' has no parameter 'widht'; it has: width"),
        ("theirs:width=0", "`width`"),
        ("theirs:width=many", "`width`"),
        ("theirs:mode=slowly", "`mode`"),
    ],
)
def test_misuse(third_party: None, spec: str, expected: str) -> None:
    """A wrong name, parameter or value is refused in one line with the alternatives."""
    with pytest.raises(InputError) as caught:
        registry.make(spec)
    assert expected in str(caught.value)
    assert str(caught.value).isprintable()


def test_policies_keep_their_protocol() -> None:
    """The online ones are policies: they start a decision function."""
    made: Any = registry.make("fifo")
    policy: Policy = made
    assert policy.kind is Kind.ONLINE


@pytest.mark.parametrize(("value", "hint"), [("slwo", "slow"), ("idle", "fast, slow")])
def test_a_wrong_choice_is_answered_with_choices(third_party: None, value: str, hint: str) -> None:
    """With the nearest, or all where none is near."""
    with pytest.raises(InputError) as caught:
        registry.make(f"theirs:mode={value}")
    assert caught.value.hint == f"choose one of: {hint}"


class Bare:
    """A policy without parameters that anybody could tell."""

    name: ClassVar[str] = "bare"
    kind: ClassVar[Kind] = Kind.ONLINE
    capabilities: ClassVar[Capabilities] = Capabilities()


def test_what_is_no_struct_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"'bare' is no msgspec\.Struct"):
        registry.parameters(Bare())  # type: ignore[arg-type]
    monkeypatch.setattr(registry, "load", lambda _name: Bare)
    with pytest.raises(InputError, match=r"'bare' is no msgspec\.Struct"):
        registry.make("bare")
