"""The search space that a policy's parameters give, and what the user says of it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from pats_opt.core import registry
from pats_opt.core.policy import Decide
from pats_opt.core.registry import format_value
from pats_opt.core.solver import Capabilities, Kind
from pats_opt.errors import InputError
from pats_opt.model.problem import Site
from pats_opt.tuning.space import Dimension, NumberRange, Target, target

Hinted = Annotated[float, Meta(ge=0, le=1e9, extra={"search": [0.1, 10], "log": True})]


class Rich(Struct, frozen=True, kw_only=True):
    """A parameter of every kind."""

    share: Annotated[float, Meta(ge=0, le=1)] = 0.5
    open_share: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    hinted: Hinted = 1.0
    bound: Hinted | None = None
    mixed: Literal["auto", "off"] | Hinted | None = "auto"
    rule: Literal["a", "b"] = "a"
    flag: bool = True
    count: Annotated[int, Meta(gt=0)] = 4
    few: Annotated[int, Meta(ge=1, le=9)] = 3
    price: Annotated[float, Meta(ge=0)] = 2.0
    zero: Annotated[float, Meta(ge=0)] = 0.0
    unknown: float | None = None
    text: str = "x"
    table: tuple[int, ...] = ()
    only: Literal["one"] = "one"

    name: ClassVar[str] = "rich"
    kind: ClassVar[Kind] = Kind.ONLINE
    capabilities: ClassVar[Capabilities] = Capabilities()

    def start(self, site: Site, seed: int) -> Decide:  # noqa: ARG002
        """Never idle, never busy."""
        return lambda _: ()


@pytest.fixture(autouse=True)
def rich(monkeypatch: pytest.MonkeyPatch) -> None:
    """``rich`` in the registry."""
    monkeypatch.setitem(registry.BUILT_IN, "rich", f"{__name__}:Rich")


def test_every_kind() -> None:
    """Each kind of parameter gives its dimension; what has no range is named."""
    found = target("rich")
    hinted = NumberRange(low=0.1, high=10, log=True)
    assert {d.name: (d.choices, d.numbers) for d in found.space} == {
        "share": ((), NumberRange(low=0, high=1)),
        "open_share": ((), NumberRange(low=0.001, high=0.999)),
        "hinted": ((), hinted),
        "bound": ((None,), hinted),
        "mixed": (("auto", "off", None), hinted),
        "rule": (("a", "b"), None),
        "flag": ((False, True), None),
        "count": ((), NumberRange(low=1, high=40, whole=True, log=True)),
        "few": ((), NumberRange(low=1, high=9, whole=True)),
        "price": ((), NumberRange(low=0.2, high=20, log=True)),
    }
    assert found.left == ("zero", "unknown")
    assert found.default["bound"] is None


def test_the_user_rules() -> None:
    """--fix and the spec hold, --only chooses, --range replaces the range."""
    found = target(
        "rich:flag=false",
        {"rule": "b"},
        ["share", "unknown"],
        {"unknown": "1:100:log", "zero": "0:2"},
    )
    assert found.fixed == {"flag": "false", "rule": "b"}
    assert found.default["flag"] is False
    assert [str(d) for d in found.space] == ["0 to 1", "0 to 2", "null, 1 to 100 (log)"]
    assert [d.name for d in found.space] == ["share", "zero", "unknown"]
    assert found.spec({"unknown": 3.5}) == "rich:rule=b:flag=false:unknown=3.5"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rihc",), "there is no solver or policy 'rihc'; choose one of: rich"),
        (("rich", {"shar": "1"}), "'rich' has no parameter 'shar'; it has: share"),
        (("rich", {}, ["shar"]), "'rich' has no parameter 'shar'; it has: share"),
        (("rich", {}, [], {"cuont": "1:2"}), "no parameter 'cuont'; it has: count"),
        (("rich", {"flag": "true"}, ["flag"]), "'flag' of 'rich' is held at 'true'"),
        (("rich", {}, ["zero"]), "'zero' of 'rich' has no range to search; give one: --range zero"),
        (("rich", {}, ["text"]), "'text' of 'rich' has no range"),
        (("rich", {}, [], {"text": "1:2"}), "'text' of 'rich' has no range"),
        (("rich", {}, [], {"rule": "1:2"}), "'rule' is no number but one of a, b"),
        (("rich", {}, [], {"share": "0:2"}), "'rich': Expected `float` <= 1.0"),
        (("rich", {}, [], {"share": "1:0"}), "the lower one first"),
        (("rich", {}, [], {"share": "0"}), "two numbers are needed"),
        (("rich", {}, [], {"share": "nan:1"}), "two numbers are needed"),
        (("rich", {}, [], {"share": "0:1:log"}), "numbers above 0"),
        (("rich", {}, [], {"share": "0:1:lin"}), "'lin' is no scale"),
        (("rich", {}, [], {"count": "1:2.5"}), "write whole numbers count=LOW:HIGH"),
        (("rich:only=one", {}, ["only"]), "is held at 'one'"),
        (("rich", {}, ["only"]), "has no range to search"),
    ],
)
def test_refused(arguments: tuple[Any, ...], told: str) -> None:
    """One line with the place and the hint."""
    with pytest.raises(InputError) as caught:
        target(*arguments)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_to_search() -> None:
    """A policy whose every parameter is held, or has no range, is refused."""
    held = {
        d.name: format_value(registry.parameters(registry.make("rich"))[d.name])
        for d in target("rich").space
    }
    with pytest.raises(InputError, match=r"no parameter to search \(--range gives 'zero' one"):
        target("rich", held)


@pytest.mark.parametrize("name", list(registry.BUILT_IN))
def test_ranges_of_the_built_in(name: str) -> None:
    """Default ranges are allowed: both ends of each and every choice."""
    try:
        found = target(name)
    except InputError:  # then none of its parameters could be: text alone, or none at all
        kinds = msgspec.inspect.type_info(registry.load(name)).fields  # type: ignore[attr-defined]
        assert all(isinstance(field.type, msgspec.inspect.StrType) for field in kinds)
        return
    for dimension in found.space:
        ends: list[Any] = list(dimension.choices)
        if dimension.numbers is not None:
            assert dimension.numbers.low < dimension.numbers.high
            ends += [dimension.numbers.rounded(dimension.numbers.low)]
            ends += [dimension.numbers.rounded(dimension.numbers.high)]
        for end in ends:
            made = found.make({dimension.name: end})
            assert registry.parameters(made)[dimension.name] == end


values = st.fixed_dictionaries(
    {
        "share": st.floats(0, 1),
        "bound": st.none() | st.floats(0, 1e9),
        "mixed": st.sampled_from(["auto", "off", None]) | st.floats(0, 1e9),
        "rule": st.sampled_from(["a", "b"]),
        "flag": st.booleans(),
        "count": st.integers(1, 10**9),
    }
)


@given(values)
def test_spec_is_ready_to_paste(params: dict[str, Any]) -> None:
    """A spec makes the same policy again, to the last digit."""
    found = Target(name="rich", fixed={}, default={}, space=(), left=())
    assert registry.make(found.spec(params)) == msgspec.structs.replace(Rich(), **params)


@given(st.floats(1e-3, 1e3), st.floats(0, 1))
def test_rounded(low: float, share: float) -> None:
    """Four digits, never outside the range."""
    numbers = NumberRange(low=low, high=3 * low)
    value = low * (1 + 2 * share)
    rounded = numbers.rounded(value)
    assert rounded in numbers
    assert abs(rounded - value) <= 1e-3 * value


def test_dimension_in_words() -> None:
    assert str(Dimension(name="x", choices=(None, True), numbers=NumberRange(low=1, high=2))) == (
        "null, true, 1 to 2"
    )
