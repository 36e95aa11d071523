"""Families: the sets of adapters that are switched together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pats_opt.errors import InputError
from pats_opt.generate import adapters as drawn_adapters
from pats_opt.generate import draw
from pats_opt.generate.profile import Profile
from pats_opt.generate.recipe import Recipe
from pats_opt.model.instance import Adapter, Transition

#: Definition of a family; see :class:`pats_opt.importers.trace.LogMapping`.
Family = Literal["set", "base+set", "first", "column"]

#: A family: base model (empty where it is ignored), and adapters.
Key = tuple[str, tuple[str, ...]]

#: Longest id; others are cut.
LONGEST_ID = 400


def members_of(cell: object, family: Family, separator: str) -> tuple[str, ...]:
    """Return the adapters of a cell that make the family."""
    parts = cell if isinstance(cell, list) else [cell]
    if not isinstance(cell, list | None) and separator and family != "column":
        parts = str(cell).split(separator)
    members = [text for part in parts if part is not None and (text := str(part).strip())]
    if family == "first":
        return tuple(members[:1])
    return tuple(members) if family == "column" else tuple(sorted(set(members)))


def family_ids(keys: Iterable[Key]) -> dict[Key, str]:
    """Name each family: the members joined by +, after the base model and a slash.

    The family without members is ``base``. Long ids are cut, and equal ones get a number.
    """
    ids: dict[Key, str] = {("", ()): draw.BASE}
    used = {draw.BASE}
    found = set(keys)
    for base, members in sorted(found - set(ids)):
        text = "/".join(part for part in (base, "+".join(members)) if part)[:LONGEST_ID]
        name, number = text, 2
        while name in used:
            name, number = f"{text}~{number}", number + 1
        used.add(name)
        ids[base, members] = name
    return {key: ids[key] for key in sorted(found)}


def family_adapters(
    ids: dict[Key, str], recipe: Recipe, device: Profile, seed: int
) -> tuple[list[Adapter], list[Transition]]:
    """Make an adapter for each family, and the transitions that keep the base model.

    Memory and load time of a set are the sums over its members. With base models the load time
    includes the base model's; a transition between two families of one base model overrides it
    with the set's alone.

    Raises:
        InputError: base models with a cache of several, or a profile without ``base_model_s``.
    """
    singles = sorted({member for _, members in ids for member in members})
    single_s = {a.id: a.load_s for a in drawn_adapters(singles, recipe, device, seed, base=None)}
    set_s = {key: round(sum(single_s[member] for member in key[1]), 6) for key in ids}
    has_bases = any(base for base, _ in ids)
    base_s = device.load.base_model_s if has_bases else 0.0
    if base_s is None:
        raise InputError(
            f"profile {device.name!r} has no base_model_s, the time to load a base model",
            hint="use one that has (--profile production), or --family set",
        )
    if has_bases and recipe.switching.max_resident != 1:
        raise InputError(
            "with family base+set only one can be resident: each brings its own base model",
            hint="set --max-resident 1, or use --family set",
        )
    adapters = [
        Adapter(
            id=name,
            vram_gib=round(len(key[1]) * device.memory.adapter_gib, 6),
            load_s=round(set_s[key] + base_s, 6),
        )
        for key, name in ids.items()
    ]
    pairs = [
        Transition(source=ids[a], target=ids[b], load_s=set_s[b])
        for a in ids
        for b in ids
        if has_bases and a != b and a[0] == b[0]
    ]
    return adapters, pairs
