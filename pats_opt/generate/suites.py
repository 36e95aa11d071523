"""Suites: defined as data, instances made on demand.

Named ones are in ``pats_opt/data/suites.toml``; wherever a name is accepted, so is the path of a
TOML file that holds one suite.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files as package_files
from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from pats_opt.errors import InputError
from pats_opt.generate import generate
from pats_opt.generate.parts import Part, parse_toml, part_of, read_toml
from pats_opt.generate.recipe import Recipe
from pats_opt.model.files import StrPath, write_instance
from pats_opt.model.instance import Instance
from pats_opt.nearest import choose

#: How the name of a file that holds a suite ends.
SUFFIX = ".toml"


class Member(Part, frozen=True, kw_only=True):
    """Instances of one class: a recipe under several seeds.

    Attributes:
        name: The class; its instances are called ``name-s0``, ``name-s1``...
        seeds: One instance each.
        recipe: The recipe, on top of the suite's.
    """

    name: Annotated[str, Meta(pattern="^[a-z0-9-]+$")]
    seeds: tuple[int, ...] = (0,)
    recipe: dict[str, Any] = field(default_factory=dict)


class Suite(Part, frozen=True, kw_only=True):
    """A suite: what it is for, the recipe its classes share, and the classes."""

    about: str
    recipe: dict[str, Any] = field(default_factory=dict)
    classes: Annotated[tuple[Member, ...], Meta(min_length=1)]


@cache
def suites() -> dict[str, Suite]:
    """All suites by name, in the order of the file."""
    text = (package_files("pats_opt") / "data" / "suites.toml").read_bytes()
    return msgspec.convert(parse_toml(text), dict[str, Suite])


def suite(name: str) -> Suite:
    """A suite by its name, or read from a ``.toml`` file.

    Raises:
        InputError: naming the nearest names, or the place in the file.
    """
    if name.endswith(SUFFIX):
        return part_of(read_toml(name), Suite, name)
    if name not in suites():
        raise InputError(f"there is no suite {name!r}", hint=choose(name, suites()))
    return suites()[name]


def recipes(name: str) -> Iterator[tuple[str, int, Recipe]]:
    """Class name, seed and recipe of each instance of a suite (a name, or a file)."""
    found = suite(name)
    for member in found.classes:
        file = name if name.endswith(SUFFIX) else f"suites.toml: {name}"
        recipe = part_of(overlay(found.recipe, member.recipe), Recipe, file)
        for seed in member.seeds:
            yield member.name, seed, recipe


def instances(name: str) -> Iterator[Instance]:
    """The instances of a suite, made one at a time.

    Raises:
        InputError: there is no such suite.
    """
    for class_name, seed, recipe in recipes(name):
        yield generate(recipe, seed, class_name=class_name)


def write_suite(name: str, folder: StrPath) -> list[str]:
    """Write each instance of a suite to ``folder/<name of the instance>.json``; the paths."""
    paths = []
    for instance in instances(name):
        path = f"{folder}/{instance.name}.json"
        write_instance(instance, path)
        paths.append(path)
    return paths


def class_of(instance: Instance, otherwise: str = "-") -> str:
    """The class of an instance: ``extra.class``, where there is one and it is not just its name.

    Args:
        instance: Any instance.
        otherwise: Its class where it does not tell, such as the name of its folder.
    """
    extra = instance.extra
    named = extra.get("class") if isinstance(extra, dict) else None
    sound = isinstance(named, str) and named not in ("", instance.name)
    return str(named) if sound else otherwise or "-"


def overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Nested tables merged; a value of ``above`` replaces that of ``below``."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = (
            overlay(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return merged
