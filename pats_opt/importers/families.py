"""Families: the sets of adapters that are switched together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Literal

from pats_opt.errors import InputError
from pats_opt.generate import adapters as drawn_adapters
from pats_opt.generate import draw
from pats_opt.generate.profile import Profile
from pats_opt.generate.ranks import LARGEST_RANK
from pats_opt.generate.recipe import Recipe
from pats_opt.importers.classic import as_number
from pats_opt.importers.log import Cells
from pats_opt.model.instance import Adapter, Transition
from pats_opt.wording import counted

#: Definition of a family; see :class:`pats_opt.importers.mapping.LogMapping`.
Family = Literal["set", "base+set", "first", "column"]

#: A family: base model (empty where it is ignored), and adapters.
Key = tuple[str, tuple[str, ...]]

#: Longest id; others are cut.
LONGEST_ID = 400


def members_of(cell: object, family: Family, separator: str) -> tuple[str, ...]:
    """Return the adapters of a cell that make the family."""
    members = parts_of(cell, family, separator)
    if family == "first":
        return tuple(members[:1])
    return tuple(members) if family == "column" else tuple(sorted(set(members)))


def parts_of(cell: object, family: Family, separator: str) -> list[str]:
    """Return the texts that a cell joins or lists, in its order."""
    parts = cell if isinstance(cell, list) else [cell]
    if not isinstance(cell, list | None) and separator and family != "column":
        parts = str(cell).split(separator)
    return [text for part in parts if part is not None and (text := str(part).strip())]


def rank_column(
    cells: Cells, adapter: str, rank: str, family: Family, separator: str
) -> dict[str, int]:
    """Read the rank of each adapter; an adapter whose cells are all empty has none.

    Raises:
        InputError: a rank is no whole number, an adapter has two of them, or a cell has not one
            for each adapter of its row.
    """
    found: dict[str, int] = {}
    for i, pairs in enumerate(_pairs(cells, adapter, rank, family, separator, noun="rank")):
        for member, text in pairs:
            value = _whole(text)
            if value is None:
                problem = f"{text!r} is no whole number from 1 to {LARGEST_RANK}"
                raise cells.error(i, rank, problem, "correct it, or leave the cell empty")
            if (before := found.setdefault(member, value)) != value:
                problem = f"adapter {member!r} has rank {value} here and {before} before"
                raise cells.error(i, rank, problem, "give each adapter one rank")
    return found


def scale_column(
    cells: Cells, adapter: str, scale: str, family: Family, separator: str
) -> list[dict[str, float | str]]:
    """Read the scales of each row's adapters; none where its cell is empty.

    What is no number, such as two scales for two parts of a model, is kept as text.

    Raises:
        InputError: a cell has not one scale for each adapter of its row.
    """
    rows = _pairs(cells, adapter, scale, family, separator, noun="scale")
    return [{member: _number_or_text(text) for member, text in pairs} for pairs in rows]


def _number_or_text(text: str) -> float | str:
    value = as_number(text)
    return text if value is None or not isfinite(value) else value


def _pairs(
    cells: Cells, adapter: str, column: str, family: Family, separator: str, *, noun: str
) -> Iterator[list[tuple[str, str]]]:
    """Yield each row's adapters with their texts in a column; none where that cell is empty."""
    rows = zip(cells.column(adapter), cells.column(column), strict=True)
    for i, (names, texts) in enumerate(rows):
        members, given = (parts_of(cell, family, separator) for cell in (names, texts))
        if given and len(given) != len(members):
            counts = f"{counted(len(given), noun)} for {counted(len(members), 'adapter')}"
            hint = "give one for each adapter of the row, in its order, or leave the cell empty"
            raise cells.error(i, column, counts, hint)
        yield list(zip(members, given, strict=False))


def _whole(text: str) -> int | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if 1 <= value <= LARGEST_RANK and value == int(value) else None


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
    ids: dict[Key, str],
    recipe: Recipe,
    device: Profile,
    seed: int,
    ranks: dict[str, int] | None = None,
) -> tuple[list[Adapter], list[Transition]]:
    """Make an adapter for each family, and the transitions that keep the base model.

    Memory and load time of a set are the sums over its members, whose memory is that of their
    ``ranks`` where the log has them. With base models the load time includes the base model's; a
    transition between two families of one base model overrides it with the set's alone.

    Raises:
        InputError: base models with a cache of several or with loads beside serving, or a profile
            without ``base_model_s``.
    """
    singles = sorted({member for _, members in ids for member in members})
    drawn = drawn_adapters(singles, recipe, device, seed, base=None, ranks=ranks)
    single = {adapter.id: adapter for adapter in drawn}
    set_s = {key: round(sum(single[member].load_s for member in key[1]), 6) for key in ids}
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
    if has_bases and recipe.switching.channels:
        raise InputError(
            "with family base+set there are no loads beside serving: their times depend on the "
            "base model before",
            hint="leave out --load-channels, or use --family set",
        )
    adapters = [
        Adapter(
            id=name,
            vram_gib=round(sum(single[member].vram_gib for member in key[1]), 6),
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
