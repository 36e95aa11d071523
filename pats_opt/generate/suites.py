"""Suites: named sets of instances, generated on demand.

The built-in ones are defined in ``pats_opt/data/suites.toml``; wherever a name is accepted, so is
the path of a TOML file that holds one suite.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files as package_files
from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from pats_opt.errors import InputError, in_file
from pats_opt.generate import generate
from pats_opt.generate.config import ConfigTable, as_table, parse_toml, read_toml
from pats_opt.generate.recipe import Recipe
from pats_opt.model.files import StrPath, write_instance
from pats_opt.model.instance import Instance
from pats_opt.nearest import choose

#: Ending of the name of a suite's file.
SUFFIX = ".toml"


class SuiteClass(ConfigTable, frozen=True, kw_only=True):
    """Instances of one class: a recipe under several seeds.

    Attributes:
        name: The class; its instances are called ``name-s0``, ``name-s1``...
        seeds: One instance per seed.
        recipe: The recipe, on top of the suite's.
        time_limit: Seconds that benchmarks give a solver for one instance.
    """

    name: Annotated[str, Meta(pattern="^[a-z0-9-]+$")]
    seeds: tuple[Annotated[int, Meta(ge=0)], ...] = (0,)
    recipe: dict[str, Any] = field(default_factory=dict)
    time_limit: Annotated[float, Meta(gt=0)] = 60.0


class Suite(ConfigTable, frozen=True, kw_only=True):
    """A suite: its purpose, the recipe that its classes share, and the classes."""

    about: str
    recipe: dict[str, Any] = field(default_factory=dict)
    classes: Annotated[tuple[SuiteClass, ...], Meta(min_length=1)]


@cache
def suites() -> dict[str, Suite]:
    """Built-in suites by name, in the order of the file."""
    text = (package_files("pats_opt") / "data" / "suites.toml").read_bytes()
    return msgspec.convert(parse_toml(text), dict[str, Suite])


def suite(name: str) -> Suite:
    """Find a suite by its name, or read it from a ``.toml`` file.

    Raises:
        InputError: naming the nearest names, or the place in the file.
    """
    if name.endswith(SUFFIX):
        return as_table(read_toml(name), Suite, name)
    if name not in suites():
        raise InputError(f"there is no suite {name!r}", hint=choose(name, suites()))
    return suites()[name]


def recipes(name: str) -> Iterator[tuple[str, int, Recipe]]:
    """Yield class name, seed and recipe of each instance of a suite (a name, or a file)."""
    found = suite(name)
    for group in found.classes:
        file = name if name.endswith(SUFFIX) else f"suites.toml: {name}"
        recipe = as_table(overlay(found.recipe, group.recipe), Recipe, file)
        for seed in group.seeds:
            yield group.name, seed, recipe


def instances(name: str) -> Iterator[Instance]:
    """Generate the instances of a suite, one at a time.

    Raises:
        InputError: there is no such suite, or a recipe of it makes no instance.
    """
    for class_name, seed, recipe in recipes(name):
        with in_file(name if name.endswith(SUFFIX) else None):
            made = generate(recipe, seed, class_name=class_name)
        yield made


def write_suite(name: str, folder: StrPath) -> list[str]:
    """Write each instance of a suite to ``folder/<instance name>.json``; return the paths."""
    paths = []
    for instance in list(instances(name)):  # a suite that is wrong further on leaves no files
        path = f"{folder}/{instance.name}.json"
        write_instance(instance, path)
        paths.append(path)
    return paths


def class_of(instance: Instance, otherwise: str = "-") -> str:
    """Class of an instance: ``extra.class``, or ``otherwise`` if it is missing or just the name."""
    extra = instance.extra
    named = extra.get("class") if isinstance(extra, dict) else None
    if isinstance(named, str) and named not in ("", instance.name):
        return named
    return otherwise or "-"


def overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge nested tables; a value of ``above`` replaces that of ``below``."""
    merged = below | above
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(old := below.get(key), dict):
            merged[key] = overlay(old, value)
    return merged
