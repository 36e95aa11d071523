"""Import of a request log: a column mapping, a window and a definition of families."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from pats_opt.errors import InputError, in_file
from pats_opt.generate import draw, profile
from pats_opt.generate.build import RequestRow, assemble, looked_up
from pats_opt.generate.recipe import ImageSize, Recipe
from pats_opt.importers import complexity
from pats_opt.importers.families import (
    Key,
    family_adapters,
    family_ids,
    members_of,
    rank_column,
    scale_column,
)
from pats_opt.importers.guessing import length_unit_of, telling, unit_of
from pats_opt.importers.load import LoadStatistics, load_statistics, noticed
from pats_opt.importers.log import (
    TIME,
    Cells,
    format_of,
    has_adapter,
    require_columns,
    scan,
)
from pats_opt.importers.mapping import LogColumns, LogMapping, read_off
from pats_opt.importers.window import UNITS, Window, resolved, select
from pats_opt.model.files import StrPath
from pats_opt.model.instance import Instance
from pats_opt.model.served import SCALES
from pats_opt.wording import counted


@dataclass(frozen=True, slots=True)
class ImportedTrace:
    """An imported instance, and the load it puts on the GPUs.

    Attributes:
        requests: Rows of the log in it (the instance has more requests where images are split).
        span_s: Seconds from the first arrival to the last, after the speed-up.
        load: Offered GPU time / available GPU time, as in ``Arrivals.load``; None where all
            requests arrive at once. Queues form from about 0.7 on.
        mapping: How the log was read, with the units that were told by its columns.
        statistics: Its load over time and its adapters.
        changes: What solvers may change of what the log says, and how images are taken.
        noticed: Columns of outcomes or of kinds of request, where they tell rows apart.
    """

    instance: Instance
    requests: int
    span_s: float
    load: float | None
    mapping: LogMapping
    statistics: LoadStatistics
    changes: tuple[str, ...]
    noticed: tuple[str, ...]


def import_trace(
    path: StrPath,
    mapping: LogMapping | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    *,
    name: str | None = None,
) -> ImportedTrace:
    """Import a window of a request log.

    What the log says is what is served: requests have no options of fewer steps and the images of
    one row are a group, unless the recipe says otherwise.

    Args:
        path: The log.
        mapping: Its columns and the window; None to guess the columns by their names.
        recipe: Everything that the log lacks, as for :func:`pats_opt.generate.generate`.
        seed: Seed of every draw.
        name: The instance's name; None for the file's.

    Raises:
        InputError: a column that is missing, a cell that cannot be read (with its row), an empty
            window, a request that fits no GPU.
    """
    mapping = mapping or LogMapping(columns=LogColumns(**read_off(path)))
    recipe = recipe or Recipe()
    device = profile.of(recipe.service)
    cells, mapping, told = _window(path, mapping)
    families = _families(cells, mapping, recipe, seed)
    ids = family_ids(families)
    rows = _rows(cells, mapping, recipe, seed, [ids[key] for key in families])
    recipe = _as_logged(recipe, rows)
    ranks = _ranks(cells, mapping)
    adapters, pairs = family_adapters(ids, recipe, device, seed, ranks)
    file = Path(path).name
    title = name or file.partition(".")[0]
    extra = {"class": title, "log": file, "speed": mapping.speed, "profile": device.name}
    cached = looked_up(recipe, rows, seed)
    with in_file(path):
        instance = assemble(
            title,
            rows,
            adapters,
            recipe,
            profile=device,
            seed=seed,
            pairs=pairs,
            extra=extra,
            cached=cached,
        )
    load_s = {adapter.id: adapter.load_s for adapter in adapters}
    work_s = sum(
        draw.work_s(recipe, device, steps=r.steps, images=r.images, load_s=load_s[r.adapter])
        for r in rows
    )
    span_s = rows[-1].arrival_s
    load = work_s / (span_s * recipe.gpus.count) if span_s > 0 else None
    return ImportedTrace(
        instance,
        len(rows),
        span_s,
        load,
        mapping,
        load_statistics([row.arrival_s for row in rows], [row.adapter for row in rows]),
        tuple(_changes(recipe, rows)),
        tuple(line for name in told if (line := noticed(name, cells.text(name)))),
    )


def _as_logged(recipe: Recipe, rows: Sequence[RequestRow]) -> Recipe:
    """Return the recipe with what it leaves open as the log has it."""
    pruned, mode = recipe.steps.pruned, recipe.images.mode
    several = any(row.images > 1 for row in rows)
    return replace(
        recipe,
        steps=replace(recipe.steps, pruned=() if pruned is None else pruned),
        images=replace(recipe.images, mode=mode or ("group" if several else "split")),
    )


def _changes(recipe: Recipe, rows: Sequence[RequestRow]) -> Iterator[str]:
    """Say what solvers may change of the log, and how rows of several images are taken."""
    if recipe.approximate_cache is not None:
        yield "steps: those of the log, or fewer where an earlier prompt is similar"
    elif fewer := [s for s in recipe.steps.pruned or () if any(s < row.steps for row in rows)]:
        listed = " or ".join(map(str, sorted(fewer)))
        yield f"steps: those of the log, or {listed} where a solver chooses fewer (--pruned)"
    else:
        yield "steps: those of the log (--pruned N,... lets solvers choose fewer)"
    several = [row.images for row in rows if row.images > 1]
    if several:
        yield (
            f"images: {counted(len(several), 'row')} of several, "
            f"{sum(several)} in all (--image-mode {recipe.images.mode})"
        )


def _window(path: StrPath, mapping: LogMapping) -> tuple[Cells, LogMapping, list[str]]:
    """Read the window of a log; also the mapping with its units, and the columns noticed."""
    columns = mapping.columns
    if columns.adapter is None and mapping.lora_only:
        raise InputError("--lora-only needs a column of adapters", hint="add --adapter COLUMN")
    for option in ("rank", "scale"):
        if columns.adapter is None and getattr(columns, option) is not None:
            raise InputError(f"--{option} needs a column of adapters", hint="add --adapter COLUMN")
    if mapping.family == "base+set" and columns.base_model is None:
        raise InputError("family base+set needs a base model", hint="add --base-model COLUMN")
    table = scan(path, mapping.format)
    require_columns(table, columns.named(), path)
    for name in mapping.keep:
        require_columns(table, {"--keep": name}, path)
    if mapping.lora_only and columns.adapter is not None:
        table = table.filter(has_adapter(table, columns.adapter))
    filtered = {condition.partition("=")[0].rstrip("! ") for condition in mapping.window.where}
    told = [n for n in telling(table.collect_schema().names()) if n not in filtered]
    mapping = _with_units(mapping, resolved(table, columns.time, mapping.window, path))
    rows = select(
        table,
        [*columns.named().values(), *mapping.keep, *told],
        columns.time,
        mapping.window,
        path,
        whole_rows=format_of(path, mapping.format)[0] in ("csv", "tsv", "timestamps"),
    )
    return Cells(rows, str(path)), mapping, told


def _with_units(mapping: LogMapping, window: Window) -> LogMapping:
    """Return the mapping with its window, and the units that ``auto`` means."""
    columns, unit, length = mapping.columns, mapping.deadline_unit, mapping.length_unit
    if unit == "auto":
        unit = unit_of(columns.deadline or "") or "s"
    if length == "auto":
        length = length_unit_of(columns.prompt_length or "")
    return replace(mapping, window=window, deadline_unit=unit, length_unit=length)


def _families(cells: Cells, mapping: LogMapping, recipe: Recipe, seed: int) -> list[Key]:
    """Family of each request; drawn where the log has no adapters."""
    columns = mapping.columns
    if columns.adapter is None:
        drawn = draw.adapters(recipe.popularity, cells.count, draw.stream(seed, "adapters"))
        sets: list[tuple[str, ...]] = [() if a == draw.BASE else (a,) for a in drawn]
    else:
        found = cells.column(columns.adapter)
        sets = [members_of(cell, mapping.family, mapping.separator) for cell in found]
    bases = cells.text(columns.base_model if mapping.family == "base+set" else None)
    return list(zip(bases, sets, strict=True))


def _ranks(cells: Cells, mapping: LogMapping) -> dict[str, int]:
    """Ranks of the adapters, as far as the log gives them."""
    adapter, rank = mapping.columns.adapter, mapping.columns.rank
    if adapter is None or rank is None:
        return {}
    return rank_column(cells, adapter, rank, mapping.family, mapping.separator)


def _scales(cells: Cells, mapping: LogMapping) -> list[dict[str, Any]]:
    """Scales of each request's adapters, to keep in its ``extra``; empty where it has none."""
    adapter, scale = mapping.columns.adapter, mapping.columns.scale
    if adapter is None or scale is None:
        return [{} for _ in range(cells.count)]
    found = scale_column(cells, adapter, scale, mapping.family, mapping.separator)
    return [{SCALES: scales} if scales else {} for scales in found]


def _rows(
    cells: Cells, mapping: LogMapping, recipe: Recipe, seed: int, families: Sequence[str]
) -> list[RequestRow]:
    """Requests of the window; everything that the log lacks is drawn."""
    columns, count = mapping.columns, len(families)
    times = cells.column(TIME)
    drawn_steps = draw.mixed(recipe.steps.full, count, draw.stream(seed, "steps"))
    steps = cells.numbers(columns.steps, 1, 1_000_000, drawn_steps)
    drawn_images = draw.mixed(recipe.images.count, count, draw.stream(seed, "images"))
    images = cells.numbers(columns.images, 1, 10_000, drawn_images)
    sizes = draw.sizes(recipe.sizes, count, draw.stream(seed, "sizes"))
    widths = cells.numbers(columns.width, 1, 65536, [s.width for s in sizes])
    heights = cells.numbers(columns.height, 1, 65536, [s.height for s in sizes])
    deadlines = cells.numbers(columns.deadline, 0, 1e9, [-1.0] * count)
    drawn_weights = draw.mixed(recipe.terms.weight, count, draw.stream(seed, "weights"))
    weights = cells.numbers(columns.weight, 0, 1e9, drawn_weights)
    prompts = cells.text(columns.prompt)
    negatives = cells.text(columns.negative_prompt)
    hard = _complexities(cells, mapping, recipe, seed, prompts)
    ids = cells.ids(columns.id) if columns.id else [f"r{i}" for i in range(count)]
    groups = cells.text(columns.group)
    unit_s = UNITS[mapping.deadline_unit]
    deadlines = [d if d < 0 else round(d * unit_s, 6) for d in deadlines]
    scales = _scales(cells, mapping)
    kept = {name: cells.text(name) for name in mapping.keep}
    cosines = cells.numbers(columns.similarity, -1, 1, [-2.0] * count)
    seeds = draw.stream(seed, "image seeds").integers(0, 2**31, count)
    rows = []
    for i in range(count):
        size = (int(widths[i]), int(heights[i]))
        same = size == (sizes[i].width, sizes[i].height)
        rows.append(
            RequestRow(
                id=ids[i],
                arrival_s=round((times[i] - times[0]) / mapping.speed, 6),
                adapter=families[i],
                steps=int(steps[i]),
                complexity=hard[i],
                size=sizes[i] if same else ImageSize(width=size[0], height=size[1]),
                images=int(images[i]),
                prompt=prompts[i],
                negative_prompt=negatives[i],
                seed=int(seeds[i]),
                weight=weights[i],
                deadline_s=None if deadlines[i] < 0 else deadlines[i],
                group=groups[i] or UNSET,
                extra={name: texts[i] for name, texts in kept.items()} | scales[i],
                similarity=None if cosines[i] < -1 else cosines[i],
            )
        )
    return rows


def _complexities(
    cells: Cells, mapping: LogMapping, recipe: Recipe, seed: int, prompts: Sequence[str]
) -> list[float]:
    """Complexities: those of the log, else by the prompt, else by its length, else drawn."""
    columns, count = mapping.columns, len(prompts)
    drawn = draw.complexities(recipe.complexity, count, draw.stream(seed, "complexity"))
    if columns.complexity is not None:
        return cells.numbers(columns.complexity, 0, 1, drawn)
    if columns.prompt is not None:
        spec = mapping.estimator
        estimator = complexity.load_estimator(spec) if spec else complexity.estimate
        return list(map(estimator, prompts))
    if columns.prompt_length is None:
        return drawn
    unit = complexity.UNITS[mapping.length_unit]
    lengths = cells.numbers(columns.prompt_length, 0, 1e9, [-1.0] * count)
    return [
        given if length < 0 else complexity.from_length(length * unit)
        for length, given in zip(lengths, drawn, strict=True)
    ]
