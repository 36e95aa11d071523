"""Import of arrival times alone: rows of ``ms[,qos[,deadline_ms]]`` without a header.

This is the format of the traces in the repository of Proteus.
"""

from __future__ import annotations

from msgspec.structs import replace

from pats_opt.errors import InputError
from pats_opt.generate.build import PRUNED
from pats_opt.generate.recipe import Recipe
from pats_opt.importers.log import TIMESTAMPS, scan
from pats_opt.importers.mapping import LogColumns, LogMapping
from pats_opt.importers.trace import ImportedTrace, import_trace
from pats_opt.importers.window import Window
from pats_opt.model.files import StrPath

#: The rows of such a file, for errors.
FORMAT = "ms[,qos[,deadline_ms]] without a header, all with as many cells"


def import_timestamps(
    path: StrPath,
    window: Window | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    *,
    speed: float = 1.0,
    name: str | None = None,
) -> ImportedTrace:
    """Import a window of a file of timestamps.

    Args:
        path: The file.
        window: Selection of its rows, with times in milliseconds; None for all.
        recipe: Everything that the file lacks, as for :func:`pats_opt.generate.generate`.
        seed: Seed of every draw.
        speed: Factor by which time runs faster; deadlines stay as they are.
        name: The instance's name; None for the file's.

    Raises:
        InputError: A row cannot be read, or has more than three cells; or as
            :func:`pats_opt.importers.trace.import_trace`.
    """
    time, qos, deadline = TIMESTAMPS
    there = scan(path, "timestamps").collect_schema().names()
    recipe = recipe or Recipe()
    if recipe.steps.pruned is None:  # a drawn step count has the options that ``generate`` draws
        recipe = replace(recipe, steps=replace(recipe.steps, pruned=PRUNED))
    mapping = LogMapping(
        columns=LogColumns(time=time, deadline=deadline if deadline in there else None),
        window=replace(window or Window(), time_format="ms"),
        format="timestamps",
        speed=speed,
        deadline_unit="ms",
        keep=(qos,) if qos in there else (),
    )
    try:
        return import_trace(path, mapping, recipe, seed, name=name)
    except InputError as error:
        if error.file != str(path) or "--" not in error.hint:
            raise
        raise InputError(  # the options of other logs do not help
            error.problem, file=error.file, place=error.place, hint=f"write rows of {FORMAT}"
        ) from None
