"""Families of adapters, and the cost of switching to one."""

from __future__ import annotations

import msgspec
import pytest

from pats_opt.errors import InputError
from pats_opt.generate import profile
from pats_opt.generate.recipe import Recipe
from pats_opt.importers.families import Family, family_adapters, family_ids, members_of

PRODUCTION = profile.load("production")


@pytest.mark.parametrize(
    ("cell", "family", "members"),
    [
        ("b; a", "set", ("a", "b")),
        ("a;a;", "set", ("a",)),
        ("b;a", "first", ("b",)),
        ("b;a", "column", ("b;a",)),
        (["b", "a"], "set", ("a", "b")),
        (["b", None], "first", ("b",)),
        (7, "set", ("7",)),
        ("", "set", ()),
        (None, "first", ()),
        ([], "set", ()),
        ("  ", "column", ()),
    ],
)
def test_members(cell: object, family: Family, members: tuple[str, ...]) -> None:
    assert members_of(cell, family, ";") == members


def test_ids_are_readable_and_never_the_same() -> None:
    keys = [
        ("", ()),
        ("", ("a", "b")),
        ("", ("a+b",)),
        ("", ("base",)),
        ("m", ()),
        ("m", ("a",)),
        ("", ("x" * 600,)),
        ("", ("x" * 700,)),
    ]
    ids = family_ids(keys)
    assert len(set(ids.values())) == len(keys)
    assert ids["", ()] == "base"
    assert ids["", ("a", "b")] == "a+b"
    assert ids["m", ("a",)] == "m/a"
    assert ids["", ("base",)] == "base~2"
    assert max(map(len, ids.values())) <= 512


def test_set_takes_the_sum_of_its_members() -> None:
    ids = family_ids([("", ()), ("", ("a",)), ("", ("b",)), ("", ("a", "b"))])
    adapters, pairs = family_adapters(ids, Recipe(), PRODUCTION, 0)
    by_id = {a.id: a for a in adapters}
    assert by_id["a+b"].load_s == pytest.approx(by_id["a"].load_s + by_id["b"].load_s)
    assert by_id["a+b"].vram_gib == pytest.approx(0.34)
    assert (by_id["base"].load_s, by_id["base"].vram_gib) == (0.0, 0.0)
    assert pairs == []


def test_base_model_is_loaded_only_when_it_changes() -> None:
    ids = family_ids([("m", ()), ("m", ("a",)), ("n", ("a",))])
    adapters, pairs = family_adapters(ids, Recipe(), PRODUCTION, 0)
    by_id = {a.id: a.load_s for a in adapters}
    lora_s = by_id["m/a"] - 22.7
    assert by_id == pytest.approx({"m": 22.7, "m/a": 22.7 + lora_s, "n/a": 22.7 + lora_s})
    kept = {(p.source, p.target): p.load_s for p in pairs}
    assert kept == pytest.approx({("m", "m/a"): lora_s, ("m/a", "m"): 0.0})


def test_base_models_need_a_figure_and_one_resident() -> None:
    ids = family_ids([("m", ("a",))])
    with pytest.raises(InputError, match="has no base_model_s"):
        family_adapters(ids, Recipe(), profile.load("documents"), 0)
    two = msgspec.convert({"switching": {"max_resident": 2}}, Recipe)
    with pytest.raises(InputError, match="only one can be resident"):
        family_adapters(ids, two, PRODUCTION, 0)
    beside = msgspec.convert({"switching": {"channels": 1}}, Recipe)
    with pytest.raises(InputError, match=r"no loads beside serving.*leave out --load-channels"):
        family_adapters(ids, beside, PRODUCTION, 0)
